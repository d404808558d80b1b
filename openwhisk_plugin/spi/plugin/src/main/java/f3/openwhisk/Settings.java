package f3.openwhisk;

import com.typesafe.config.Config;
import com.typesafe.config.ConfigFactory;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;

/**
 * The keys below {@code whisk.f3} of OpenWhisk's configuration. Immutable, so thread-safe.
 *
 * @param agentSocket socket of the node agent's local API on this host
 * @param containerFactory the provider that is decorated, as {@code whisk.spi} would name it
 * @param loadBalancer the sharding balancer that is decorated
 * @param invokerNodes F3's name of an invoker's node, by the invoker's number; an invoker that is
 *     not in it has the node that bears its unique or displayed name
 */
record Settings(
    Path agentSocket,
    String containerFactory,
    String loadBalancer,
    Map<Integer, String> invokerNodes) {
  private static final String AGENT_SOCKET = "whisk.f3.agent-socket";
  private static final String CONTAINER_FACTORY = "whisk.f3.container-factory";
  private static final String LOAD_BALANCER = "whisk.f3.load-balancer";
  private static final String INVOKER_NODES = "whisk.f3.invoker-nodes";

  /** Of OpenWhisk's configuration; a key that is not there has the documented default. */
  static Settings load() {
    return of(ConfigFactory.load());
  }

  static Settings of(Config config) {
    return new Settings(
        Path.of(text(config, AGENT_SOCKET, "/run/f3/agent.sock")),
        text(
            config,
            CONTAINER_FACTORY,
            "org.apache.openwhisk.core.containerpool.docker.DockerContainerFactoryProvider"),
        text(
            config,
            LOAD_BALANCER,
            "org.apache.openwhisk.core.loadBalancer.ShardingContainerPoolBalancer"),
        invokerNodes(text(config, INVOKER_NODES, "")));
  }

  private static String text(Config config, String key, String otherwise) {
    return config.hasPath(key) ? config.getString(key) : otherwise;
  }

  /** "0=n1,1=n2". */
  private static Map<Integer, String> invokerNodes(String text) {
    Map<Integer, String> nodes = new HashMap<>();
    for (String entry : text.split(",")) {
      if (entry.isBlank()) {
        continue;
      }
      String[] parts = entry.trim().split("=", 2);
      if (parts.length != 2 || !parts[0].matches("[0-9]{1,6}") || parts[1].isBlank()) {
        throw new IllegalArgumentException(
            INVOKER_NODES + ": \"" + entry.trim() + "\" is not NUMBER=NODE");
      }
      nodes.put(Integer.valueOf(parts[0]), parts[1].trim());
    }
    return Map.copyOf(nodes);
  }
}
