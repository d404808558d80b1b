package org.apache.openwhisk.core.entity;

import scala.Option;
import spray.json.JsValue;

public class ActivationResponse {
  private final int statusCode;
  private final Option<JsValue> result;

  ActivationResponse(int statusCode, Option<JsValue> result) {
    this.statusCode = statusCode;
    this.result = result;
  }

  public int statusCode() {
    return statusCode;
  }

  public Option<JsValue> result() {
    return result;
  }

  @Override
  public String toString() {
    return statusCode + " " + result;
  }
}
