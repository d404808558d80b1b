package org.apache.openwhisk.core.loadBalancer;

import org.apache.openwhisk.common.InvokerHealth;
import org.apache.openwhisk.common.TransactionMetadata;
import org.apache.openwhisk.core.connector.ActivationMessage;
import org.apache.openwhisk.core.entity.ActivationId;
import org.apache.openwhisk.core.entity.ExecutableWhiskActionMetaData;
import org.apache.openwhisk.core.entity.WhiskActivation;
import scala.Tuple2;
import scala.collection.IndexedSeq;
import scala.collection.Seq;
import scala.collection.immutable.List;
import scala.concurrent.Future;
import scala.util.Either;

/** {@code UUID} and {@code EntityPath} are Scala value classes around String and Seq[String]. */
public interface LoadBalancer {
  Future<Future<Either<ActivationId, WhiskActivation>>> publish(
      ExecutableWhiskActionMetaData action, ActivationMessage msg, TransactionMetadata transid);

  Future<IndexedSeq<InvokerHealth>> invokerHealth();

  Future<Object> activeActivationsFor(String namespace);

  Future<Object> activeActivationsByController(String controller);

  Future<List<Tuple2<String, String>>> activeActivationsByController();

  Future<Object> activeActivationsByInvoker(String invoker);

  Future<Object> totalActiveActivations();

  default int clusterSize() {
    return 1;
  }

  default boolean checkThrottle(Seq<String> namespace, String action) {
    return false;
  }

  default void close() {}
}
