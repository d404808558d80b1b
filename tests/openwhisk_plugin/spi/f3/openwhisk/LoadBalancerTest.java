package f3.openwhisk;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import f3.openwhisk.Agent.Held;
import f3.openwhisk.Agent.LocateReply;
import f3.openwhisk.Agent.LocateRequest;
import io.grpc.Status;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.openwhisk.core.connector.ActivationMessage;
import org.apache.openwhisk.core.entity.ActionLimits;
import org.apache.openwhisk.core.entity.ActivationId;
import org.apache.openwhisk.core.entity.ExecMetaData;
import org.apache.openwhisk.core.entity.ExecutableWhiskActionMetaData;
import org.apache.openwhisk.core.loadBalancer.LoadBalancer;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import scala.Option;
import scala.Some;
import spray.json.JsValue;

/** Where the decorated balancer sends activations, and what it asks the agent. */
@Timeout(value = 120, unit = TimeUnit.SECONDS)
class LoadBalancerTest {
  private static final String MOUNTS = "[{\"path\":\"/mnt/f3\"},{\"path\":\"/data\"}]";
  private static final Map<String, String> WITH_INPUTS =
      Map.of("f3-mounts", MOUNTS, "f3-hints", "{\"inputs\":[\"in/*\"]}");
  private static final String REFERENCE = "A".repeat(179);

  @TempDir Path dir;
  private final Events events = new Events();
  private FakeAgent agent;
  private AgentClient client;
  private RecordedBalancer books;
  private LoadBalancer balancer;

  @BeforeEach
  void start() throws Exception {
    agent = new FakeAgent(dir.resolve("agent.sock"), events).start();
    client = new AgentClient(agent.socket, Whisk.UNHURRIED);
    balance(new RecordedBalancer(events, 4, 0), Map.of());
  }

  @AfterEach
  void stop() throws Exception {
    client.close();
    agent.close();
  }

  private void balance(RecordedBalancer behind, Map<Integer, String> invokerNodes) {
    books = behind;
    balancer =
        Forwarder.proxy(
            LoadBalancer.class,
            new LoadBalancerForwarder(behind, client, invokerNodes, Whisk.logging(events)));
  }

  private void holds(Object... nodesAndBytes) {
    LocateReply.Builder reply = LocateReply.newBuilder();
    for (int i = 0; i < nodesAndBytes.length; i += 2) {
      reply.addNodes(
          Held.newBuilder()
              .setNode((String) nodesAndBytes[i])
              .setBytes((Integer) nodesAndBytes[i + 1]));
    }
    agent.onLocate = request -> CompletableFuture.completedFuture(reply.build());
  }

  /** The invoker's number, from the topic that the message was sent to. */
  private String publish(
      String activation, Map<String, String> annotations, String content, String cause)
      throws Throwable {
    return publish(activation, annotations, content, cause, false);
  }

  private String publish(
      String activation,
      Map<String, String> annotations,
      String content,
      String cause,
      boolean blackbox)
      throws Throwable {
    ExecutableWhiskActionMetaData action =
        new ExecutableWhiskActionMetaData(
            "guest/images/thumb",
            Whisk.annotations(annotations),
            new ExecMetaData(blackbox),
            new ActionLimits(256, 1));
    Option<JsValue> arguments =
        content == null ? Option.empty() : new Some<>(Whisk.json(content));
    Option<ActivationId> caused =
        cause == null ? Option.empty() : new Some<>(new ActivationId(cause));
    ActivationMessage message =
        new ActivationMessage(Whisk.transaction("tid1"), activation, arguments, caused);
    Whisk.await(Whisk.await(balancer.publish(action, message, message.transid())));
    return events.startingWith("invoker").stream()
        .filter(event -> event.endsWith(" " + activation))
        .findFirst()
        .orElseThrow()
        .split(" ")[0];
  }

  @Test
  void nodeWithMostBytesIsPreferred() throws Throwable {
    holds("n2", 100, "n1", 50);
    assertEquals("invoker2", publish("a1", WITH_INPUTS, null, null));
    assertEquals(RecordedBalancer.MEGABYTES - 256, books.freeMegabytes(2));
    assertFalse(events.all().contains("hash"));
  }

  @Test
  void fullInvokerIsNotWaitedForUnlessRequired() throws Throwable {
    holds("n2", 100, "n1", 50);
    assertEquals("invoker2", publish("a1", WITH_INPUTS, null, null));
    assertEquals("invoker2", publish("a2", WITH_INPUTS, null, null));
    assertEquals("invoker1", publish("a3", WITH_INPUTS, null, null));
    assertEquals("invoker1", publish("a4", WITH_INPUTS, null, null));
    assertEquals("invoker0", publish("a5", WITH_INPUTS, null, null));
    Map<String, String> require =
        Map.of(
            "f3-mounts",
            MOUNTS,
            "f3-hints",
            "{\"inputs\":[\"in/*\"],\"locality\":\"require\"}");
    assertEquals("invoker2", publish("a6", require, null, null));
    assertEquals(-256, books.freeMegabytes(2));
  }

  @Test
  void unusableAndUnknownNodesAreLeftOut() throws Throwable {
    balance(new RecordedBalancer(events, 4, 0, 2), Map.of());
    holds("n2", 100, "elsewhere", 80, "n1", 50, "n0", 0);
    assertEquals("invoker1", publish("a1", WITH_INPUTS, null, null));
  }

  @Test
  void imagesOfUsersStayInTheirPool() throws Throwable {
    holds("n2", 100, "n3", 50);
    assertEquals("invoker3", publish("a1", WITH_INPUTS, null, null, true));
    assertEquals("invoker2", publish("a2", WITH_INPUTS, null, null, false));
  }

