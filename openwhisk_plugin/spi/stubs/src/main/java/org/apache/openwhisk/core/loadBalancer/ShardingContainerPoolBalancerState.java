package org.apache.openwhisk.core.loadBalancer;

import org.apache.openwhisk.common.InvokerHealth;
import org.apache.openwhisk.common.NestedSemaphore;
import org.apache.openwhisk.core.entity.FullyQualifiedEntityName;
import scala.collection.IndexedSeq;

public class ShardingContainerPoolBalancerState {
  private final IndexedSeq<InvokerHealth> managed;
  private final IndexedSeq<InvokerHealth> blackbox;
  private final IndexedSeq<NestedSemaphore<FullyQualifiedEntityName>> slots;

  public ShardingContainerPoolBalancerState(
      IndexedSeq<InvokerHealth> managed,
      IndexedSeq<InvokerHealth> blackbox,
      IndexedSeq<NestedSemaphore<FullyQualifiedEntityName>> slots) {
    this.managed = managed;
    this.blackbox = blackbox;
    this.slots = slots;
  }

  public IndexedSeq<InvokerHealth> managedInvokers() {
    return managed;
  }

  public IndexedSeq<InvokerHealth> blackboxInvokers() {
    return blackbox;
  }

  /** By the invoker's number. */
  public IndexedSeq<NestedSemaphore<FullyQualifiedEntityName>> invokerSlots() {
    return slots;
  }
}
