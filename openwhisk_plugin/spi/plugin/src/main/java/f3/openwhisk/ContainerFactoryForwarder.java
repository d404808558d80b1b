package f3.openwhisk;

import java.lang.reflect.Method;
import java.util.concurrent.CompletableFuture;
import org.apache.openwhisk.common.Logging;
import org.apache.openwhisk.core.containerpool.Container;
import org.apache.openwhisk.core.containerpool.ContainerFactory;
import org.apache.openwhisk.core.entity.WhiskEntity;
import scala.Option;

/** A container factory whose containers are attached to F3. Thread-safe if the one behind is. */
final class ContainerFactoryForwarder extends Forwarder {
  private final ContainerFactory factory;
  private final AgentClient agent;
  private final Logging logging;

  ContainerFactoryForwarder(ContainerFactory factory, AgentClient agent, Logging logging) {
    this.factory = factory;
    this.agent = agent;
    this.logging = logging;
  }

  @Override
  protected Object target() {
    return factory;
  }

  /** Every form of createContainer answers with a Future[Container]. */
  @Override
  protected Object take(Method method, Object[] args) throws Throwable {
    if (!method.getName().equals("createContainer")) {
      return forward(method, args);
    }
    CompletableFuture<Container> created = ScalaFutures.call(() -> forward(method, args));
    return ScalaFutures.toScala(
        created.thenApply(
            container ->
                proxy(
                    Container.class,
                    new ContainerForwarder(container, hints(args), agent, logging))));
  }

  /** Of the action, which some forms name; a container made ahead of its action has none. */
  private static Hints hints(Object[] args) {
    for (Object arg : args) {
      if (arg instanceof Option<?> option && Json.orNull(option) instanceof WhiskEntity action) {
        return Hints.ofAnnotations(action);
      }
    }
    return Hints.none();
  }
}
