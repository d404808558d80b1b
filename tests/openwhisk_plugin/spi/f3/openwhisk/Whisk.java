package f3.openwhisk;

import java.time.Instant;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.apache.openwhisk.common.Logging;
import org.apache.openwhisk.common.TransactionMetadata;
import org.apache.openwhisk.core.entity.ParameterName;
import org.apache.openwhisk.core.entity.ParameterValue;
import org.apache.openwhisk.core.entity.WhiskAction;
import scala.Function0;
import scala.collection.immutable.Map$;
import scala.concurrent.Future;
import spray.json.JsObject;
import spray.json.JsValue;

/** OpenWhisk's values, made from what a test writes down. */
final class Whisk {
  /** Fields in the order of their names: spray-json keeps no other. */
  static final String MOUNTS = "[{\"mode\":\"rw\",\"path\":\"/mnt/f3\",\"volume\":\"wf1\"}]";

  /** For calls that must succeed, on however slow a machine. */
  static final AgentClient.Deadlines UNHURRIED =
      new AgentClient.Deadlines(60_000, 60_000, 60_000, 60_000);

  private Whisk() {}

  /** 32 characters, as OpenWhisk makes them. */
  static TransactionMetadata transaction(String id) {
    return new TransactionMetadata(id, Instant.EPOCH);
  }

  static JsObject json(String text) {
    return (JsObject) Json.parse(text);
  }

  /** From names and JSON texts. */
  static scala.collection.immutable.Map<ParameterName, ParameterValue> annotations(
      Map<String, String> values) {
    scala.collection.immutable.Map<ParameterName, ParameterValue> map =
        Map$.MODULE$.<ParameterName, ParameterValue>empty();
    for (Map.Entry<String, String> entry : values.entrySet()) {
      JsValue value = Json.parse(entry.getValue());
      map = map.updated(new ParameterName(entry.getKey()), new ParameterValue(value));
    }
    return map;
  }

  /** The fields of a JSON object, as JSON texts. */
  static Map<String, String> fields(String text) {
    Map<String, String> fields = new HashMap<>();
    scala.collection.Iterator<String> names = json(text).fields().keysIterator();
    while (names.hasNext()) {
      String name = names.next();
      fields.put(name, Json.field(json(text), name).compactPrint());
    }
    return fields;
  }

  static WhiskAction action(String path, Map<String, String> annotations) {
    return new WhiskAction(path, annotations(annotations));
  }

  /** Its value; throws what it failed with. */
  static <T> T await(Future<T> future) throws Throwable {
    try {
      return ScalaFutures.toJava(future).get(60, TimeUnit.SECONDS);
    } catch (java.util.concurrent.ExecutionException e) {
      throw e.getCause();
    }
  }

  /** Writes warnings into {@code events}. */
  static Logging logging(Events events) {
    return new Logging() {
      @Override
      public void info(Object from, Function0<String> message, TransactionMetadata id) {}

      @Override
      public void warn(Object from, Function0<String> message, TransactionMetadata id) {
        events.add("warning " + message.apply());
      }

      @Override
      public void error(Object from, Function0<String> message, TransactionMetadata id) {
        events.add("error " + message.apply());
      }
    };
  }
}
