package org.apache.openwhisk.common;

public interface InvokerState {
  String asString();

  boolean isUsable();
}
