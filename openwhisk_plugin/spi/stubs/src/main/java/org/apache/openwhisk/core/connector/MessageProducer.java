package org.apache.openwhisk.core.connector;

public interface MessageProducer {}
