package f3.openwhisk;

import f3.openwhisk.Agent.Held;
import f3.openwhisk.Agent.LocateReply;
import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import org.apache.openwhisk.common.InvokerHealth;
import org.apache.openwhisk.common.Logging;
import org.apache.openwhisk.common.NestedSemaphore;
import org.apache.openwhisk.common.TransactionMetadata;
import org.apache.openwhisk.core.connector.ActivationMessage;
import org.apache.openwhisk.core.entity.ActivationId;
import org.apache.openwhisk.core.entity.ExecutableWhiskActionMetaData;
import org.apache.openwhisk.core.entity.FullyQualifiedEntityName;
import org.apache.openwhisk.core.entity.InvokerInstanceId;
import org.apache.openwhisk.core.loadBalancer.ActivationEntry;
import org.apache.openwhisk.core.loadBalancer.ShardingContainerPoolBalancer;
import org.apache.openwhisk.core.loadBalancer.ShardingContainerPoolBalancerState;
import scala.collection.Iterator;
import scala.concurrent.Future;

/**
 * The sharding balancer, asked to prefer the invoker whose node holds what the activation reads,
 * then the one where the sequence's last step ran. An invoker that has no memory left is no
 * candidate: pulling is then quicker than waiting. With none left, or no answer from the agent, the
 * balancer behind decides by its hash. Thread-safe.
 */
final class LoadBalancerForwarder extends Forwarder {
  /** Sequences whose last invoker is remembered. */
  private static final int MAX_CAUSES = 10_000;

  private final ShardingContainerPoolBalancer balancer;
  private final AgentClient agent;
  private final Map<Integer, String> invokerNodes;
  private final Logging logging;
  private final Map<String, Integer> lastInvoker =
      Collections.synchronizedMap(
          new LinkedHashMap<>(16, 0.75f, true) {
            @Override
            protected boolean removeEldestEntry(Map.Entry<String, Integer> eldest) {
              return size() > MAX_CAUSES;
            }
          });

  LoadBalancerForwarder(
      ShardingContainerPoolBalancer balancer,
      AgentClient agent,
      Map<Integer, String> invokerNodes,
      Logging logging) {
    this.balancer = balancer;
    this.agent = agent;
    this.invokerNodes = invokerNodes;
    this.logging = logging;
  }

  @Override
  protected Object target() {
    return balancer;
  }

  @Override
  protected Object take(Method method, Object[] args) throws Throwable {
    if (method.getName().equals("publish")) {
      return publish(method, args);
    }
    if (method.getName().equals("close")) {
      agent.close();
    }
    return forward(method, args);
  }

  /** publish(action, message)(transid). */
  private Object publish(Method method, Object[] args) throws Throwable {
    ExecutableWhiskActionMetaData action = (ExecutableWhiskActionMetaData) args[0];
    ActivationMessage message = (ActivationMessage) args[1];
    Wanted wanted = new Wanted(action, message);
    if (wanted.locality().equals("off")) {
      return forward(method, args);
    }
    if (wanted.isEmpty()) {
      return place(method, args, List.of(), false);
    }
    boolean require = wanted.locality().equals("require");
    CompletableFuture<LocateReply> located =
        ScalaFutures.rescue(
            agent.locate(wanted.request()),
            error -> {
              String why = "placed by hash: " + error.getMessage();
              logging.warn("F3", () -> why, (TransactionMetadata) args[2]);
              return CompletableFuture.completedFuture(LocateReply.getDefaultInstance());
            });
    return ScalaFutures.toScala(
        located.thenCompose(
            reply ->
                ScalaFutures.call(
                    () -> place(method, args, holders(reply, require), require))));
  }

  /** Nodes that hold some of it, most bytes first; if {@code require}, only those with the most. */
  private static List<String> holders(LocateReply reply, boolean require) {
    List<String> nodes = new ArrayList<>();
    for (Held held : reply.getNodesList()) {
      if (held.getBytes() > 0 && (!require || held.getBytes() == reply.getNodes(0).getBytes())) {
        nodes.add(held.getNode());
      }
    }
    return nodes;
  }

