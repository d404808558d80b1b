package org.apache.openwhisk.core.containerpool;

import org.apache.openwhisk.common.Logging;
import org.apache.openwhisk.common.TransactionMetadata;
import org.apache.openwhisk.core.WhiskConfig;
import org.apache.openwhisk.core.entity.ByteSize;
import org.apache.openwhisk.core.entity.ExecManifest;
import org.apache.openwhisk.core.entity.ExecutableWhiskAction;
import scala.Option;
import scala.concurrent.Future;

public interface ContainerFactory {
  default Future<Container> createContainer(
      TransactionMetadata tid,
      String name,
      ExecManifest.ImageName actionImage,
      boolean userProvidedImage,
      ByteSize memory,
      int cpuShares,
      Option<Object> cpuLimit,
      Option<ExecutableWhiskAction> action,
      WhiskConfig config,
      Logging logging) {
    return createContainer(
        tid, name, actionImage, userProvidedImage, memory, cpuShares, cpuLimit, config, logging);
  }

  Future<Container> createContainer(
      TransactionMetadata tid,
      String name,
      ExecManifest.ImageName actionImage,
      boolean userProvidedImage,
      ByteSize memory,
      int cpuShares,
      Option<Object> cpuLimit,
      WhiskConfig config,
      Logging logging);

  void init();

  void cleanup();
}
