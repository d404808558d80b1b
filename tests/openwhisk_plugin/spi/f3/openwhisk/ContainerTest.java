package f3.openwhisk;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import f3.openwhisk.Agent.AttachReply;
import f3.openwhisk.Agent.AttachRequest;
import io.grpc.Status;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.openwhisk.common.TransactionMetadata;
import org.apache.openwhisk.core.WhiskConfig;
import org.apache.openwhisk.core.containerpool.Container;
import org.apache.openwhisk.core.containerpool.ContainerFactory;
import org.apache.openwhisk.core.containerpool.InitializationError;
import org.apache.openwhisk.core.containerpool.Interval;
import org.apache.openwhisk.core.entity.ActivationResponse;
import org.apache.openwhisk.core.entity.ByteSize;
import org.apache.openwhisk.core.entity.ExecManifest;
import org.apache.openwhisk.core.entity.ExecutableWhiskAction;
import org.apache.openwhisk.core.entity.WhiskAction;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import scala.Option;
import scala.Some;
import scala.Tuple2;
import scala.concurrent.Future;
import scala.concurrent.duration.FiniteDuration;
import spray.json.JsObject;

/** The decorated factory and its containers, against docker's commands and an agent's socket. */
@Timeout(value = 120, unit = TimeUnit.SECONDS)
class ContainerTest {
  private static final TransactionMetadata TRANSACTION = Whisk.transaction("tid1");
  private static final FiniteDuration MINUTE = new FiniteDuration(60, TimeUnit.SECONDS);
  private static final ByteSize MEMORY = new ByteSize(256L << 20);
  private static final Map<String, String> MOUNTED = Map.of("f3-mounts", Whisk.MOUNTS);
  private static final String ONE = RecordedDocker.id(1);
  private static final String TWO = RecordedDocker.id(2);

  @TempDir Path dir;
  private final Events events = new Events();
  private FakeAgent agent;
  private AgentClient client;
  private ContainerFactory factory;

  @BeforeEach
  void start() throws Exception {
    agent = new FakeAgent(dir.resolve("agent.sock"), events).start();
    use(Whisk.UNHURRIED);
  }

  private void use(AgentClient.Deadlines deadlines) {
    if (client != null) {
      client.close();
    }
    client = new AgentClient(agent.socket, deadlines);
    factory = decorated(new RecordedDocker(events));
  }

  @AfterEach
  void stop() throws Exception {
    client.close();
    agent.close();
  }

  private ContainerFactory decorated(RecordedDocker docker) {
    return Forwarder.proxy(
        ContainerFactory.class,
        new ContainerFactoryForwarder(docker, client, Whisk.logging(events)));
  }

  private Container create(String name, Map<String, String> annotations) throws Throwable {
    Option<ExecutableWhiskAction> action =
        annotations == null
            ? Option.empty()
            : new Some<>(
                new ExecutableWhiskAction("guest/" + name, Whisk.annotations(annotations)));
    return Whisk.await(
        factory.createContainer(
            TRANSACTION,
            "wsk0_1_guest_" + name,
            new ExecManifest.ImageName("action-python"),
            false,
            MEMORY,
            128,
            Option.empty(),
            action,
            new WhiskConfig(),
            Whisk.logging(events)));
  }

  private static JsObject initializer(String name, String more) {
    return Whisk.json(
        "{\"name\":\""
            + name
            + "\",\"main\":\"main\",\"code\":\"…\",\"env\":{\"__OW_NAMESPACE\":\"guest\","
            + "\"__OW_ACTION_NAME\":\"/guest/"
            + name
            + "\",\"__OW_ACTIVATION_ID\":\"a1\",\"__OW_TRANSACTION_ID\":\"tid1\""
            + more
            + "}}");
  }

  private static Future<Interval> initialize(
      Container container, String name, Map<String, String> annotations) {
    Option<WhiskAction> entity =
        annotations == null
            ? Option.empty()
            : new Some<>(Whisk.action("guest/" + name, annotations));
    return container.initialize(initializer(name, ""), MINUTE, 1, entity, TRANSACTION);
  }

