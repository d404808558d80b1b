package f3.openwhisk;

import com.google.protobuf.MessageLite;
import f3.openwhisk.Agent.AttachReply;
import f3.openwhisk.Agent.AttachRequest;
import f3.openwhisk.Agent.DetachReply;
import f3.openwhisk.Agent.DetachRequest;
import f3.openwhisk.Agent.LocateReply;
import f3.openwhisk.Agent.LocateRequest;
import f3.openwhisk.Agent.UpdateReply;
import f3.openwhisk.Agent.UpdateRequest;
import io.grpc.CallOptions;
import io.grpc.ConnectivityState;
import io.grpc.ManagedChannel;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.okhttp.OkHttpChannelBuilder;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Path;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.concurrent.TimeUnit;

/**
 * The node agent's local API (agent.proto) over its Unix socket. Thread-safe; every call is
 * asynchronous, has a deadline, and fails with an {@link AgentException}. Owns the connection,
 * which is made at once and again whenever it broke.
 */
final class AgentClient implements AutoCloseable {
  /** How long each call may take, in milliseconds. */
  record Deadlines(long attach, long update, long detach, long locate) {
    static final Deadlines DEFAULT = new Deadlines(2000, 1000, 2000, 200);
  }

  /** Between attempts while the agent is away. */
  private static final long RETRY_MILLIS = 50;

  private static final String SERVICE = "f3.openwhisk.LocalAgent";
  static final MethodDescriptor<AttachRequest, AttachReply> ATTACH =
      method("Attach", AttachRequest.getDefaultInstance(), AttachReply.getDefaultInstance());
  static final MethodDescriptor<UpdateRequest, UpdateReply> UPDATE =
      method("Update", UpdateRequest.getDefaultInstance(), UpdateReply.getDefaultInstance());
  static final MethodDescriptor<DetachRequest, DetachReply> DETACH =
      method("Detach", DetachRequest.getDefaultInstance(), DetachReply.getDefaultInstance());
  static final MethodDescriptor<LocateRequest, LocateReply> LOCATE =
      method("Locate", LocateRequest.getDefaultInstance(), LocateReply.getDefaultInstance());

  private final Path socket;
  private final Deadlines deadlines;
  private final ManagedChannel channel;

  AgentClient(Path socket) {
    this(socket, Deadlines.DEFAULT);
  }

  AgentClient(Path socket, Deadlines deadlines) {
    this.socket = socket;
    this.deadlines = deadlines;
    // The address is never used; as a number it asks no name server.
    channel =
        OkHttpChannelBuilder.forAddress("127.0.0.1", 1)
            .socketFactory(new UnixSocketFactory(socket))
            .overrideAuthority("localhost")
            .proxyDetector(address -> null)
            .usePlaintext()
            .build();
    channel.getState(true); // connects now: the first call's deadline is short
  }

  /** Waits for an agent that is away, within the deadline, if {@code patient}. */
  CompletableFuture<AttachReply> attach(AttachRequest request, boolean patient) {
    return call(ATTACH, request, deadlines.attach(), patient);
  }

  CompletableFuture<UpdateReply> update(UpdateRequest request, boolean patient) {
    return call(UPDATE, request, deadlines.update(), patient);
  }

  CompletableFuture<DetachReply> detach(String container) {
    DetachRequest request = DetachRequest.newBuilder().setContainer(container).build();
    return call(DETACH, request, deadlines.detach(), false);
  }

  CompletableFuture<LocateReply> locate(LocateRequest request) {
    return call(LOCATE, request, deadlines.locate(), false);
  }

  @Override
  public void close() {
    channel.shutdownNow();
  }

  private <Q, A> CompletableFuture<A> call(
      MethodDescriptor<Q, A> method, Q request, long millis, boolean patient) {
    CompletableFuture<A> result = new CompletableFuture<>();
    long deadline = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(millis);
    attempt(method, request, deadline, millis, patient, result);
    return result;
  }

  // A call that failed because the agent is away may have been carried out: all of them may be
  // repeated.
  private <Q, A> void attempt(
      MethodDescriptor<Q, A> method,
      Q request,
      long deadline,
      long millis,
      boolean patient,
      CompletableFuture<A> result) {
    // Else gRPC would wait ever longer, and find an agent late that was restarted long ago.
    if (channel.getState(false) == ConnectivityState.TRANSIENT_FAILURE) {
      channel.resetConnectBackoff();
    }
    CallOptions options =
        CallOptions.DEFAULT.withDeadlineAfter(deadline - System.nanoTime(), TimeUnit.NANOSECONDS);
    StreamObserver<A> observer =
        new StreamObserver<>() {
          @Override
          public void onNext(A reply) {
            result.complete(reply);
          }

          @Override
          public void onError(Throwable error) {
            Status status = Status.fromThrowable(error);
            long left = deadline - System.nanoTime() - TimeUnit.MILLISECONDS.toNanos(RETRY_MILLIS);
            if (patient && status.getCode() == Status.Code.UNAVAILABLE && left > 0) {
              Executor later =
                  CompletableFuture.delayedExecutor(RETRY_MILLIS, TimeUnit.MILLISECONDS);
              later.execute(() -> attempt(method, request, deadline, millis, true, result));
            } else {
              result.completeExceptionally(explained(status, millis));
            }
          }

          @Override
          public void onCompleted() {}
        };
    try {
      ClientCalls.asyncUnaryCall(channel.newCall(method, options), request, observer);
    } catch (RuntimeException e) {
      result.completeExceptionally(explained(Status.fromThrowable(e), millis));
    }
  }

  private AgentException explained(Status status, long millis) {
    String reason;
    if (status.getCode() == Status.Code.DEADLINE_EXCEEDED) {
      reason = "no answer from the agent at " + socket + " within " + millis + " ms";
    } else if (status.getCode() == Status.Code.UNAVAILABLE && status.getCause() != null) {
      reason = "the agent at " + socket + " is away: " + status.getCause().getMessage();
    } else {
      reason = status.getDescription() == null ? status.getCode().name() : status.getDescription();
    }
    return new AgentException(status.getCode(), "F3: " + reason, status.asRuntimeException());
  }

  private static <Q extends MessageLite, A extends MessageLite> MethodDescriptor<Q, A> method(
      String name, Q request, A reply) {
    return MethodDescriptor.<Q, A>newBuilder()
        .setType(MethodDescriptor.MethodType.UNARY)
        .setFullMethodName(MethodDescriptor.generateFullMethodName(SERVICE, name))
        .setRequestMarshaller(new Marshaller<>(request))
        .setResponseMarshaller(new Marshaller<>(reply))
        .build();
  }

  private record Marshaller<T extends MessageLite>(T example)
      implements MethodDescriptor.Marshaller<T> {
    @Override
    public InputStream stream(T message) {
      return message.toByteString().newInput();
    }

    @Override
    @SuppressWarnings("unchecked") // a message's parser makes messages of its own class
    public T parse(InputStream bytes) {
      try {
        return (T) example.getParserForType().parseFrom(bytes);
      } catch (IOException e) {
        throw new StatusRuntimeException(
            Status.INTERNAL.withDescription("not a message of agent.proto").withCause(e));
      }
    }
  }
}
