package org.apache.openwhisk.core.containerpool;

public class ContainerId {
  private final String asString;

  public ContainerId(String asString) {
    this.asString = asString;
  }

  public String asString() {
    return asString;
  }
}
