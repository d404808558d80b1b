package f3.openwhisk;

import java.util.ArrayList;
import java.util.List;
import scala.Option;
import scala.collection.Iterator;
import spray.json.JsArray;
import spray.json.JsObject;
import spray.json.JsString;
import spray.json.JsValue;
import spray.json.JsonParser$;
import spray.json.ParserInput$;

/** OpenWhisk's JSON values (spray-json), as Java likes them: null is what is not there. */
final class Json {
  private Json() {}

  static JsValue field(JsValue value, String name) {
    return value instanceof JsObject object ? orNull(object.fields().get(name)) : null;
  }

  static String text(JsValue value) {
    return value instanceof JsString string ? string.value() : null;
  }

  /** Of a field that is a string; "" otherwise. */
  static String textField(JsValue value, String name) {
    String text = text(field(value, name));
    return text == null ? "" : text;
  }

  /** Empty for anything but an array. */
  static List<JsValue> elements(JsValue value) {
    return value instanceof JsArray array ? list(array.elements().iterator()) : List.of();
  }

  /** The values of an object's fields; empty for anything else. */
  static List<JsValue> values(JsValue value) {
    return value instanceof JsObject object
        ? list(object.fields().valuesIterator())
        : List.of();
  }

  /** Text that is no JSON becomes a string, so that who checks it can name it. */
  static JsValue parse(String text) {
    try {
      return JsonParser$.MODULE$.apply(ParserInput$.MODULE$.apply(text));
    } catch (RuntimeException e) {
      return new JsString(text);
    }
  }

  static <T> T orNull(Option<? extends T> option) {
    return option.isDefined() ? option.get() : null;
  }

  private static List<JsValue> list(Iterator<JsValue> values) {
    List<JsValue> list = new ArrayList<>();
    while (values.hasNext()) {
      list.add(values.next());
    }
    return list;
  }
}
