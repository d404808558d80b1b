"""Pass large values between serverless functions by reference.

    import f3
    ref = f3.put(b"any bytes-like object, also a numpy array")   # text, at most 256 characters
    view = f3.get(ref)                                            # in another function, on any node
    numpy.frombuffer(view.data, dtype="f8")                       # no copy

The bytes are shared memory that nobody can change. `f3.patterns` has scatter, gather and broadcast.
All functions may be used by any number of threads, and after os.fork in parent and child.
"""

from f3._client import (BrokerGone, Buffer, Client, Earlier, Error, Exhausted, Expired, Malformed,
                        NotAuthentic, OutOfScope, Timeout, UNLIMITED, View, default_client)

__all__ = ["BrokerGone", "Buffer", "Client", "Earlier", "Error", "Exhausted", "Expired",
           "Malformed", "NotAuthentic", "OutOfScope", "Timeout", "UNLIMITED", "View", "alloc",
           "default_client", "delete", "get", "get_async", "get_many", "put", "put_fd", "stat",
           "stream"]


def alloc(size, **options):
    """See Client.alloc."""
    return default_client().alloc(size, **options)


def put(value, **options):
    """See Client.put."""
    return default_client().put(value, **options)


def put_fd(fd, **options):
    """See Client.put_fd."""
    return default_client().put_fd(fd, **options)


def get(reference, timeout=10):
    """See Client.get."""
    return default_client().get(reference, timeout)


def stream(reference, timeout=10):
    """See Client.stream."""
    return default_client().stream(reference, timeout)


def get_many(references, timeout=10):
    """See Client.get_many."""
    return default_client().get_many(references, timeout)


def get_async(reference, timeout=10):
    """See Client.get_async."""
    return default_client().get_async(reference, timeout)


def delete(reference, timeout=10):
    """See Client.delete."""
    return default_client().delete(reference, timeout)


def stat(reference, timeout=10):
    """See Client.stat."""
    return default_client().stat(reference, timeout)
