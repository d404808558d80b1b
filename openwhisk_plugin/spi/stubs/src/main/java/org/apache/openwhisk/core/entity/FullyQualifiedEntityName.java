package org.apache.openwhisk.core.entity;

public class FullyQualifiedEntityName {
  private final String qualifiedName;

  public FullyQualifiedEntityName(String qualifiedName) {
    this.qualifiedName = qualifiedName;
  }

  /** "namespace/package/name", and "@version" where there is one. */
  public String asString() {
    return qualifiedName;
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof FullyQualifiedEntityName
        && ((FullyQualifiedEntityName) other).qualifiedName.equals(qualifiedName);
  }

  @Override
  public int hashCode() {
    return qualifiedName.hashCode();
  }
}
