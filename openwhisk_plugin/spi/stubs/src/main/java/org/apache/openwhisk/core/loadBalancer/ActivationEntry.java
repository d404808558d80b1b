package org.apache.openwhisk.core.loadBalancer;

import org.apache.openwhisk.core.entity.InvokerInstanceId;

public class ActivationEntry {
  private final InvokerInstanceId invokerName;

  public ActivationEntry(InvokerInstanceId invokerName) {
    this.invokerName = invokerName;
  }

  public InvokerInstanceId invokerName() {
    return invokerName;
  }
}
