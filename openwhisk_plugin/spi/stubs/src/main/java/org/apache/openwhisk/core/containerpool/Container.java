package org.apache.openwhisk.core.containerpool;

import org.apache.openwhisk.common.Logging;
import org.apache.openwhisk.common.TransactionMetadata;
import org.apache.openwhisk.core.entity.ActivationResponse;
import org.apache.openwhisk.core.entity.ByteSize;
import org.apache.openwhisk.core.entity.WhiskAction;
import org.apache.pekko.NotUsed;
import org.apache.pekko.actor.ActorSystem;
import org.apache.pekko.stream.scaladsl.Source;
import org.apache.pekko.util.ByteString;
import scala.Option;
import scala.Tuple2;
import scala.concurrent.ExecutionContext;
import scala.concurrent.Future;
import scala.concurrent.duration.FiniteDuration;
import scala.runtime.BoxedUnit;
import spray.json.JsObject;
import spray.json.JsValue;

/** In OpenWhisk a trait: what is protected there is public on the JVM. */
public interface Container {
  ActorSystem as();

  ContainerId id();

  ContainerAddress addr();

  Logging logging();

  ExecutionContext ec();

  Option<Object> httpConnection();

  void httpConnection_$eq(Option<Object> connection);

  default ContainerId containerId() {
    return id();
  }

  Future<BoxedUnit> suspend(TransactionMetadata transid);

  Future<BoxedUnit> resume(TransactionMetadata transid);

  Future<BoxedUnit> destroy(TransactionMetadata transid);

  Source<ByteString, NotUsed> logs(
      ByteSize limit, boolean waitForSentinel, TransactionMetadata transid);

  Future<Interval> initialize(
      JsObject initializer,
      FiniteDuration timeout,
      int maxConcurrent,
      Option<WhiskAction> entity,
      TransactionMetadata transid);

  default Option<WhiskAction> initialize$default$4() {
    return Option.empty();
  }

  Future<Tuple2<Interval, ActivationResponse>> run(
      JsValue parameters,
      JsObject environment,
      FiniteDuration timeout,
      int maxConcurrent,
      ByteSize maxResponse,
      ByteSize truncation,
      boolean reschedule,
      TransactionMetadata transid);
}
