package org.apache.openwhisk.common;

/**
 * A node's memory as slots of 1 MB. Here each activation takes its own slots; sharing between
 * concurrent activations of one container is left out.
 */
public class NestedSemaphore<T> {
  private int permits;

  public NestedSemaphore(int memoryPermits) {
    permits = memoryPermits;
  }

  public final synchronized boolean tryAcquireConcurrent(
      T action, int maxConcurrent, int memoryPermits) {
    if (permits < memoryPermits) {
      return false;
    }
    permits -= memoryPermits;
    return true;
  }

  public synchronized void forceAcquireConcurrent(T action, int maxConcurrent, int memoryPermits) {
    permits -= memoryPermits;
  }

  public synchronized void releaseConcurrent(T action, int maxConcurrent, int memoryPermits) {
    permits += memoryPermits;
  }

  public synchronized int availablePermits() {
    return permits;
  }
}