  private static Future<Tuple2<Interval, ActivationResponse>> run(
      Container container, String activation, String parameters) {
    JsObject environment =
        Whisk.json(
            "{\"namespace\":\"guest\",\"action_name\":\"/guest/hello\",\"activation_id\":\""
                + activation
                + "\",\"transaction_id\":\"tid1\"}");
    return container.run(
        Whisk.json(parameters), environment, MINUTE, 1, MEMORY, MEMORY, false, TRANSACTION);
  }

  private ActivationResponse initializationError(Future<Interval> initialized) {
    return assertThrows(InitializationError.class, () -> Whisk.await(initialized)).response();
  }

  @Test
  void classicColdStartPauseAndRemoval() throws Throwable {
    Container container = create("hello", MOUNTED);
    Whisk.await(initialize(container, "hello", MOUNTED));
    Whisk.await(run(container, "a1", "{}"));
    Whisk.await(container.suspend(TRANSACTION));
    Whisk.await(container.resume(TRANSACTION));
    Whisk.await(run(container, "a2", "{}"));
    Whisk.await(container.destroy(TRANSACTION));
    assertEquals(
        List.of(
            "docker run -d --cpu-shares 128 --memory 256m --memory-swap 256m --network bridge"
                + " -e __OW_API_HOST=https://172.17.0.1 --name wsk0_1_guest_hello"
                + " --runtime f3-runc action-python",
            "docker inspect --format {{.NetworkSettings.Networks.bridge.IPAddress}} " + ONE,
            "agent Attach " + ONE + " guest/hello",
            "POST /init " + ONE,
            "agent Update " + ONE + " a1",
            "POST /run " + ONE + " a1",
            "docker pause " + ONE,
            "docker unpause " + ONE,
            "agent Update " + ONE + " a2",
            "POST /run " + ONE + " a2",
            "docker rm -f " + ONE,
            "agent Detach " + ONE),
        events.all());
    AttachRequest attach = agent.attaches.get(0);
    assertEquals("{\"f3-mounts\":" + Whisk.MOUNTS + "}", attach.getAnnotations());
    assertTrue(attach.getRunning());
    assertEquals("a1", attach.getActivation());
    assertEquals("tid1", attach.getWorkflow());
    assertEquals("tid1", agent.updates.get(1).getWorkflow());
    assertEquals("", agent.updates.get(1).getCallHints());
  }

  @Test
  void prewarmedContainerLearnsItsActionAtInit() throws Throwable {
    Container container = create("prewarm", null);
    assertTrue(events.startingWith("agent").isEmpty());
    Map<String, String> annotations =
        Map.of("f3-mounts", Whisk.MOUNTS, "f3-hints", "{\"class\":\"ephemeral\"}", "final", "true");
    Whisk.await(
        container.initialize(
            initializer("thumb", ""),
            MINUTE,
            1,
            new Some<>(Whisk.action("alice/images/thumb", annotations)),
            TRANSACTION));
    AttachRequest attach = agent.attaches.get(0);
    assertEquals("alice", attach.getNamespace());
    assertEquals("images/thumb", attach.getAction());
    assertEquals(
        "{\"f3-mounts\":" + Whisk.MOUNTS + ",\"f3-hints\":{\"class\":\"ephemeral\"}}",
        attach.getAnnotations());
  }

  @Test
  void prewarmedContainerThatNobodyUsedIsDetachedToo() throws Throwable {
    Container container = create("prewarm", null);
    Whisk.await(container.destroy(TRANSACTION));
    assertEquals(
        List.of("docker rm -f " + ONE, "agent Detach " + ONE),
        events.all().subList(2, events.all().size()));
  }

  @Test
  void schedulerGivesNoActionAndInitsEnvironmentSaysIt() throws Throwable {
    Container container = create("hello", null);
    String hints =
        ",\"f3-mounts\":\"[{\\\"path\\\":\\\"/data\\\"}]\",\"f3-hints\":\"not json\"";
    Whisk.await(
        container.initialize(
            initializer("hello", hints),
            MINUTE,
            1,
            container.initialize$default$4(),
            TRANSACTION));
    AttachRequest attach = agent.attaches.get(0);
    assertEquals("guest", attach.getNamespace());
    assertEquals("hello", attach.getAction());
    assertEquals(
        "{\"f3-mounts\":[{\"path\":\"/data\"}],\"f3-hints\":\"not json\"}",
        attach.getAnnotations());
    assertEquals("POST /init " + ONE, events.all().get(3));
  }

