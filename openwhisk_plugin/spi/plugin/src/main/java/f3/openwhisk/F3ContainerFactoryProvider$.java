package f3.openwhisk;

import java.lang.reflect.Method;
import org.apache.openwhisk.common.Logging;
import org.apache.openwhisk.core.containerpool.ContainerFactory;
import org.apache.openwhisk.core.containerpool.ContainerFactoryProvider;

/**
 * {@code whisk.spi.ContainerFactoryProvider = f3.openwhisk.F3ContainerFactoryProvider}: decorates
 * the factory that {@code whisk.f3.container-factory} names. OpenWhisk finds it as it finds a Scala
 * object: a class with a dollar, and its field MODULE$.
 */
public final class F3ContainerFactoryProvider$ extends Forwarder {
  public static final ContainerFactoryProvider MODULE$ =
      proxy(ContainerFactoryProvider.class, new F3ContainerFactoryProvider$());

  private F3ContainerFactoryProvider$() {}

  @Override
  protected Object target() throws ReflectiveOperationException {
    return scalaObject(ContainerFactoryProvider.class, Settings.load().containerFactory());
  }

  /** instance(actorSystem, logging, config, instance, parameters). The client lives as long. */
  @Override
  protected Object take(Method method, Object[] args) throws Throwable {
    Object made = forward(method, args);
    if (!method.getName().equals("instance")) {
      return made;
    }
    AgentClient agent = new AgentClient(Settings.load().agentSocket());
    return proxy(
        ContainerFactory.class,
        new ContainerFactoryForwarder((ContainerFactory) made, agent, (Logging) args[1]));
  }
}
