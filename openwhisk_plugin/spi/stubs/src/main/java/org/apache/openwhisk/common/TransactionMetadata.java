package org.apache.openwhisk.common;

import java.time.Instant;

/**
 * What a {@code TransactionId} is on the JVM: that class is a Scala value class, so every method
 * that takes one takes its only field.
 */
public class TransactionMetadata {
  private final String id;
  private final Instant start;

  public TransactionMetadata(String id, Instant start) {
    this.id = id;
    this.start = start;
  }

  public String id() {
    return id;
  }

  public Instant start() {
    return start;
  }
}
