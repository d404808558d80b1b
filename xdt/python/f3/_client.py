"""libxdt through ctypes. The C library's own text (xdt.h) says what each call promises."""

import ctypes
import glob
import os
import threading
import weakref

UNLIMITED = 0xffffffff
_REF_CHARS = 257
_TERA = 1 << 40


class Error(Exception):
    """A call failed; `code` is the number that xdt.h names."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class Timeout(Error, TimeoutError):
    """Not in time."""


class BrokerGone(Error, ConnectionError):
    """There is no broker, or the value's node does not answer."""


class Malformed(Error, ValueError):
    """This is not a reference."""


class NotAuthentic(Error):
    """The reference was not made by this cluster."""


class Expired(Error):
    """The reference has expired."""


class Exhausted(Error):
    """The reference has no retrievals left, or was deleted."""


class OutOfScope(Error):
    """The reference is not for this function."""


class Earlier(Error):
    """The node has restarted since the reference was made."""


_KINDS = {103: Timeout, 302: BrokerGone, 401: BrokerGone, 408: Malformed, 409: NotAuthentic,
          410: Expired, 411: Exhausted, 412: OutOfScope, 413: Earlier}
_AGAIN = 105


class _PutOptions(ctypes.Structure):
    _fields_ = [("lifetime_ms", ctypes.c_uint64), ("retrievals", ctypes.c_uint32),
                ("action", ctypes.c_char_p)]


class _Info(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_uint64), ("retrievals_left", ctypes.c_uint64),
                ("expires_in_ms", ctypes.c_uint64)]


def _load():
    path = os.environ.get("F3_LIBXDT")
    if not path:
        found = glob.glob(os.path.join(os.path.dirname(__file__), "_libxdt*.so"))
        path = found[0] if found else "libxdt.so.1"
    lib = ctypes.CDLL(path)
    pointer, size, text, number = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_int)
    out = ctypes.POINTER(pointer)
    options = ctypes.POINTER(_PutOptions)
    signatures = {
        "xdt_open": (number, text, out), "xdt_close": (None, pointer),
        "xdt_alloc": (number, pointer, size, number, out),
        "xdt_buffer_data": (pointer, pointer), "xdt_discard": (None, pointer),
        "xdt_put": (number, pointer, size, options, number, text),
        "xdt_put_bytes": (number, pointer, pointer, size, options, number, text),
        "xdt_put_fd": (number, pointer, number, size, options, number, text),
        "xdt_get": (number, pointer, text, number, out),
        "xdt_get_stream": (number, pointer, text, number, out),
        "xdt_get_many": (number, pointer, ctypes.POINTER(text), size, number, out,
                         ctypes.POINTER(number)),
        "xdt_view_data": (pointer, pointer), "xdt_view_bytes": (size, pointer),
        "xdt_view_available": (size, pointer), "xdt_wait": (number, pointer, size, number),
        "xdt_release": (None, pointer),
        "xdt_get_async": (number, pointer, text, number, out), "xdt_async_fd": (number, pointer),
        "xdt_async_finish": (number, pointer, out), "xdt_async_cancel": (None, pointer),
        "xdt_delete": (number, pointer, text, number),
        "xdt_stat": (number, pointer, text, number, ctypes.POINTER(_Info)),
        "xdt_code_text": (text, number), "xdt_last_message": (text,),
    }
    for name, (result, *arguments) in signatures.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib


_lib = _load()


def _check(code):
    if code:
        kind = _lib.xdt_code_text(code).decode()
        message = _lib.xdt_last_message().decode(errors="replace")
        raise _KINDS.get(code, Error)(code, f"{kind}: {message}")


def _milliseconds(seconds):
    return max(0, int(seconds * 1000))


def _memory(address, size, owner):
    """An array over foreign memory; `owner` lives as long as anything that refers to it."""
    array = (ctypes.c_ubyte * size).from_address(address)
    array._f3_owner = owner  # memoryviews and numpy arrays keep the array, and so this
    return array


