package f3.openwhisk;

import java.lang.reflect.InvocationHandler;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;

/**
 * Stands in front of an object of OpenWhisk and forwards every call but those that a subclass takes
 * for itself. A proxy and not a class that implements the trait: what else a trait has (in Scala
 * also its fields) differs between OpenWhisk's versions, and is none of our business.
 */
abstract class Forwarder implements InvocationHandler {
  /** The object behind. */
  protected abstract Object target() throws Exception;

  /** Takes a call, or forwards it. */
  protected abstract Object take(Method method, Object[] args) throws Throwable;

  @Override
  public final Object invoke(Object proxy, Method method, Object[] args) throws Throwable {
    if (method.getName().equals("equals") && args.length == 1) {
      return proxy == args[0];
    }
    if (method.getName().equals("hashCode") && args == null) {
      return System.identityHashCode(proxy);
    }
    return take(method, args == null ? new Object[0] : args);
  }

  protected final Object forward(Method method, Object[] args) throws Throwable {
    try {
      return method.invoke(target(), args);
    } catch (InvocationTargetException e) {
      throw e.getCause();
    }
  }

  static <T> T proxy(Class<T> type, Forwarder forwarder) {
    return type.cast(
        Proxy.newProxyInstance(type.getClassLoader(), new Class<?>[] {type}, forwarder));
  }

  /** The Scala object {@code name}, as OpenWhisk's SpiLoader finds it. */
  static <T> T scalaObject(Class<T> type, String name) throws ReflectiveOperationException {
    return type.cast(Class.forName(name + "$").getField("MODULE$").get(null));
  }
}
