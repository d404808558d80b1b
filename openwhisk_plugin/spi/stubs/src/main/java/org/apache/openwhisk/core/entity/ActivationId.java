package org.apache.openwhisk.core.entity;

/** A Scala value class: {@code String} in signatures, an object of this class inside containers. */
public final class ActivationId {
  private final String asString;

  public ActivationId(String asString) {
    this.asString = asString;
  }

  public String asString() {
    return asString;
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof ActivationId && ((ActivationId) other).asString.equals(asString);
  }

  @Override
  public int hashCode() {
    return asString.hashCode();
  }

  @Override
  public String toString() {
    return asString;
  }
}