  @Test
  void transactionIdOfAClientsOwnMakingIsNoWorkflow() throws Throwable {
    Container container = create("hello", null);
    JsObject initializer =
        Whisk.json("{\"env\":{\"__OW_ACTION_NAME\":\"x\",\"__OW_NAMESPACE\":\"bob\","
            + "\"__OW_TRANSACTION_ID\":\"../../etc\"}}");
    Whisk.await(container.initialize(initializer, MINUTE, 1, Option.empty(), TRANSACTION));
    assertEquals("", agent.attaches.get(0).getWorkflow());
    assertEquals("bob", agent.attaches.get(0).getNamespace());
    assertEquals("x", agent.attaches.get(0).getAction());
  }

  @Test
  void refusedHintsEndTheActivationWithTheAgentsMessage() throws Throwable {
    String message = "f3-hints.locality is \"near\"; allowed are prefer, require, off";
    agent.onAttach =
        request -> FakeAgent.refuse(Status.INVALID_ARGUMENT.withDescription(message));
    Container container = create("hello", MOUNTED);
    ActivationResponse response = initializationError(initialize(container, "hello", MOUNTED));
    assertEquals(2, response.statusCode());
    assertEquals("F3: " + message, Json.textField(response.result().get(), "error"));
    assertTrue(events.startingWith("POST").isEmpty());
    Whisk.await(container.destroy(TRANSACTION));
    assertEquals(List.of("agent Detach " + ONE), events.startingWith("agent Detach"));
  }

  @Test
  void agentAwayFailsWhoNeedsFilesAndNobodyElse() throws Throwable {
    use(AgentClient.Deadlines.DEFAULT);
    agent.stop();
    Container needs = create("hello", MOUNTED);
    ActivationResponse response = initializationError(initialize(needs, "hello", MOUNTED));
    assertEquals(3, response.statusCode());
    String error = Json.textField(response.result().get(), "error");
    assertTrue(error.contains(agent.socket.toString()), error);
    assertTrue(events.startingWith("POST").isEmpty());

    Container plain = create("plain", Map.of());
    Whisk.await(initialize(plain, "plain", Map.of()));
    Whisk.await(run(plain, "a1", "{}"));
    Whisk.await(plain.destroy(TRANSACTION));
    assertEquals(
        List.of("POST /init " + TWO, "POST /run " + TWO + " a1"), events.startingWith("POST"));
    assertFalse(events.startingWith("warning container " + TWO).isEmpty());
  }

  @Test
  void agentThatRestartsIsWaitedFor() throws Throwable {
    Container container = create("hello", MOUNTED);
    agent.stop();
    Future<Interval> initialized = initialize(container, "hello", MOUNTED);
    agent.start();
    Whisk.await(initialized);
    agent.stop();
    Future<Tuple2<Interval, ActivationResponse>> ran =
        run(container, "a1", "{\"__f3\":{\"inputs\":[\"in/*\"]}}");
    agent.start();
    assertEquals(0, Whisk.await(ran)._2().statusCode());
    assertEquals("{\"inputs\":[\"in/*\"]}", agent.updates.get(0).getCallHints());
  }

  @Test
  void agentThatWasLongAwayIsFoundAgain() throws Throwable {
    agent.stop();
    for (int i = 0; i < 20; i++) {
      assertThrows(
          Exception.class, () -> client.detach(ONE).get(60, TimeUnit.SECONDS));
    }
    agent.start();
    Container container = create("hello", MOUNTED);
    Whisk.await(initialize(container, "hello", MOUNTED));
    assertEquals(1, agent.attaches.size());
  }

  @Test
  void agentWithoutMetadataServerIsAskedAgain() throws Throwable {
    AtomicInteger asked = new AtomicInteger();
    agent.onAttach =
        request ->
            asked.incrementAndGet() < 3
                ? FakeAgent.refuse(Status.UNAVAILABLE.withDescription("metadata server is away"))
                : CompletableFuture.completedFuture(AttachReply.getDefaultInstance());
    Whisk.await(initialize(create("hello", MOUNTED), "hello", MOUNTED));
    assertEquals(3, asked.get());
  }

