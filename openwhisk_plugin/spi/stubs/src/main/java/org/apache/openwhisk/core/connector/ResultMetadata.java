package org.apache.openwhisk.core.connector;

public class ResultMetadata {}