class _Owner:
    """Calls `free(handle)` once, when the last user is gone. Of another process: never."""

    def __init__(self, handle, free, client):
        self.handle = handle
        self.client = client  # outlives what belongs to it
        self._finalizer = weakref.finalize(self, free, handle)

    def forget(self):
        self._finalizer.detach()


class View:
    """A value that was got: `data` is a read-only memoryview of shared memory.

    The memory is given back when the View and everything made of `data` are gone, also earlier by
    `release()` or a with statement if nothing was made of it.
    """

    def __init__(self, client, handle):
        self._owner = _Owner(handle, _lib.xdt_release, client)
        self.size = _lib.xdt_view_bytes(handle)
        if self.size:
            array = _memory(_lib.xdt_view_data(handle), self.size, self._owner)
            self._all = memoryview(array).cast("B").toreadonly()
        else:
            self._all = memoryview(b"")

    @property
    def available(self):
        """How many bytes can be read now: all, unless it is a stream."""
        return _lib.xdt_view_available(self._owner.handle)

    @property
    def data(self):
        """What can be read now."""
        available = self.available
        return self._all if available == self.size else self._all[:available]

    def wait(self, size, timeout=10):
        """Returns once `size` bytes, or all, can be read."""
        _check(_lib.xdt_wait(self._owner.handle, size, _milliseconds(timeout)))

    def chunks(self, timeout=10):
        """The bytes in order, as they come, each chunk a memoryview."""
        done = 0
        while done < self.size:
            self.wait(done + 1, timeout)
            here = self.available
            yield self._all[done:here]
            done = here

    def release(self):
        self._all = self._owner = None

    def __len__(self):
        return self.size

    def __bytes__(self):
        return bytes(self.data)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.release()


class Buffer:
    """Shared memory to write a value into: `data` is a writable memoryview. put() hands it over.

    Everything made of `data` must be gone by then (del, or a with statement around it): while a
    mapping could still be written through, put raises BufferError.
    """

    def __init__(self, client, handle, size):
        self._owner = _Owner(handle, _lib.xdt_discard, client)
        self.size = size
        self._map()

    def _map(self):
        address = _lib.xdt_buffer_data(self._owner.handle)
        self._array = _memory(address, self.size, self._owner)
        self.data = memoryview(self._array).cast("B")

    def put(self, size=None, *, lifetime=0, retrievals=1, action=None, timeout=10):
        """Hands over the first `size` bytes (default: all) and returns the reference."""
        others = weakref.ref(self._array)
        self.data = self._array = None
        if others() is not None:
            self._map()
            raise BufferError("something made of the buffer's data is still there")
        owner, self._owner = self._owner, None
        owner.forget()
        reference = ctypes.create_string_buffer(_REF_CHARS)
        options = _options(lifetime, retrievals, action)
        _check(_lib.xdt_put(owner.handle, self.size if size is None else size,
                            ctypes.byref(options), _milliseconds(timeout), reference))
        return reference.value.decode()


def _options(lifetime, retrievals, action):
    """lifetime in seconds, 0: the node's default."""
    return _PutOptions(int(lifetime * 1000), retrievals,
                       None if action is None else action.encode())


class Async:
    """A get under way. `fileno()` becomes readable when `result()` will not wait."""

    def __init__(self, client, handle):
        self._client = client
        self._owner = _Owner(handle, _lib.xdt_async_cancel, client)

    def fileno(self):
        return _lib.xdt_async_fd(self._owner.handle)

    def result(self):
        """The View. BlockingIOError while it is not there yet."""
        view = ctypes.c_void_p()
        code = _lib.xdt_async_finish(self._owner.handle, ctypes.byref(view))
        if code == _AGAIN:
            raise BlockingIOError("the value is not here yet")
        self._owner.forget()
        _check(code)
        return View(self._client, view.value)


