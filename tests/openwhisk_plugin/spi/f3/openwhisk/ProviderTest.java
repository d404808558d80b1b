package f3.openwhisk;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNotSame;
import static org.junit.jupiter.api.Assertions.assertThrows;

import com.typesafe.config.ConfigFactory;
import java.nio.file.Path;
import java.util.Map;
import org.apache.openwhisk.common.Logging;
import org.apache.openwhisk.core.WhiskConfig;
import org.apache.openwhisk.core.containerpool.Container;
import org.apache.openwhisk.core.containerpool.ContainerFactory;
import org.apache.openwhisk.core.containerpool.ContainerFactoryProvider;
import org.apache.openwhisk.core.entity.ByteSize;
import org.apache.openwhisk.core.entity.ControllerInstanceId;
import org.apache.openwhisk.core.entity.ExecManifest;
import org.apache.openwhisk.core.entity.InvokerInstanceId;
import org.apache.openwhisk.core.loadBalancer.LoadBalancer;
import org.apache.openwhisk.core.loadBalancer.LoadBalancerProvider;
import org.apache.openwhisk.spi.Spi;
import org.apache.pekko.actor.ActorSystem;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import scala.Option;
import scala.collection.immutable.Map$;
import scala.collection.immutable.Set;

/** What OpenWhisk's SpiLoader does with the two objects, and the configuration. */
class ProviderTest {
  private static final Events EVENTS = new Events();

  /** Scala objects, as the decorated ones are. */
  public static final class Docker$ implements ContainerFactoryProvider {
    public static final Docker$ MODULE$ = new Docker$();

    @Override
    public ContainerFactory instance(
        ActorSystem actorSystem,
        Logging logging,
        WhiskConfig config,
        InvokerInstanceId instance,
        scala.collection.immutable.Map<String, Set<String>> parameters) {
      return new RecordedDocker(EVENTS);
    }
  }

  public static final class Balancer$ implements LoadBalancerProvider {
    public static final Balancer$ MODULE$ = new Balancer$();

    @Override
    public scala.collection.immutable.Map<String, String> requiredProperties() {
      return Map$.MODULE$.<String, String>empty().updated("kafka.hosts", "x");
    }

    @Override
    public LoadBalancer instance(
        WhiskConfig whiskConfig,
        ControllerInstanceId instance,
        ActorSystem actorSystem,
        Logging logging) {
      return new RecordedBalancer(EVENTS, 2, 0);
    }
  }

  @TempDir Path dir;

  @AfterEach
  void clear() {
    for (String key : new String[] {"agent-socket", "container-factory", "load-balancer"}) {
      System.clearProperty("whisk.f3." + key);
    }
    ConfigFactory.invalidateCaches();
  }

  private static void configure(String key, String value) {
    System.setProperty("whisk.f3." + key, value);
    ConfigFactory.invalidateCaches();
  }

  /** By the name that `whisk.spi.…` has, and OpenWhisk's way. */
  private static <T extends Spi> T load(Class<T> type, String name) throws Exception {
    Class<?> module = Class.forName(name + "$");
    return type.cast(module.getField("MODULE$").get(module));
  }

  @Test
  void containerFactoryIsFoundAndDecoratesTheConfiguredOne() throws Throwable {
    configure("container-factory", ProviderTest.class.getName() + "$Docker");
    configure("agent-socket", dir.resolve("none.sock").toString());
    ContainerFactory factory =
        load(ContainerFactoryProvider.class, "f3.openwhisk.F3ContainerFactoryProvider")
            .instance(
                null,
                Whisk.logging(EVENTS),
                new WhiskConfig(),
                new InvokerInstanceId(0, Option.empty(), Option.empty()),
                Map$.MODULE$.<String, Set<String>>empty());
    Container container =
        Whisk.await(
            factory.createContainer(
                Whisk.transaction("t"),
                "wsk0_1_prewarm_python",
                new ExecManifest.ImageName("python"),
                false,
                new ByteSize(1L << 28),
                1,
                Option.empty(),
                new WhiskConfig(),
                Whisk.logging(EVENTS)));
    assertEquals(RecordedDocker.id(1), container.containerId().asString());
    assertNotSame(RecordedDocker.RecordedContainer.class, container.getClass());
  }

  @Test
  void loadBalancerIsFoundAndDecoratesTheConfiguredOne() throws Throwable {
    configure("load-balancer", ProviderTest.class.getName() + "$Balancer");
    LoadBalancerProvider provider = load(LoadBalancerProvider.class, "f3.openwhisk.F3LoadBalancer");
    assertEquals("x", provider.requiredProperties().apply("kafka.hosts"));
    LoadBalancer balancer =
        provider.instance(
            new WhiskConfig(), new ControllerInstanceId(), null, Whisk.logging(EVENTS));
    assertInstanceOf(java.lang.reflect.Proxy.class, balancer);
    assertEquals(2, balancer.clusterSize());
  }

  @Test
  void settingsHaveTheDocumentedDefaults() {
    Settings settings = Settings.of(ConfigFactory.empty());
    assertEquals(Path.of("/run/f3/agent.sock"), settings.agentSocket());
    assertEquals(
        "org.apache.openwhisk.core.containerpool.docker.DockerContainerFactoryProvider",
        settings.containerFactory());
    assertEquals(
        "org.apache.openwhisk.core.loadBalancer.ShardingContainerPoolBalancer",
        settings.loadBalancer());
    assertEquals(Map.of(), settings.invokerNodes());
  }

  @Test
  void nodesOfInvokersAreReadAndCheckedAtTheStart() {
    assertEquals(
        Map.of(0, "n1", 12, "n2"),
        Settings.of(ConfigFactory.parseString("whisk.f3.invoker-nodes = \"0=n1, 12=n2\""))
            .invokerNodes());
    IllegalArgumentException error =
        assertThrows(
            IllegalArgumentException.class,
            () -> Settings.of(ConfigFactory.parseString("whisk.f3.invoker-nodes = \"n1=0\"")));
    assertEquals(
        "whisk.f3.invoker-nodes: \"n1=0\" is not NUMBER=NODE", error.getMessage());
  }
}
