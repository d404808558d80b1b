package org.apache.openwhisk.core.entity;

import scala.collection.immutable.Map;

public abstract class WhiskEntity {
  private final String path;
  private final Map<ParameterName, ParameterValue> annotations;

  /** In OpenWhisk namespace and name are apart, as value classes. */
  protected WhiskEntity(String path, Map<ParameterName, ParameterValue> annotations) {
    this.path = path;
    this.annotations = annotations;
  }

  /** A {@code Parameters}. */
  public Map<ParameterName, ParameterValue> annotations() {
    return annotations;
  }

  public final FullyQualifiedEntityName fullyQualifiedName(boolean withVersion) {
    return new FullyQualifiedEntityName(withVersion ? path + "@0.0.1" : path);
  }
}
