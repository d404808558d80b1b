package org.apache.openwhisk.core.entity;

import scala.collection.immutable.Map;

public class ExecutableWhiskAction extends WhiskEntity {
  public ExecutableWhiskAction(String path, Map<ParameterName, ParameterValue> annotations) {
    super(path, annotations);
  }
}