  @Test
  void nodesOfInvokersCanBeConfigured() throws Throwable {
    balance(new RecordedBalancer(events, 4, 0), Map.of(1, "rack7", 2, "rack8"));
    holds("n2", 100, "rack7", 50);
    assertEquals("invoker1", publish("a1", WITH_INPUTS, null, null));
  }

  @Test
  void agentsFailureLeavesTheHash() throws Throwable {
    client.close();
    client = new AgentClient(agent.socket, AgentClient.Deadlines.DEFAULT);
    balance(new RecordedBalancer(events, 4, 0), Map.of());
    agent.onLocate = request -> FakeAgent.refuse(Status.INTERNAL.withDescription("no"));
    assertEquals("invoker0", publish("a1", WITH_INPUTS, null, null));
    agent.onLocate = request -> new CompletableFuture<>(); // never answers
    assertEquals("invoker0", publish("a2", WITH_INPUTS, null, null));
    agent.stop();
    assertEquals("invoker0", publish("a3", WITH_INPUTS, null, null));
    assertEquals(3, events.startingWith("warning placed by hash").size());
  }

  @Test
  void stepsOfASequenceStayTogether() throws Throwable {
    assertEquals("invoker0", publish("a1", Map.of(), null, "s1"));
    balance(new RecordedBalancer(events, 4, 1), Map.of());
    assertEquals("invoker1", publish("b1", Map.of(), null, "s2"));
    assertEquals("invoker1", publish("b2", Map.of(), null, "s2"));
    holds("n2", 100);
    assertEquals("invoker2", publish("b3", WITH_INPUTS, null, "s2"));
    assertEquals("invoker2", publish("b4", Map.of(), null, "s2"));
    assertEquals("invoker1", publish("c1", Map.of(), null, "s3"));
    assertEquals("invoker1", publish("d1", Map.of(), null, null));
    assertEquals(1, agent.locates.size());
  }

  @Test
  void localityOffIsTheHashAndAsksNobody() throws Throwable {
    holds("n2", 100);
    String off = "{\"__f3\":{\"locality\":\"off\"},\"x\":\"/mnt/f3/in/a\"}";
    assertEquals("invoker0", publish("a1", WITH_INPUTS, off, "s1"));
    assertTrue(agent.locates.isEmpty());
  }

  @Test
  void requestNamesHintsArgumentsAndReferences() throws Throwable {
    holds("n2", 100);
    String content =
        "{\"a\":\"/mnt/f3/x.bin\",\"b\":[\"/data/y[1].bin\",{\"c\":\""
            + REFERENCE
            + "\"}],\"d\":\"/etc/passwd\",\"e\":\"/mnt/f3evil/z\",\"f\":7,\"g\":null}";
    publish("a1", WITH_INPUTS, content, null);
    LocateRequest request = agent.locates.get(0);
    assertEquals("guest", request.getNamespace());
    assertEquals("tid1", request.getWorkflow());
    assertEquals(
        "{\"f3-mounts\":" + MOUNTS + ",\"f3-hints\":{\"inputs\":[\"in/*\"]}}",
        request.getAnnotations());
    assertEquals(
        List.of("in/*", "/mnt/f3/x.bin", "/data/y\\[1].bin"),
        request.getPathsList());
    assertEquals(List.of(REFERENCE), request.getReferencesList());
  }

  @Test
  void callsOwnInputsTakeThePlaceOfTheActions() throws Throwable {
    publish("a1", WITH_INPUTS, "{\"__f3\":{\"inputs\":[\"other/*\"]}}", null);
    assertEquals(List.of("other/*"), agent.locates.get(0).getPathsList());
  }

  @Test
  void actionWithoutFilesAsksOnlyForReferences() throws Throwable {
    holds("n1", 10);
    publish("a1", Map.of(), "{\"x\":\"/mnt/f3/in/a\"}", null);
    assertTrue(agent.locates.isEmpty());
    assertEquals("invoker1", publish("a2", Map.of(), "{\"x\":\"" + REFERENCE + "\"}", null));
    assertEquals("", agent.locates.get(0).getAnnotations());
  }

  @Test
  void manyArgumentsAreCutAndDeepOnesLeftOut() throws Throwable {
    StringBuilder list = new StringBuilder();
    for (int i = 0; i < 500; i++) {
      list.append(i == 0 ? "" : ",").append("\"/mnt/f3/").append(i).append('"');
    }
    publish("a1", WITH_INPUTS, "{\"x\":[" + list + "]}", null);
    assertEquals(64, agent.locates.get(0).getPathsCount());
    publish("a2", WITH_INPUTS, "{\"x\":[[[[[[\"/mnt/f3/deep\"]]]]]]}", null);
    assertEquals(List.of("in/*"), agent.locates.get(1).getPathsList());
  }

  @Test
  void malformedHintsAreTheAgentsToRefuse() throws Throwable {
    Map<String, String> malformed = Map.of("f3-mounts", "\"x\"", "f3-hints", "[7]");
    assertEquals("invoker0", publish("a1", malformed, "{\"__f3\":3}", null));
  }

  @Test
  void everythingElseReachesTheBalancerBehind() throws Throwable {
    assertEquals(2, balancer.clusterSize());
    assertEquals(5, Whisk.await(balancer.activeActivationsFor("12345")));
    assertEquals(4, Whisk.await(balancer.invokerHealth()).size());
    assertFalse(balancer.checkThrottle(null, "x"));
    balancer.close();
    assertEquals(List.of("closed"), events.all());
  }
}