class Client:
    """A connection to the node's broker. socket: default $F3_XDT_SOCKET, else /run/f3/xdt.sock."""

    def __init__(self, socket=None):
        handle = ctypes.c_void_p()
        _check(_lib.xdt_open(os.fsencode(socket) if socket else None, ctypes.byref(handle)))
        self._xdt = handle.value
        self._finalizer = weakref.finalize(self, _lib.xdt_close, self._xdt)

    def alloc(self, size, *, timeout=10):
        """A Buffer of `size` bytes; waits for room."""
        handle = ctypes.c_void_p()
        _check(_lib.xdt_alloc(self._xdt, size, _milliseconds(timeout), ctypes.byref(handle)))
        return Buffer(self, handle.value, size)

    def put(self, value, *, lifetime=0, retrievals=1, action=None, timeout=10):
        """A reference to a copy of a bytes-like object.

        lifetime: seconds (0: the node's default). retrievals: how often it can be got (UNLIMITED:
        any number of times). action: the only action of the namespace that may get it.
        """
        memory = memoryview(value).cast("B")
        reference = ctypes.create_string_buffer(_REF_CHARS)
        options = _options(lifetime, retrievals, action)
        if memory.readonly:
            source = (ctypes.c_char_p(bytes(memory)) if not isinstance(value, bytes)
                      else ctypes.c_char_p(value))
            address = ctypes.cast(source, ctypes.c_void_p)
        else:
            source = (ctypes.c_ubyte * len(memory)).from_buffer(memory)
            address = ctypes.addressof(source)
        _check(_lib.xdt_put_bytes(self._xdt, address, len(memory), ctypes.byref(options),
                                  _milliseconds(timeout), reference))
        return reference.value.decode()

    def put_fd(self, fd, *, most=_TERA, lifetime=0, retrievals=1, action=None, timeout=10):
        """A reference to what a descriptor or file has from its position on."""
        fd = fd if isinstance(fd, int) else fd.fileno()
        reference = ctypes.create_string_buffer(_REF_CHARS)
        options = _options(lifetime, retrievals, action)
        _check(_lib.xdt_put_fd(self._xdt, fd, most, ctypes.byref(options), _milliseconds(timeout),
                               reference))
        return reference.value.decode()

    def _get(self, function, reference, timeout):
        view = ctypes.c_void_p()
        _check(function(self._xdt, reference.encode(), _milliseconds(timeout), ctypes.byref(view)))
        return View(self, view.value)

    def get(self, reference, timeout=10):
        """The View of a whole value."""
        return self._get(_lib.xdt_get, reference, timeout)

    def stream(self, reference, timeout=10):
        """A View that can be read from its first bytes on; see View.wait and View.chunks."""
        return self._get(_lib.xdt_get_stream, reference, timeout)

    def get_many(self, references, timeout=10):
        """Views of all, fetched at once; the first failure is raised, and then there are none."""
        count = len(references)
        texts = (ctypes.c_char_p * count)(*[r.encode() for r in references])
        views = (ctypes.c_void_p * count)()
        codes = (ctypes.c_int * count)()
        code = _lib.xdt_get_many(self._xdt, texts, count, _milliseconds(timeout),
                                 ctypes.cast(views, ctypes.POINTER(ctypes.c_void_p)), codes)
        made = [View(self, view) for view in views if view]
        _check(code)
        return made

    def get_async(self, reference, timeout=10):
        """An Async, for select, poll and event loops."""
        handle = ctypes.c_void_p()
        _check(_lib.xdt_get_async(self._xdt, reference.encode(), _milliseconds(timeout),
                                  ctypes.byref(handle)))
        return Async(self, handle.value)

    def delete(self, reference, timeout=10):
        """No retrieval any more."""
        _check(_lib.xdt_delete(self._xdt, reference.encode(), _milliseconds(timeout)))

    def stat(self, reference, timeout=10):
        """(bytes, retrievals left or UNLIMITED, seconds until it expires)."""
        info = _Info()
        _check(_lib.xdt_stat(self._xdt, reference.encode(), _milliseconds(timeout),
                             ctypes.byref(info)))
        left = info.retrievals_left
        return info.bytes, UNLIMITED if left == 2**64 - 1 else left, info.expires_in_ms / 1000


_default = None
_default_lock = threading.Lock()


def default_client():
    """The Client that the module's functions use; made at the first use."""
    global _default
    with _default_lock:
        if _default is None:
            _default = Client()
        return _default
