package org.apache.openwhisk.core.entity;

import scala.Option;

public class InvokerInstanceId {
  private final int instance;
  private final Option<String> uniqueName;
  private final Option<String> displayedName;

  public InvokerInstanceId(int instance, Option<String> uniqueName, Option<String> displayedName) {
    this.instance = instance;
    this.uniqueName = uniqueName;
    this.displayedName = displayedName;
  }

  public int toInt() {
    return instance;
  }

  public Option<String> uniqueName() {
    return uniqueName;
  }

  public Option<String> displayedName() {
    return displayedName;
  }
}
