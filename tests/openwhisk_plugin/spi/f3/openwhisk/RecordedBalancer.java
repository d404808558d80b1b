package f3.openwhisk;

import java.util.ArrayList;
import java.util.List;
import org.apache.openwhisk.common.InvokerHealth;
import org.apache.openwhisk.common.InvokerState;
import org.apache.openwhisk.common.NestedSemaphore;
import org.apache.openwhisk.common.TransactionMetadata;
import org.apache.openwhisk.core.connector.ActivationMessage;
import org.apache.openwhisk.core.connector.MessageProducer;
import org.apache.openwhisk.core.connector.ResultMetadata;
import org.apache.openwhisk.core.entity.ActivationId;
import org.apache.openwhisk.core.entity.ExecutableWhiskActionMetaData;
import org.apache.openwhisk.core.entity.FullyQualifiedEntityName;
import org.apache.openwhisk.core.entity.InvokerInstanceId;
import org.apache.openwhisk.core.entity.WhiskActivation;
import org.apache.openwhisk.core.loadBalancer.ActivationEntry;
import org.apache.openwhisk.core.loadBalancer.ShardingContainerPoolBalancer;
import org.apache.openwhisk.core.loadBalancer.ShardingContainerPoolBalancerState;
import scala.Option;
import scala.Tuple2;
import scala.collection.IndexedSeq;
import scala.collection.concurrent.TrieMap;
import scala.collection.concurrent.TrieMap$;
import scala.collection.immutable.VectorBuilder;
import scala.concurrent.Future;
import scala.concurrent.Future$;
import scala.util.Either;
import scala.util.Left;

/**
 * A sharding balancer of `invokers` invokers (the last one for the users' own images), named n0, n1
 * and so on, whose books and topics can be looked at. Its own publish takes the invoker with the
 * number `hash`. Not thread-safe but for what the decorated one calls.
 */
final class RecordedBalancer extends ShardingContainerPoolBalancer {
  static final int MEGABYTES = 512;

  private final Events events;
  private final int hash;
  private final List<InvokerHealth> invokers = new ArrayList<>();
  private final List<NestedSemaphore<FullyQualifiedEntityName>> slots = new ArrayList<>();
  private final TrieMap<ActivationId, ActivationEntry> books = TrieMap$.MODULE$.empty();

  RecordedBalancer(Events events, int invokers, int hash, int... unusable) {
    this.events = events;
    this.hash = hash;
    for (int i = 0; i < invokers; i++) {
      int number = i;
      boolean usable = java.util.Arrays.stream(unusable).noneMatch(n -> n == number);
      this.invokers.add(
          new InvokerHealth(
              new InvokerInstanceId(i, Option.empty(), Option.apply("n" + i)), state(usable)));
      slots.add(new NestedSemaphore<>(MEGABYTES));
    }
  }

  int freeMegabytes(int invoker) {
    return slots.get(invoker).availablePermits();
  }

  private static InvokerState state(boolean usable) {
    return new InvokerState() {
      @Override
      public String asString() {
        return usable ? "up" : "down";
      }

      @Override
      public boolean isUsable() {
        return usable;
      }
    };
  }

  private static <T> IndexedSeq<T> seq(List<T> list) {
    VectorBuilder<T> builder = new VectorBuilder<>();
    list.forEach(builder::$plus$eq);
    return builder.result();
  }

  @Override
  public ShardingContainerPoolBalancerState schedulingState() {
    int last = invokers.size() - 1;
    return new ShardingContainerPoolBalancerState(
        seq(invokers.subList(0, last)), seq(invokers.subList(last, last + 1)), seq(slots));
  }

  @Override
  public TrieMap<ActivationId, ActivationEntry> activationSlots() {
    return books;
  }

  @Override
  public MessageProducer messageProducer() {
    return new MessageProducer() {};
  }

  @Override
  public Future<Either<ActivationId, WhiskActivation>> setupActivation(
      ActivationMessage msg, ExecutableWhiskActionMetaData action, InvokerInstanceId instance) {
    books.update(new ActivationId(msg.activationId()), new ActivationEntry(instance));
    return Future$.MODULE$.successful(new Left<>(new ActivationId(msg.activationId())));
  }

  @Override
  public Future<ResultMetadata> sendActivationToInvoker(
      MessageProducer producer, ActivationMessage msg, InvokerInstanceId invoker) {
    events.add("invoker" + invoker.toInt() + " " + msg.activationId());
    return Future$.MODULE$.successful(new ResultMetadata());
  }

  @Override
  public Future<Future<Either<ActivationId, WhiskActivation>>> publish(
      ExecutableWhiskActionMetaData action, ActivationMessage msg, TransactionMetadata transid) {
    InvokerInstanceId invoker = invokers.get(hash).id();
    events.add("hash");
    slots.get(hash).forceAcquireConcurrent(
        action.fullyQualifiedName(true), action.limits().concurrency(), action.limits().memory());
    setupActivation(msg, action, invoker);
    sendActivationToInvoker(messageProducer(), msg, invoker);
    return Future$.MODULE$.successful(
        Future$.MODULE$.successful(new Left<>(new ActivationId(msg.activationId()))));
  }

  @Override
  public Future<IndexedSeq<InvokerHealth>> invokerHealth() {
    return Future$.MODULE$.successful(seq(invokers));
  }

  @Override
  public Future<Object> activeActivationsFor(String namespace) {
    return Future$.MODULE$.successful(namespace.length());
  }

  @Override
  public Future<Object> activeActivationsByController(String controller) {
    return Future$.MODULE$.successful(0);
  }

  @Override
  public Future<scala.collection.immutable.List<Tuple2<String, String>>>
      activeActivationsByController() {
    return Future$.MODULE$.successful(scala.collection.immutable.List$.MODULE$.empty());
  }

  @Override
  public Future<Object> activeActivationsByInvoker(String invoker) {
    return Future$.MODULE$.successful(0);
  }

  @Override
  public Future<Object> totalActiveActivations() {
    return Future$.MODULE$.successful(books.size());
  }

  @Override
  public int clusterSize() {
    return 2;
  }

  @Override
  public void close() {
    events.add("closed");
  }
}
