package org.apache.openwhisk.core.entity;

import scala.Option;
import scala.Some;
import scala.collection.immutable.Map;
import spray.json.JsValue;

/** Parameters or annotations: a Scala value class around the map. */
public final class Parameters {
  private final Map<ParameterName, ParameterValue> params;

  public Parameters(Map<ParameterName, ParameterValue> params) {
    this.params = params;
  }

  public Option<JsValue> get(String name) {
    Option<ParameterValue> value = params.get(new ParameterName(name));
    return value.isDefined() ? new Some<>(value.get().value()) : Option.empty();
  }
}
