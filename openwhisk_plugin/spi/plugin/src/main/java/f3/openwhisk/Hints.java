package f3.openwhisk;

import java.util.ArrayList;
import java.util.List;
import java.util.function.Function;
import org.apache.openwhisk.core.entity.Parameters;
import org.apache.openwhisk.core.entity.WhiskEntity;
import spray.json.JsValue;

/**
 * What an action says about its data: the annotations {@code f3-mounts} and {@code f3-hints}
 * (docs/hints.md). The agent alone checks them; read here is only what decides whether the agent is
 * needed and where the action should run. Immutable.
 */
final class Hints {
  static final String MOUNTS = "f3-mounts";
  static final String HINTS = "f3-hints";

  /** The parameter with hints of one call. */
  static final String CALL = "__f3";

  private static final String DEFAULT_PATH = "/mnt/f3";

  private final JsValue mounts;
  private final JsValue hints;

  private Hints(JsValue mounts, JsValue hints) {
    this.mounts = mounts;
    this.hints = hints;
  }

  static Hints none() {
    return new Hints(null, null);
  }

  static Hints ofAnnotations(WhiskEntity action) {
    Parameters annotations = new Parameters(action.annotations());
    return of(name -> Json.orNull(annotations.get(name)));
  }

  /**
   * Of /init's environment, where parameters with {@code "init": true} arrive as text. The only way
   * where OpenWhisk gives an invoker's containers no annotations (its scheduler).
   */
  static Hints ofEnvironment(JsValue environment) {
    return of(
        name -> {
          String text = Json.text(Json.field(environment, name));
          return text == null ? null : Json.parse(text);
        });
  }

  private static Hints of(Function<String, JsValue> lookup) {
    return new Hints(lookup.apply(MOUNTS), lookup.apply(HINTS));
  }

  boolean isEmpty() {
    return mounts == null && hints == null;
  }

  /** As AttachRequest.annotations takes them. */
  String toJson() {
    StringBuilder text = new StringBuilder();
    append(text, MOUNTS, mounts);
    append(text, HINTS, hints);
    return text.isEmpty() ? "" : "{" + text + "}";
  }

  /** Whether a mount belongs to the workflow, so that the agent must hear of each call. */
  boolean changesWithTheWorkflow() {
    return Json.elements(mounts).stream()
        .anyMatch(mount -> "workflow".equals(Json.textField(mount, "lifetime")));
  }

  /** Where the mounts are in the sandbox. */
  List<String> paths() {
    List<String> paths = new ArrayList<>();
    for (JsValue mount : Json.elements(mounts)) {
      String path = Json.textField(mount, "path");
      paths.add(path.isEmpty() ? DEFAULT_PATH : path);
    }
    return paths;
  }

  /** "prefer", "require" or "off"; the call's own hints go first. */
  String locality(JsValue callHints) {
    String locality = Json.textField(callHints, "locality");
    if (locality.isEmpty()) {
      locality = Json.textField(hints, "locality");
    }
    return locality.isEmpty() ? "prefer" : locality;
  }

  List<String> inputs(JsValue callHints) {
    JsValue inputs = Json.field(callHints, "inputs");
    List<String> globs = new ArrayList<>();
    for (JsValue glob : Json.elements(inputs == null ? Json.field(hints, "inputs") : inputs)) {
      if (Json.text(glob) != null) {
        globs.add(Json.text(glob));
      }
    }
    return globs;
  }

  private static void append(StringBuilder text, String name, JsValue value) {
    if (value != null) {
      text.append(text.isEmpty() ? "" : ",");
      text.append('"').append(name).append("\":").append(value.compactPrint());
    }
  }
}
