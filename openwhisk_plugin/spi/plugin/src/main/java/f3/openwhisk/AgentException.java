package f3.openwhisk;

import io.grpc.Status;

/** Why a call of the agent failed; its message is meant for the activation record. */
final class AgentException extends RuntimeException {
  private final Status.Code code;

  AgentException(Status.Code code, String message, Throwable cause) {
    super(message, cause);
    this.code = code;
  }

  Status.Code code() {
    return code;
  }

  /** Whether the action's author has to change something: hints, volumes, the image. */
  boolean isFaultOfTheAction() {
    return switch (code) {
      case INVALID_ARGUMENT, PERMISSION_DENIED, FAILED_PRECONDITION -> true;
      default -> false;
    };
  }
}
