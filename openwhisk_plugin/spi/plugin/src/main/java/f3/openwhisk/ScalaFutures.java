package f3.openwhisk;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.function.Function;
import scala.concurrent.ExecutionContext;
import scala.concurrent.ExecutionContext$;
import scala.concurrent.Future;
import scala.concurrent.Promise;
import scala.concurrent.Promise$;

/** Between Java's futures, which the agent's client has, and Scala's, which OpenWhisk has. */
final class ScalaFutures {
  /** Runs what follows on the thread that completed the future: nothing of ours waits. */
  private static final ExecutionContext SAME_THREAD =
      ExecutionContext$.MODULE$.fromExecutor(Runnable::run);

  private ScalaFutures() {}

  static <T> CompletableFuture<T> toJava(Future<T> future) {
    CompletableFuture<T> result = new CompletableFuture<>();
    future.onComplete(
        outcome ->
            outcome.isSuccess()
                ? result.complete(outcome.get())
                : result.completeExceptionally(outcome.failed().get()),
        SAME_THREAD);
    return result;
  }

  static <T> Future<T> toScala(CompletableFuture<T> future) {
    Promise<T> promise = Promise$.MODULE$.apply();
    future.whenComplete(
        (value, error) -> {
          if (error == null) {
            promise.success(value);
          } else {
            promise.failure(cause(error));
          }
        });
    return promise.future();
  }

  /** A call of OpenWhisk's that answers with a future; what it throws fails the future. */
  interface Work {
    Object call() throws Throwable;
  }

  @SuppressWarnings("unchecked") // the caller forwards a call, and returns what it returned
  static <T> CompletableFuture<T> call(Work work) {
    try {
      return toJava((Future<T>) work.call());
    } catch (Throwable e) {
      return CompletableFuture.failedFuture(e);
    }
  }

  /** {@code rescue} answers for a failure, or fails itself. */
  static <T> CompletableFuture<T> rescue(
      CompletableFuture<T> future, Function<Throwable, CompletableFuture<T>> rescue) {
    return future
        .handle(
            (value, error) ->
                error == null
                    ? CompletableFuture.completedFuture(value)
                    : rescue.apply(cause(error)))
        .thenCompose(Function.identity());
  }

  /** Without what CompletableFuture wraps it in. */
  static Throwable cause(Throwable error) {
    return error instanceof CompletionException && error.getCause() != null
        ? error.getCause()
        : error;
  }
}
