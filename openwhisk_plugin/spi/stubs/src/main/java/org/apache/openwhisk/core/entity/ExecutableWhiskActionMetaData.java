package org.apache.openwhisk.core.entity;

import scala.collection.immutable.Map;

public class ExecutableWhiskActionMetaData extends WhiskEntity {
  private final ExecMetaData exec;
  private final ActionLimits limits;

  public ExecutableWhiskActionMetaData(
      String path,
      Map<ParameterName, ParameterValue> annotations,
      ExecMetaData exec,
      ActionLimits limits) {
    super(path, annotations);
    this.exec = exec;
    this.limits = limits;
  }

  public ExecMetaData exec() {
    return exec;
  }

  public ActionLimits limits() {
    return limits;
  }
}
