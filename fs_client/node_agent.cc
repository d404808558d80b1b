// NodeAgent is not written yet.
