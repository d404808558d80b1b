package f3.openwhisk;

import java.time.Instant;
import org.apache.openwhisk.common.Logging;
import org.apache.openwhisk.common.TransactionMetadata;
import org.apache.openwhisk.core.WhiskConfig;
import org.apache.openwhisk.core.containerpool.Container;
import org.apache.openwhisk.core.containerpool.ContainerAddress;
import org.apache.openwhisk.core.containerpool.ContainerFactory;
import org.apache.openwhisk.core.containerpool.ContainerId;
import org.apache.openwhisk.core.containerpool.Interval;
import org.apache.openwhisk.core.entity.ActivationResponse;
import org.apache.openwhisk.core.entity.ActivationResponse$;
import org.apache.openwhisk.core.entity.ByteSize;
import org.apache.openwhisk.core.entity.ExecManifest;
import org.apache.openwhisk.core.entity.WhiskAction;
import org.apache.pekko.NotUsed;
import org.apache.pekko.actor.ActorSystem;
import org.apache.pekko.stream.scaladsl.Source;
import org.apache.pekko.util.ByteString;
import scala.Option;
import scala.Some;
import scala.Tuple2;
import scala.concurrent.ExecutionContext;
import scala.concurrent.Future;
import scala.concurrent.Future$;
import scala.concurrent.duration.FiniteDuration;
import scala.runtime.BoxedUnit;
import spray.json.JsObject;
import spray.json.JsValue;

/**
 * A factory that writes down the docker commands and HTTP requests that OpenWhisk's Docker factory
 * and its containers make, in their order, instead of making them (with use-runc = false; the
 * arguments of `run` as in reference deployments).
 */
class RecordedDocker implements ContainerFactory {
  private final Events events;
  private int created;

  RecordedDocker(Events events) {
    this.events = events;
  }

  /** What the container runtime would answer `run -d` with. */
  static String id(int number) {
    return String.format("%064x", number);
  }

  @Override
  public synchronized Future<Container> createContainer(
      TransactionMetadata tid,
      String name,
      ExecManifest.ImageName actionImage,
      boolean userProvidedImage,
      ByteSize memory,
      int cpuShares,
      Option<Object> cpuLimit,
      WhiskConfig config,
      Logging logging) {
    long megabytes = memory.toBytes() >> 20;
    events.add(
        String.format(
            "docker run -d --cpu-shares %d --memory %dm --memory-swap %dm --network bridge"
                + " -e __OW_API_HOST=https://172.17.0.1 --name %s --runtime f3-runc %s",
            cpuShares, megabytes, megabytes, name, actionImage.name()));
    String id = id(++created);
    events.add(
        "docker inspect --format {{.NetworkSettings.Networks.bridge.IPAddress}} " + id);
    return Future$.MODULE$.successful(container(id));
  }

  Container container(String id) {
    return new RecordedContainer(id, events);
  }

  @Override
  public void init() {
    events.add("docker ps --quiet --no-trunc --all --filter name=wsk0_");
  }

  @Override
  public void cleanup() {
    events.add("docker ps --quiet --no-trunc --all --filter name=wsk0_");
  }

  static class RecordedContainer implements Container {
    private final String id;
    private final Events events;
    private Option<Object> connection = Option.empty();

    RecordedContainer(String id, Events events) {
      this.id = id;
      this.events = events;
    }

    private Future<BoxedUnit> record(String event) {
      events.add(event);
      return Future$.MODULE$.successful(BoxedUnit.UNIT);
    }

    @Override
    public ActorSystem as() {
      return null;
    }

    @Override
    public ContainerId id() {
      return new ContainerId(id);
    }

    @Override
    public ContainerAddress addr() {
      return new ContainerAddress("172.17.0.2", 8080);
    }

    @Override
    public Logging logging() {
      return Whisk.logging(events);
    }

    @Override
    public ExecutionContext ec() {
      return null;
    }

    @Override
    public Option<Object> httpConnection() {
      return connection;
    }

    @Override
    public void httpConnection_$eq(Option<Object> connection) {
      this.connection = connection;
    }

    @Override
    public Future<BoxedUnit> suspend(TransactionMetadata transid) {
      return record("docker pause " + id);
    }

    @Override
    public Future<BoxedUnit> resume(TransactionMetadata transid) {
      return record("docker unpause " + id);
    }

    @Override
    public Future<BoxedUnit> destroy(TransactionMetadata transid) {
      return record("docker rm -f " + id);
    }

    @Override
    public Source<ByteString, NotUsed> logs(
        ByteSize limit, boolean waitForSentinel, TransactionMetadata transid) {
      record("logs " + id);
      return null;
    }

    @Override
    public Future<Interval> initialize(
        JsObject initializer,
        FiniteDuration timeout,
        int maxConcurrent,
        Option<WhiskAction> entity,
        TransactionMetadata transid) {
      record("POST /init " + id);
      return Future$.MODULE$.successful(new Interval(Instant.EPOCH, Instant.EPOCH));
    }

    @Override
    public Future<Tuple2<Interval, ActivationResponse>> run(
        JsValue parameters,
        JsObject environment,
        FiniteDuration timeout,
        int maxConcurrent,
        ByteSize maxResponse,
        ByteSize truncation,
        boolean reschedule,
        TransactionMetadata transid) {
      record("POST /run " + id + " " + Json.textField(environment, "activation_id"));
      return Future$.MODULE$.successful(
          new Tuple2<>(
              new Interval(Instant.EPOCH, Instant.EPOCH),
              ActivationResponse$.MODULE$.success(new Some<>(parameters), Option.empty())));
    }

    @Override
    public String toString() {
      return "ContainerId(" + id + ")";
    }
  }

  /** A pod: OpenWhisk knows it by its name. */
  public static final class RecordedPod extends RecordedContainer {
    private final String nativeId;

    RecordedPod(String name, String nativeId, Events events) {
      super(name, events);
      this.nativeId = nativeId;
    }

    public String nativeContainerId() {
      return nativeId;
    }
  }
}