  private Object place(Method method, Object[] args, List<String> nodes, boolean require)
      throws Throwable {
    ExecutableWhiskActionMetaData action = (ExecutableWhiskActionMetaData) args[0];
    ActivationMessage message = (ActivationMessage) args[1];
    ActivationId cause = Json.orNull(message.cause());
    List<InvokerInstanceId> candidates = candidates(action, nodes, cause);
    for (InvokerInstanceId invoker : candidates) {
      if (slots(invoker).tryAcquireConcurrent(name(action), concurrency(action), memory(action))) {
        return send(action, message, cause, invoker);
      }
    }
    if (require && !nodes.isEmpty() && !candidates.isEmpty()) {
      InvokerInstanceId invoker = candidates.get(0); // it waits in that invoker's queue
      slots(invoker).forceAcquireConcurrent(name(action), concurrency(action), memory(action));
      return send(action, message, cause, invoker);
    }
    Object result = forward(method, args);
    if (cause != null) {
      remember(cause, message);
    }
    return result;
  }

  /** Usable invokers in the order of preference. */
  private List<InvokerInstanceId> candidates(
      ExecutableWhiskActionMetaData action, List<String> nodes, ActivationId cause) {
    ShardingContainerPoolBalancerState state = balancer.schedulingState();
    List<InvokerInstanceId> usable = new ArrayList<>();
    Iterator<InvokerHealth> pool =
        (action.exec().pull() ? state.blackboxInvokers() : state.managedInvokers()).iterator();
    while (pool.hasNext()) {
      InvokerHealth invoker = pool.next();
      if (invoker.status().isUsable()) {
        usable.add(invoker.id());
      }
    }
    List<InvokerInstanceId> candidates = new ArrayList<>();
    for (String node : nodes) {
      usable.stream().filter(invoker -> isOn(invoker, node)).forEach(candidates::add);
    }
    Integer last = candidates.isEmpty() && cause != null ? lastInvoker.get(cause.asString()) : null;
    if (last != null) {
      usable.stream().filter(invoker -> invoker.toInt() == last).forEach(candidates::add);
    }
    return candidates;
  }

  private boolean isOn(InvokerInstanceId invoker, String node) {
    String named = invokerNodes.get(invoker.toInt());
    return named != null
        ? named.equals(node)
        : node.equals(Json.orNull(invoker.uniqueName()))
            || node.equals(Json.orNull(invoker.displayedName()));
  }

  /** What the balancer's own publish does once it has chosen and acquired the slots. */
  private Object send(
      ExecutableWhiskActionMetaData action,
      ActivationMessage message,
      ActivationId cause,
      InvokerInstanceId invoker) {
    Future<?> result = balancer.setupActivation(message, action, invoker);
    if (cause != null) {
      lastInvoker.put(cause.asString(), invoker.toInt());
    }
    return ScalaFutures.toScala(
        ScalaFutures.toJava(
                balancer.sendActivationToInvoker(balancer.messageProducer(), message, invoker))
            .thenApply(sent -> result));
  }

  /** Where the balancer behind put it: its books say. */
  private void remember(ActivationId cause, ActivationMessage message) {
    ActivationEntry entry =
        Json.orNull(balancer.activationSlots().get(new ActivationId(message.activationId())));
    if (entry != null) {
      lastInvoker.put(cause.asString(), entry.invokerName().toInt());
    }
  }

  private NestedSemaphore<FullyQualifiedEntityName> slots(InvokerInstanceId invoker) {
    return balancer.schedulingState().invokerSlots().apply(invoker.toInt());
  }

  private static FullyQualifiedEntityName name(ExecutableWhiskActionMetaData action) {
    return action.fullyQualifiedName(true);
  }

  private static int concurrency(ExecutableWhiskActionMetaData action) {
    return action.limits().concurrency();
  }

  private static int memory(ExecutableWhiskActionMetaData action) {
    return action.limits().memory();
  }
}
