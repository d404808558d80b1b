package f3.openwhisk;

/**
 * What names a workflow: OpenWhisk's transaction id. It is the same for all steps of a sequence or
 * a composition, and the only such name that both a load balancer and a container see; the {@code
 * cause} of an activation does not reach the container.
 */
final class Workflow {
  private Workflow() {}

  /** "" (the activation itself is the workflow) for an id that a client chose freely. */
  static String of(String transactionId) {
    return transactionId.matches("[A-Za-z0-9_-]{1,64}") ? transactionId : "";
  }
}
