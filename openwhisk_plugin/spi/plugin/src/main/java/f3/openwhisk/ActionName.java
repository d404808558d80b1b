package f3.openwhisk;

import org.apache.openwhisk.core.entity.WhiskEntity;
import spray.json.JsValue;

/**
 * Whose action, and which.
 *
 * @param namespace of the action's owner, whose files the action sees, whoever calls it
 * @param action "package/name" or "name"
 */
record ActionName(String namespace, String action) {
  static ActionName of(WhiskEntity action) {
    return split(action.fullyQualifiedName(false).asString());
  }

  /** Of /init's environment: {@code __OW_ACTION_NAME} is "/namespace/package/name". */
  static ActionName ofEnvironment(JsValue environment) {
    String name = Json.textField(environment, "__OW_ACTION_NAME");
    return name.startsWith("/")
        ? split(name.substring(1))
        : new ActionName(Json.textField(environment, "__OW_NAMESPACE"), name);
  }

  private static ActionName split(String path) {
    int slash = path.indexOf('/');
    return slash < 0
        ? new ActionName("", path)
        : new ActionName(path.substring(0, slash), path.substring(slash + 1));
  }
}
