package org.apache.openwhisk.core.connector;

import org.apache.openwhisk.common.TransactionMetadata;
import org.apache.openwhisk.core.entity.ActivationId;
import scala.Option;
import spray.json.JsValue;

public class ActivationMessage {
  private final TransactionMetadata transid;
  private final String activationId;
  private final Option<JsValue> content;
  private final Option<ActivationId> cause;

  public ActivationMessage(
      TransactionMetadata transid,
      String activationId,
      Option<JsValue> content,
      Option<ActivationId> cause) {
    this.transid = transid;
    this.activationId = activationId;
    this.content = content;
    this.cause = cause;
  }

  public TransactionMetadata transid() {
    return transid;
  }

  public String activationId() {
    return activationId;
  }

  public Option<JsValue> content() {
    return content;
  }

  public Option<ActivationId> cause() {
    return cause;
  }
}
