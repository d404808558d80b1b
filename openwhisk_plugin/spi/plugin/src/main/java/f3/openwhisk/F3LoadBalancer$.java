package f3.openwhisk;

import java.lang.reflect.Method;
import org.apache.openwhisk.common.Logging;
import org.apache.openwhisk.core.loadBalancer.LoadBalancer;
import org.apache.openwhisk.core.loadBalancer.LoadBalancerProvider;
import org.apache.openwhisk.core.loadBalancer.ShardingContainerPoolBalancer;

/**
 * {@code whisk.spi.LoadBalancerProvider = f3.openwhisk.F3LoadBalancer}: decorates OpenWhisk's
 * sharding balancer. A Scala object, as OpenWhisk sees it.
 */
public final class F3LoadBalancer$ extends Forwarder {
  public static final LoadBalancerProvider MODULE$ =
      proxy(LoadBalancerProvider.class, new F3LoadBalancer$());

  private F3LoadBalancer$() {}

  @Override
  protected Object target() throws ReflectiveOperationException {
    return scalaObject(LoadBalancerProvider.class, Settings.load().loadBalancer());
  }

  /** instance(whiskConfig, instance)(actorSystem, logging). The client lives as long. */
  @Override
  protected Object take(Method method, Object[] args) throws Throwable {
    Object made = forward(method, args);
    if (!method.getName().equals("instance")) {
      return made;
    }
    Settings settings = Settings.load();
    return proxy(
        LoadBalancer.class,
        new LoadBalancerForwarder(
            (ShardingContainerPoolBalancer) made,
            new AgentClient(settings.agentSocket()),
            settings.invokerNodes(),
            (Logging) args[3]));
  }
}
