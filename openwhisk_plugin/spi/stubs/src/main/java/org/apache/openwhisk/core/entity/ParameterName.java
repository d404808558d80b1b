package org.apache.openwhisk.core.entity;

/** A Scala value class. */
public final class ParameterName {
  private final String name;

  public ParameterName(String name) {
    this.name = name;
  }

  public String name() {
    return name;
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof ParameterName && ((ParameterName) other).name.equals(name);
  }

  @Override
  public int hashCode() {
    return name.hashCode();
  }
}
