package org.apache.openwhisk.common;

import org.apache.openwhisk.core.entity.InvokerInstanceId;

public class InvokerHealth {
  private final InvokerInstanceId id;
  private final InvokerState status;

  public InvokerHealth(InvokerInstanceId id, InvokerState status) {
    this.id = id;
    this.status = status;
  }

  public InvokerInstanceId id() {
    return id;
  }

  public InvokerState status() {
    return status;
  }
}
