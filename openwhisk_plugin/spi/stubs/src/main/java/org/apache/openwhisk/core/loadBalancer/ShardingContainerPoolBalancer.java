package org.apache.openwhisk.core.loadBalancer;

import org.apache.openwhisk.core.connector.ActivationMessage;
import org.apache.openwhisk.core.connector.MessageProducer;
import org.apache.openwhisk.core.connector.ResultMetadata;
import org.apache.openwhisk.core.entity.ActivationId;
import org.apache.openwhisk.core.entity.ExecutableWhiskActionMetaData;
import org.apache.openwhisk.core.entity.InvokerInstanceId;
import org.apache.openwhisk.core.entity.WhiskActivation;
import scala.collection.concurrent.TrieMap;
import scala.concurrent.Future;
import scala.util.Either;

/** With what it inherits from {@code CommonLoadBalancer}; protected there, public on the JVM. */
public abstract class ShardingContainerPoolBalancer implements LoadBalancer {
  public abstract ShardingContainerPoolBalancerState schedulingState();

  public abstract TrieMap<ActivationId, ActivationEntry> activationSlots();

  public abstract MessageProducer messageProducer();

  /** Enters the activation in the books. The slots have been acquired before. */
  public abstract Future<Either<ActivationId, WhiskActivation>> setupActivation(
      ActivationMessage msg, ExecutableWhiskActionMetaData action, InvokerInstanceId instance);

  public abstract Future<ResultMetadata> sendActivationToInvoker(
      MessageProducer producer, ActivationMessage msg, InvokerInstanceId invoker);
}
