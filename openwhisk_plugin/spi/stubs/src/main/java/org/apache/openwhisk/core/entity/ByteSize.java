package org.apache.openwhisk.core.entity;

public class ByteSize {
  private final long bytes;

  public ByteSize(long bytes) {
    this.bytes = bytes;
  }

  public long toBytes() {
    return bytes;
  }
}