  @Test
  void agentThatNeverAnswersDoesNotHoldTheActivation() throws Throwable {
    use(AgentClient.Deadlines.DEFAULT);
    agent.onAttach = request -> new CompletableFuture<>();
    Container container = create("hello", MOUNTED);
    ActivationResponse response = initializationError(initialize(container, "hello", MOUNTED));
    assertEquals(3, response.statusCode());
    assertTrue(response.toString().contains("within 2000 ms"), response.toString());
  }

  @Test
  void destroyDuringInitializeDetachesAfterTheAttach() throws Throwable {
    CompletableFuture<AttachReply> held = new CompletableFuture<>();
    agent.onAttach = request -> held;
    Container container = create("hello", MOUNTED);
    Future<Interval> initialized = initialize(container, "hello", MOUNTED);
    events.awaitCount("agent Attach", 1);
    Future<?> destroyed = container.destroy(TRANSACTION);
    events.awaitCount("docker rm -f", 1);
    assertTrue(events.startingWith("agent Detach").isEmpty());
    held.complete(AttachReply.getDefaultInstance());
    Whisk.await(destroyed);
    assertEquals(3, initializationError(initialized).statusCode());
    assertTrue(events.startingWith("POST").isEmpty());
    assertEquals("agent Detach " + ONE, events.all().get(events.all().size() - 1));
  }

  @Test
  void twoContainersAtOnceDoNotWaitForEachOther() throws Throwable {
    CompletableFuture<AttachReply> held = new CompletableFuture<>();
    agent.onAttach =
        request ->
            request.getContainer().equals(ONE)
                ? held
                : CompletableFuture.completedFuture(AttachReply.getDefaultInstance());
    Container one = create("one", MOUNTED);
    Container two = create("two", MOUNTED);
    Future<Interval> first = initialize(one, "one", MOUNTED);
    events.awaitCount("agent Attach " + ONE, 1);
    Whisk.await(initialize(two, "two", MOUNTED));
    Whisk.await(run(two, "a2", "{}"));
    assertEquals(
        List.of("POST /init " + TWO, "POST /run " + TWO + " a2"), events.startingWith("POST"));
    held.complete(AttachReply.getDefaultInstance());
    Whisk.await(first);
    Whisk.await(two.destroy(TRANSACTION));
    assertEquals(List.of("agent Detach " + TWO), events.startingWith("agent Detach"));
  }

  @Test
  void runGoesOnWithoutTheAgentWhenNothingDependsOnIt() throws Throwable {
    use(new AgentClient.Deadlines(60_000, 200, 60_000, 60_000));
    Container container = create("hello", MOUNTED);
    Whisk.await(initialize(container, "hello", MOUNTED));
    agent.stop();
    assertEquals(0, Whisk.await(run(container, "a1", "{}"))._2().statusCode());
    assertEquals(1, events.startingWith("warning container " + ONE).size());
    ActivationResponse response =
        Whisk.await(run(container, "a2", "{\"__f3\":{\"follow\":true}}"))._2();
    assertEquals(3, response.statusCode());
    assertEquals(List.of("POST /run " + ONE + " a1"), events.startingWith("POST /run"));
  }

  @Test
  void runInAWorkflowsDirectoryNeedsTheAgent() throws Throwable {
    use(new AgentClient.Deadlines(60_000, 200, 60_000, 60_000));
    Map<String, String> annotations =
        Map.of("f3-mounts", "[{\"path\":\"/mnt/f3\",\"lifetime\":\"workflow\"}]");
    Container container = create("step", annotations);
    Whisk.await(initialize(container, "step", annotations));
    agent.stop();
    assertEquals(3, Whisk.await(run(container, "a1", "{}"))._2().statusCode());
    assertTrue(events.startingWith("POST /run").isEmpty());
  }

  @Test
  void callsOwnHintsThatAreRefusedFailTheRun() throws Throwable {
    agent.onUpdate =
        request -> FakeAgent.refuse(Status.INVALID_ARGUMENT.withDescription("__f3.ttl is 0"));
    Container container = create("hello", MOUNTED);
    Whisk.await(initialize(container, "hello", MOUNTED));
    ActivationResponse response =
        Whisk.await(run(container, "a1", "{\"__f3\":{\"ttl\":0}}"))._2();
    assertEquals(2, response.statusCode());
    assertEquals("F3: __f3.ttl is 0", Json.textField(response.result().get(), "error"));
    assertTrue(events.startingWith("POST /run").isEmpty());
  }

