package org.apache.openwhisk.core.entity;

public class ExecMetaData {
  private final boolean pull;

  public ExecMetaData(boolean pull) {
    this.pull = pull;
  }

  /** Whether the image is the user's ("blackbox"). */
  public boolean pull() {
    return pull;
  }
}
