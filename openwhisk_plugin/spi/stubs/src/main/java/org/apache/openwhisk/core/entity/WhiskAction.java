package org.apache.openwhisk.core.entity;

import scala.collection.immutable.Map;

public class WhiskAction extends WhiskEntity {
  public WhiskAction(String path, Map<ParameterName, ParameterValue> annotations) {
    super(path, annotations);
  }
}
