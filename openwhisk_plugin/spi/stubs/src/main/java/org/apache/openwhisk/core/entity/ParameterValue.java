package org.apache.openwhisk.core.entity;

import spray.json.JsValue;

public class ParameterValue {
  private final JsValue value;

  public ParameterValue(JsValue value) {
    this.value = value;
  }

  public JsValue value() {
    return value;
  }
}
