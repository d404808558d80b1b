package org.apache.openwhisk.spi;

/** Marks what {@code whisk.spi.NAME} may name. */
public interface Spi {}
