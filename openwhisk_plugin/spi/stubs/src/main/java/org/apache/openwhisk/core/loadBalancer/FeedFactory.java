package org.apache.openwhisk.core.loadBalancer;

public interface FeedFactory {}
