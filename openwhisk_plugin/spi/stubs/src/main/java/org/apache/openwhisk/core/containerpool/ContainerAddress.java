package org.apache.openwhisk.core.containerpool;

public class ContainerAddress {
  private final String host;
  private final int port;

  public ContainerAddress(String host, int port) {
    this.host = host;
    this.port = port;
  }

  public String host() {
    return host;
  }

  public int port() {
    return port;
  }
}
