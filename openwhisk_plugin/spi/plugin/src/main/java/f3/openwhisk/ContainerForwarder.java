package f3.openwhisk;

import f3.openwhisk.Agent.AttachRequest;
import f3.openwhisk.Agent.UpdateRequest;
import io.grpc.Status;
import java.lang.reflect.Method;
import java.time.Instant;
import java.util.concurrent.CompletableFuture;
import org.apache.openwhisk.common.Logging;
import org.apache.openwhisk.common.TransactionMetadata;
import org.apache.openwhisk.core.containerpool.Container;
import org.apache.openwhisk.core.containerpool.InitializationError;
import org.apache.openwhisk.core.containerpool.Interval;
import org.apache.openwhisk.core.entity.ActivationResponse;
import org.apache.openwhisk.core.entity.ActivationResponse$;
import org.apache.openwhisk.core.entity.WhiskEntity;
import scala.Option;
import scala.Tuple2;
import scala.concurrent.Future;
import spray.json.JsValue;

/**
 * A container of OpenWhisk whose initialize first attaches it to F3, whose run first says which
 * activation comes, and whose destroy detaches it afterwards. Thread-safe as Container is: run may
 * be called by several threads at once, the others by one at a time, but for destroy, which may
 * come while initialize is under way.
 */
final class ContainerForwarder extends Forwarder {
  private final Container container;
  private final AgentClient agent;
  private final Logging logging;
  private final String id;

  // Written by initialize, before it returns.
  private volatile Hints hints;
  private volatile CompletableFuture<Boolean> attached = CompletableFuture.completedFuture(false);
  private volatile boolean destroyed;

  /** {@code known}: what creation was told of the action; not empty only where it was told. */
  ContainerForwarder(Container container, Hints known, AgentClient agent, Logging logging) {
    this.container = container;
    this.hints = known;
    this.agent = agent;
    this.logging = logging;
    this.id = runtimeId(container);
  }

  @Override
  protected Object target() {
    return container;
  }

  @Override
  protected Object take(Method method, Object[] args) throws Throwable {
    return switch (method.getName()) {
      case "initialize" -> initialize(method, args);
      case "run" -> run(method, args);
      case "destroy" -> destroy(method, args);
      default -> forward(method, args);
    };
  }

  /** initialize(initializer, timeout, maxConcurrent, entity)(transid). */
  private Future<Object> initialize(Method method, Object[] args) {
    Instant start = Instant.now();
    JsValue environment = Json.field((JsValue) args[0], "env");
    WhiskEntity action = action(args[3]);
    if (action != null) {
      hints = Hints.ofAnnotations(action);
    } else if (hints.isEmpty()) {
      hints = Hints.ofEnvironment(environment);
    }
    ActionName name =
        action == null ? ActionName.ofEnvironment(environment) : ActionName.of(action);
    CompletableFuture<Boolean> attaching = attach(name, environment, transid(args));
    attached = attaching;
    CompletableFuture<Object> initialized =
        attaching
            .thenAccept(done -> refuseIfDestroyed())
            .thenCompose(done -> ScalaFutures.call(() -> forward(method, args)));
    return ScalaFutures.toScala(
        ScalaFutures.rescue(
            initialized,
            error ->
                CompletableFuture.failedFuture(
                    error instanceof AgentException e
                        ? new InitializationError(since(start), response(e))
                        : error)));
  }

  /** Whether it is attached now. Fails where the action asked for files and cannot have them. */
  private CompletableFuture<Boolean> attach(
      ActionName name, JsValue environment, TransactionMetadata transid) {
    AttachRequest request =
        AttachRequest.newBuilder()
            .setContainer(id)
            .setNamespace(name.namespace())
            .setAction(name.action())
            .setActivation(Json.textField(environment, "__OW_ACTIVATION_ID"))
            .setWorkflow(Workflow.of(Json.textField(environment, "__OW_TRANSACTION_ID")))
            .setAnnotations(hints.toJson())
            .setRunning(true)
            .build();
    boolean needed = !hints.isEmpty();
    return ScalaFutures.rescue(
        agent.attach(request, needed).thenApply(reply -> true),
        error -> {
          if (needed) {
            return CompletableFuture.failedFuture(error);
          }
          warn(error, "running without F3", transid);
          return CompletableFuture.completedFuture(false);
        });
  }