  @Test
  void agentThatForgotTheContainerFailsTheRunOfAnActionWithFiles() throws Throwable {
    agent.onUpdate = request -> FakeAgent.refuse(Status.NOT_FOUND.withDescription("no container"));
    Container needs = create("hello", MOUNTED);
    Whisk.await(initialize(needs, "hello", MOUNTED));
    assertEquals(3, Whisk.await(run(needs, "a1", "{}"))._2().statusCode());
    Container plain = create("plain", Map.of());
    Whisk.await(initialize(plain, "plain", Map.of()));
    assertEquals(0, Whisk.await(run(plain, "a2", "{}"))._2().statusCode());
    assertEquals(List.of("POST /run " + TWO + " a2"), events.startingWith("POST /run"));
  }

  @Test
  void runAfterARefusedAttachIsForwarded() throws Throwable {
    agent.onAttach = request -> FakeAgent.refuse(Status.PERMISSION_DENIED.withDescription("no"));
    Container container = create("hello", MOUNTED);
    assertEquals(2, initializationError(initialize(container, "hello", MOUNTED)).statusCode());
    assertEquals(0, Whisk.await(run(container, "a1", "{}"))._2().statusCode());
    assertTrue(agent.updates.isEmpty());
  }

  @Test
  void manyRunsAtOnceEachSayWhichActivationComes() throws Throwable {
    Container container = create("hello", MOUNTED);
    Whisk.await(initialize(container, "hello", MOUNTED));
    List<Future<Tuple2<Interval, ActivationResponse>>> runs = new ArrayList<>();
    for (int i = 0; i < 200; i++) {
      runs.add(run(container, "a" + i, "{}"));
    }
    for (Future<Tuple2<Interval, ActivationResponse>> ran : runs) {
      assertEquals(0, Whisk.await(ran)._2().statusCode());
    }
    List<String> all = events.all();
    for (int i = 0; i < 200; i++) {
      int update = all.indexOf("agent Update " + ONE + " a" + i);
      int post = all.indexOf("POST /run " + ONE + " a" + i);
      assertTrue(0 <= update && update < post, "a" + i);
    }
  }

  @Test
  void detachThatFailsDoesNotFailTheRemoval() throws Throwable {
    agent.onDetach = request -> FakeAgent.refuse(Status.INTERNAL.withDescription("stuck"));
    Container container = create("hello", MOUNTED);
    Whisk.await(container.destroy(TRANSACTION));
    assertEquals(1, events.startingWith("warning container " + ONE + ": F3: stuck").size());
  }

  @Test
  void podIsAttachedByTheIdOfItsContainer() throws Throwable {
    factory =
        decorated(
            new RecordedDocker(events) {
              @Override
              Container container(String id) {
                return new RecordedPod("wskinvoker-00-1-guest-hello", "containerd://abc", events);
              }
            });
    Container container = create("hello", MOUNTED);
    Whisk.await(initialize(container, "hello", MOUNTED));
    Whisk.await(container.destroy(TRANSACTION));
    assertEquals("abc", agent.attaches.get(0).getContainer());
    assertEquals(List.of("agent Detach abc"), events.startingWith("agent Detach"));
    assertEquals("wskinvoker-00-1-guest-hello", container.containerId().asString());
  }

  @Test
  void everythingElseReachesTheContainerBehind() throws Throwable {
    Container container = create("hello", null);
    assertEquals(ONE, container.containerId().asString());
    assertEquals("172.17.0.2", container.addr().host());
    assertEquals("ContainerId(" + ONE + ")", container.toString());
    Option<Object> connection = new Some<>("connection");
    container.httpConnection_$eq(connection);
    assertEquals(connection, container.httpConnection());
    container.logs(MEMORY, true, TRANSACTION);
    assertEquals(List.of("logs " + ONE), events.startingWith("logs"));
    assertEquals(container, container);
    assertNotEquals(container, create("hello", null));
    assertEquals(1, Map.of(container, 1).get(container));
    factory.init();
    factory.cleanup();
    assertEquals(2, events.startingWith("docker ps").size());
  }
}
