package f3.openwhisk;

import f3.openwhisk.Agent.LocateRequest;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Pattern;
import org.apache.openwhisk.core.connector.ActivationMessage;
import org.apache.openwhisk.core.entity.WhiskEntity;
import spray.json.JsValue;

/** What one activation is going to read, as far as annotations and arguments tell. */
final class Wanted {
  /** Arguments may be a megabyte; the agent is asked for so much at most. */
  private static final int MAX_NAMES = 64;

  private static final int MAX_DEPTH = 4;
  private static final int MAX_VALUES = 10_000;

  /** xdt/reference.h: kReferenceChars of base64url. */
  private static final Pattern REFERENCE = Pattern.compile("[A-Za-z0-9_-]{179}");

  private static final int MAX_PATH = 4096;

  private final List<String> prefixes;
  private final List<String> paths = new ArrayList<>();
  private final List<String> references = new ArrayList<>();
  private final LocateRequest.Builder request;
  private final String locality;
  private int values;

  Wanted(WhiskEntity action, ActivationMessage message) {
    Hints hints = Hints.ofAnnotations(action);
    JsValue content = Json.orNull(message.content());
    JsValue callHints = Json.field(content, Hints.CALL);
    locality = hints.locality(callHints);
    prefixes = hints.paths();
    if (!prefixes.isEmpty()) {
      hints.inputs(callHints).stream().limit(MAX_NAMES).forEach(paths::add);
    }
    scan(content, 0);
    request =
        LocateRequest.newBuilder()
            .setNamespace(ActionName.of(action).namespace())
            .setAnnotations(hints.toJson())
            .setWorkflow(Workflow.of(message.transid().id()))
            .addAllPaths(paths)
            .addAllReferences(references);
  }

  /** "prefer", "require" or "off". */
  String locality() {
    return locality;
  }

  boolean isEmpty() {
    return paths.isEmpty() && references.isEmpty();
  }

  LocateRequest request() {
    return request.build();
  }

  private void scan(JsValue value, int depth) {
    if (++values > MAX_VALUES) {
      return;
    }
    String text = Json.text(value);
    if (text != null) {
      add(text);
    } else if (depth < MAX_DEPTH) {
      for (JsValue element : Json.elements(value)) {
        scan(element, depth + 1);
      }
      for (JsValue field : Json.values(value)) {
        scan(field, depth + 1);
      }
    }
  }

  private void add(String text) {
    if (paths.size() + references.size() >= MAX_NAMES || text.length() > MAX_PATH) {
      return;
    }
    if (REFERENCE.matcher(text).matches()) {
      references.add(text);
    } else if (prefixes.stream().anyMatch(prefix -> text.startsWith(prefix + "/"))) {
      paths.add(literally(text));
    }
  }

  /** An argument is a name, not a glob (fnmatch). */
  private static String literally(String path) {
    return path.replaceAll("[\\\\*?\\[]", "\\\\$0");
  }
}
