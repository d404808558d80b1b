package f3.openwhisk;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Predicate;

/** What happened, in order: docker commands, HTTP requests, calls of the agent. Thread-safe. */
final class Events {
  private final List<String> events = new ArrayList<>();

  synchronized void add(String event) {
    events.add(event);
    notifyAll();
  }

  synchronized List<String> all() {
    return List.copyOf(events);
  }

  synchronized List<String> startingWith(String prefix) {
    return events.stream().filter(event -> event.startsWith(prefix)).toList();
  }

  synchronized void awaitCount(String prefix, int count) throws Exception {
    await(all -> all.stream().filter(e -> e.startsWith(prefix)).count() >= count, prefix);
  }

  private void await(Predicate<List<String>> condition, String what) throws Exception {
    long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
    while (!condition.test(events)) {
      long left = TimeUnit.NANOSECONDS.toMillis(deadline - System.nanoTime());
      if (left <= 0) {
        throw new TimeoutException("never came: " + what + "; only " + events);
      }
      wait(left);
    }
  }
}
