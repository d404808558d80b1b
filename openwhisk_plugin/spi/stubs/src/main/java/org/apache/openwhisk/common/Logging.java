package org.apache.openwhisk.common;

import scala.Function0;

public interface Logging {
  void info(Object from, Function0<String> message, TransactionMetadata id);

  void warn(Object from, Function0<String> message, TransactionMetadata id);

  void error(Object from, Function0<String> message, TransactionMetadata id);
}
