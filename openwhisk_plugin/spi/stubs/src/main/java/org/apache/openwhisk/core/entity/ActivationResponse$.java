package org.apache.openwhisk.core.entity;

import scala.Option;
import scala.Some;
import scala.collection.immutable.Map;
import scala.collection.immutable.Map$;
import spray.json.JsObject;
import spray.json.JsString;
import spray.json.JsValue;

/** The companion object. */
public final class ActivationResponse$ {
  public static final ActivationResponse$ MODULE$ = new ActivationResponse$();

  private ActivationResponse$() {}

  public ActivationResponse success(Option<JsValue> result, Option<Object> size) {
    return new ActivationResponse(0, result);
  }

  public ActivationResponse developerError(String message, Option<Object> size) {
    return error(2, message);
  }

  public ActivationResponse whiskError(String message) {
    return error(3, message);
  }

  private static ActivationResponse error(int code, String message) {
    Map<String, JsValue> none = Map$.MODULE$.<String, JsValue>empty();
    return new ActivationResponse(
        code, new Some<>(new JsObject(none.updated("error", new JsString(message)))));
  }
}
