package f3.openwhisk;

import f3.openwhisk.Agent.AttachReply;
import f3.openwhisk.Agent.AttachRequest;
import f3.openwhisk.Agent.DetachReply;
import f3.openwhisk.Agent.DetachRequest;
import f3.openwhisk.Agent.LocateReply;
import f3.openwhisk.Agent.LocateRequest;
import f3.openwhisk.Agent.UpdateReply;
import f3.openwhisk.Agent.UpdateRequest;
import io.grpc.MethodDescriptor;
import io.grpc.Server;
import io.grpc.ServerServiceDefinition;
import io.grpc.Status;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.netty.shaded.io.netty.channel.EventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollEventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollServerDomainSocketChannel;
import io.grpc.netty.shaded.io.netty.channel.unix.DomainSocketAddress;
import io.grpc.stub.ServerCalls;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import java.util.logging.Level;
import java.util.logging.Logger;

/**
 * Plays the node agent on a real Unix socket, with another HTTP/2 implementation (Netty) than the
 * client's. Answers at once and well, unless a test says otherwise. Can be stopped and started.
 */
final class FakeAgent {
  final Path socket;
  final List<AttachRequest> attaches = new CopyOnWriteArrayList<>();
  final List<UpdateRequest> updates = new CopyOnWriteArrayList<>();
  final List<LocateRequest> locates = new CopyOnWriteArrayList<>();

  volatile Function<AttachRequest, CompletableFuture<AttachReply>> onAttach =
      request -> CompletableFuture.completedFuture(AttachReply.getDefaultInstance());
  volatile Function<UpdateRequest, CompletableFuture<UpdateReply>> onUpdate =
      request -> CompletableFuture.completedFuture(UpdateReply.getDefaultInstance());
  volatile Function<DetachRequest, CompletableFuture<DetachReply>> onDetach =
      request -> CompletableFuture.completedFuture(DetachReply.getDefaultInstance());
  volatile Function<LocateRequest, CompletableFuture<LocateReply>> onLocate =
      request -> CompletableFuture.completedFuture(LocateReply.getDefaultInstance());

  /** Without its warnings that Unix sockets lack an option of TCP's. */
  private static final Logger NETTY = quiet("io.grpc.netty.shaded.io.netty.bootstrap");

  private final Events events;
  private final EventLoopGroup threads = new EpollEventLoopGroup(1);
  private Server server;

  FakeAgent(Path socket, Events events) {
    this.socket = socket;
    this.events = events;
  }

  private static Logger quiet(String name) {
    Logger logger = Logger.getLogger(name);
    logger.setLevel(Level.SEVERE);
    return logger;
  }

  FakeAgent start() throws Exception {
    server =
        NettyServerBuilder.forAddress(new DomainSocketAddress(socket.toFile()))
            .channelType(EpollServerDomainSocketChannel.class)
            .bossEventLoopGroup(threads)
            .workerEventLoopGroup(threads)
            .addService(service())
            .build()
            .start();
    return this;
  }

  /** As if it was killed: connections break, the socket's file goes. */
  void stop() throws Exception {
    server.shutdownNow();
    if (!server.awaitTermination(60, TimeUnit.SECONDS)) {
      throw new AssertionError("the server does not end");
    }
    Files.deleteIfExists(socket);
  }

  void close() throws Exception {
    if (server != null) {
      stop();
    }
    threads.shutdownGracefully(0, 1, TimeUnit.SECONDS).await(60, TimeUnit.SECONDS);
  }

  static <T> CompletableFuture<T> refuse(Status status) {
    return CompletableFuture.failedFuture(status.asRuntimeException());
  }

  private ServerServiceDefinition service() {
    ServerServiceDefinition.Builder service =
        ServerServiceDefinition.builder("f3.openwhisk.LocalAgent");
    handle(
        service,
        AgentClient.ATTACH,
        request -> {
          attaches.add(request);
          events.add(
              "agent Attach "
                  + request.getContainer()
                  + " "
                  + request.getNamespace()
                  + "/"
                  + request.getAction());
          return onAttach.apply(request);
        });
    handle(
        service,
        AgentClient.UPDATE,
        request -> {
          updates.add(request);
          events.add("agent Update " + request.getContainer() + " " + request.getActivation());
          return onUpdate.apply(request);
        });
    handle(
        service,
        AgentClient.DETACH,
        request -> {
          events.add("agent Detach " + request.getContainer());
          return onDetach.apply(request);
        });
    handle(
        service,
        AgentClient.LOCATE,
        request -> {
          locates.add(request);
          events.add("agent Locate");
          return onLocate.apply(request);
        });
    return service.build();
  }

  private static <Q, A> void handle(
      ServerServiceDefinition.Builder service,
      MethodDescriptor<Q, A> method,
      Function<Q, CompletableFuture<A>> answer) {
    service.addMethod(
        method,
        ServerCalls.asyncUnaryCall(
            (request, reply) ->
                answer
                    .apply(request)
                    .whenComplete(
                        (value, error) -> {
                          if (error != null) {
                            reply.onError(error);
                          } else {
                            reply.onNext(value);
                            reply.onCompleted();
                          }
                        })));
  }
}
