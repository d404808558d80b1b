package org.apache.openwhisk.core.entity;

public class ExecManifest {
  private ExecManifest() {}

  public static class ImageName {
    private final String name;

    public ImageName(String name) {
      this.name = name;
    }

    public String name() {
      return name;
    }
  }
}