  private void refuseIfDestroyed() {
    if (destroyed) {
      throw new AgentException(
          Status.Code.ABORTED, "F3: the container was destroyed before its /init", null);
    }
  }

  /**
   * run(parameters, environment, timeout, …)(transid). The run goes on without the agent unless
   * something depends on it: hints of the call, or a mount that changes with the workflow.
   */
  private Future<Object> run(Method method, Object[] args) {
    Instant start = Instant.now();
    JsValue callHints = Json.field((JsValue) args[0], Hints.CALL);
    if (callHints == null && !isAttached()) {
      return ScalaFutures.toScala(ScalaFutures.call(() -> forward(method, args)));
    }
    boolean needed = callHints != null || hints.changesWithTheWorkflow();
    CompletableFuture<Boolean> updated =
        ScalaFutures.rescue(
            agent.update(update((JsValue) args[1], callHints), needed).thenApply(reply -> true),
            error -> {
              if (needed || stopsTheRun((AgentException) error)) {
                return CompletableFuture.failedFuture(error);
              }
              warn(error, "the run goes on", transid(args));
              return CompletableFuture.completedFuture(false);
            });
    CompletableFuture<Object> ran =
        updated.thenCompose(done -> ScalaFutures.call(() -> forward(method, args)));
    return ScalaFutures.toScala(
        ScalaFutures.rescue(
            ran,
            error ->
                error instanceof AgentException e
                    ? CompletableFuture.completedFuture(new Tuple2<>(since(start), response(e)))
                    : CompletableFuture.failedFuture(error)));
  }

  private boolean isAttached() {
    return attached.isDone() && !attached.isCompletedExceptionally() && attached.join();
  }

  /** Without its mounts an action would write into the container, and lose it. */
  private boolean stopsTheRun(AgentException error) {
    return error.isFaultOfTheAction()
        || (error.code() == Status.Code.NOT_FOUND && !hints.isEmpty());
  }

  private UpdateRequest update(JsValue environment, JsValue callHints) {
    return UpdateRequest.newBuilder()
        .setContainer(id)
        .setActivation(Json.textField(environment, "activation_id"))
        .setWorkflow(Workflow.of(Json.textField(environment, "transaction_id")))
        .setCallHints(callHints == null ? "" : callHints.compactPrint())
        .build();
  }

  /** Detaches whatever became of the container; an attach that is under way ends before. */
  private Future<Object> destroy(Method method, Object[] args) {
    destroyed = true;
    CompletableFuture<Object> gone = ScalaFutures.call(() -> forward(method, args));
    CompletableFuture<Object> detached =
        gone.handle((value, error) -> attached)
            .thenCompose(attaching -> attaching.handle((value, error) -> agent.detach(id)))
            .thenCompose(reply -> reply)
            .handle(
                (reply, error) -> {
                  if (error != null) {
                    warn(error, "the agent finds out itself that it is gone", transid(args));
                  }
                  return gone;
                })
            .thenCompose(outcome -> outcome);
    return ScalaFutures.toScala(detached);
  }

  private void warn(Throwable error, String consequence, TransactionMetadata transid) {
    String message =
        "container " + id + ": " + ScalaFutures.cause(error).getMessage() + "; " + consequence;
    logging.warn("F3", () -> message, transid);
  }

  private static WhiskEntity action(Object option) {
    Object entity = option instanceof Option<?> some ? Json.orNull(some) : null;
    return entity instanceof WhiskEntity action ? action : null;
  }

  /** The implicit parameter comes last. */
  private static TransactionMetadata transid(Object[] args) {
    return (TransactionMetadata) args[args.length - 1];
  }

  private static Interval since(Instant start) {
    return new Interval(start, Instant.now());
  }

  private static ActivationResponse response(AgentException error) {
    return error.isFaultOfTheAction()
        ? ActivationResponse$.MODULE$.developerError(error.getMessage(), Option.empty())
        : ActivationResponse$.MODULE$.whiskError(error.getMessage());
  }

  /**
   * The id by which the container runtime knows it. A pod is named in OpenWhisk by its own name,
   * and carries the runtime's id ("containerd://ID") beside it.
   */
  private static String runtimeId(Container container) {
    try {
      String id = (String) container.getClass().getMethod("nativeContainerId").invoke(container);
      return id.substring(id.lastIndexOf('/') + 1);
    } catch (ReflectiveOperationException e) {
      return container.containerId().asString();
    }
  }
}
