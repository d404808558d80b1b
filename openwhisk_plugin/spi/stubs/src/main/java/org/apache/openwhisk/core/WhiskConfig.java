package org.apache.openwhisk.core;

public class WhiskConfig {}
