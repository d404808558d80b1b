package org.apache.openwhisk.core.entity;

/** Its limits are Scala value classes around {@code Int}. */
public class ActionLimits {
  private final int memory;
  private final int concurrency;

  public ActionLimits(int memory, int concurrency) {
    this.memory = memory;
    this.concurrency = concurrency;
  }

  /** In MB. */
  public int memory() {
    return memory;
  }

  public int concurrency() {
    return concurrency;
  }
}
