package org.apache.openwhisk.core.entity;

public class WhiskActivation {}
