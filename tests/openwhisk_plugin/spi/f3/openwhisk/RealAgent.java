package f3.openwhisk;

import com.typesafe.config.ConfigFactory;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.TimeUnit;
import org.apache.openwhisk.common.Logging;
import org.apache.openwhisk.common.TransactionMetadata;
import org.apache.openwhisk.core.WhiskConfig;
import org.apache.openwhisk.core.connector.ActivationMessage;
import org.apache.openwhisk.core.containerpool.Container;
import org.apache.openwhisk.core.containerpool.ContainerFactory;
import org.apache.openwhisk.core.containerpool.ContainerFactoryProvider;
import org.apache.openwhisk.core.containerpool.InitializationError;
import org.apache.openwhisk.core.entity.ActionLimits;
import org.apache.openwhisk.core.entity.ByteSize;
import org.apache.openwhisk.core.entity.ControllerInstanceId;
import org.apache.openwhisk.core.entity.ExecManifest;
import org.apache.openwhisk.core.entity.ExecMetaData;
import org.apache.openwhisk.core.entity.ExecutableWhiskActionMetaData;
import org.apache.openwhisk.core.entity.InvokerInstanceId;
import org.apache.openwhisk.core.loadBalancer.LoadBalancer;
import org.apache.openwhisk.core.loadBalancer.LoadBalancerProvider;
import org.apache.pekko.actor.ActorSystem;
import scala.Option;
import scala.Some;
import scala.collection.immutable.Map$;
import scala.collection.immutable.Set;
import scala.concurrent.duration.FiniteDuration;

/**
 * An invoker and a controller with the packaged jar and a real agent, for tests/e2e/spi_test.py. It
 * reads commands, a line each, and answers each with a line:
 *
 * <pre>
 * initialize CONTAINER NAMESPACE/ACTION ANNOTATIONS   "ok" or "STATUS MESSAGE"
 * run ACTIVATION TRANSACTION PARAMETERS               "STATUS RESULT"
 * destroy                                             "ok"
 * publish NAMESPACE/ACTION ANNOTATIONS PARAMETERS     "invokerN", whose node is nN
 * </pre>
 *
 * ANNOTATIONS and PARAMETERS are JSON objects without spaces. Takes the agent's socket from
 * F3_AGENT_SOCKET. The container exists already; its docker commands are only written down.
 */
public final class RealAgent {
  private static final Events EVENTS = new Events();
  private static final Logging LOGGING = Whisk.logging(EVENTS);
  private static final ByteSize MEMORY = new ByteSize(256L << 20);
  private static volatile String containerId = "";

  private final ContainerFactory factory;
  private final LoadBalancer balancer;
  private Container container;

  /** The decorated factory. */
  public static final class Docker$ implements ContainerFactoryProvider {
    public static final Docker$ MODULE$ = new Docker$();

    @Override
    public ContainerFactory instance(
        ActorSystem actorSystem,
        Logging logging,
        WhiskConfig config,
        InvokerInstanceId instance,
        scala.collection.immutable.Map<String, Set<String>> parameters) {
      return new RecordedDocker(EVENTS) {
        @Override
        Container container(String id) {
          return new RecordedContainer(containerId, EVENTS);
        }
      };
    }
  }

  /** The decorated balancer: its hash is always n0, which is no node of an F3 cluster. */
  public static final class Balancer$ implements LoadBalancerProvider {
    public static final Balancer$ MODULE$ = new Balancer$();

    @Override
    public scala.collection.immutable.Map<String, String> requiredProperties() {
      return Map$.MODULE$.<String, String>empty();
    }

    @Override
    public LoadBalancer instance(
        WhiskConfig whiskConfig,
        ControllerInstanceId instance,
        ActorSystem actorSystem,
        Logging logging) {
      return new RecordedBalancer(EVENTS, 5, 0);
    }
  }

  private RealAgent() throws ReflectiveOperationException {
    factory =
        Forwarder.scalaObject(
                ContainerFactoryProvider.class, "f3.openwhisk.F3ContainerFactoryProvider")
            .instance(
                null,
                LOGGING,
                new WhiskConfig(),
                new InvokerInstanceId(0, Option.empty(), Option.empty()),
                Map$.MODULE$.<String, Set<String>>empty());
    balancer =
        Forwarder.scalaObject(LoadBalancerProvider.class, "f3.openwhisk.F3LoadBalancer")
            .instance(new WhiskConfig(), new ControllerInstanceId(), null, LOGGING);
  }

  public static void main(String[] args) throws Throwable {
    System.setProperty("whisk.f3.agent-socket", System.getenv("F3_AGENT_SOCKET"));
    System.setProperty("whisk.f3.container-factory", RealAgent.class.getName() + "$Docker");
    System.setProperty("whisk.f3.load-balancer", RealAgent.class.getName() + "$Balancer");
    ConfigFactory.invalidateCaches();
    RealAgent invoker = new RealAgent();
    BufferedReader commands =
        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = commands.readLine(); line != null; line = commands.readLine()) {
      System.out.println(invoker.answer(line.split(" ")).replace('\n', ' '));
      System.out.flush();
    }
  }

  private String answer(String[] words) throws Throwable {
    return switch (words[0]) {
      case "initialize" -> initialize(words[1], words[2], words[3]);
      case "run" -> run(words[1], words[2], words[3]);
      case "destroy" -> destroy();
      case "publish" -> publish(words[1], words[2], words[3]);
      default -> "no such command: " + words[0];
    };
  }

  private static TransactionMetadata transaction() {
    return Whisk.transaction("tid1");
  }

  private static FiniteDuration minute() {
    return new FiniteDuration(60, TimeUnit.SECONDS);
  }

  private String initialize(String id, String path, String annotations) throws Throwable {
    containerId = id;
    container =
        Whisk.await(
            factory.createContainer(
                transaction(),
                "wsk0_1",
                new ExecManifest.ImageName("image"),
                false,
                MEMORY,
                1,
                Option.empty(),
                new WhiskConfig(),
                LOGGING));
    try {
      Whisk.await(
          container.initialize(
              Whisk.json(
                  "{\"env\":{\"__OW_ACTIVATION_ID\":\"a1\",\"__OW_TRANSACTION_ID\":\"t1\"}}"),
              minute(),
              1,
              new Some<>(Whisk.action(path, Whisk.fields(annotations))),
              transaction()));
      return "ok";
    } catch (InitializationError e) {
      return e.response().toString();
    }
  }

  private String run(String activation, String transaction, String parameters) throws Throwable {
    return Whisk.await(
            container.run(
                Whisk.json(parameters),
                Whisk.json(
                    "{\"activation_id\":\""
                        + activation
                        + "\",\"transaction_id\":\""
                        + transaction
                        + "\"}"),
                minute(),
                1,
                MEMORY,
                MEMORY,
                false,
                transaction()))
        ._2()
        .toString();
  }

  private String destroy() throws Throwable {
    Whisk.await(container.destroy(transaction()));
    return "ok";
  }

  private String publish(String path, String annotations, String parameters) throws Throwable {
    int before = EVENTS.startingWith("invoker").size();
    ExecutableWhiskActionMetaData action =
        new ExecutableWhiskActionMetaData(
            path,
            Whisk.annotations(Whisk.fields(annotations)),
            new ExecMetaData(false),
            new ActionLimits(1, 1));
    ActivationMessage message =
        new ActivationMessage(
            Whisk.transaction("t1"), "p", new Some<>(Whisk.json(parameters)), Option.empty());
    Whisk.await(Whisk.await(balancer.publish(action, message, transaction())));
    return EVENTS.startingWith("invoker").get(before).split(" ")[0];
  }
}
