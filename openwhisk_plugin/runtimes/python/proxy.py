"""The Python runtime of F3's sandboxes: OpenWhisk's action protocol on port 8080.

POST /init {"value": {"name", "main", "code", "binary", "env"}}   once: the action's source text, or
    a zip file in base64 with __main__.py at its top
POST /run {"value": arguments, "activation_id", "deadline", ...}  calls main(arguments)

The action lives in this process and is called in its main thread. Every key of /run but "value" is
exported as __OW_KEY. After each activation a sentinel line ends standard output and standard error.
Connections stay open; one request is worked on at a time. Usage: proxy.py [PORT [DIRECTORY]]
"""

import json
import os
import selectors
import socket
import sys

SENTINEL = b"XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX\n"
MAX_HEAD = 64 << 10
MAX_BODY = 80 << 20  # a zip file of 50 MB in base64 is 67 MB
REASONS = {200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found",
           405: "Method Not Allowed", 411: "Length Required", 413: "Payload Too Large",
           502: "Bad Gateway"}


class Refused(Exception):
    """The request is answered with an error, which is no fault of the action."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status
        self.message = message


def print_exception(error):
    """The traceback on standard error, from the action's first frame on."""
    import traceback
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    traceback.print_exception(type(error), error, trace)


def unpack(archive, directory):
    """Extracts all, with the files' permissions. zipfile leaves ".." and absolute names out."""
    for entry in archive.infolist():
        path = archive.extract(entry, directory)
        mode = entry.external_attr >> 16 & 0o777
        if mode and not entry.is_dir():
            os.chmod(path, mode | 0o400)


def export(name, setting):
    """Sets an environment variable, as JSON unless it is a string."""
    try:
        os.environ[name] = setting if isinstance(setting, str) else json.dumps(setting)
    except ValueError:  # "=" in the name, a zero byte
        raise Refused(400, f"{name!r} cannot be an environment variable.") from None


def load_action(directory, code, binary, main):
    """The action's function. Raises what its module raises, or Refused."""
    os.makedirs(directory, exist_ok=True)
    if binary:
        import base64
        import io
        import zipfile
        with zipfile.ZipFile(io.BytesIO(base64.b64decode(code))) as archive:
            if "__main__.py" not in archive.namelist():
                raise Refused(502, "The zip file has no __main__.py at its top.")
            unpack(archive, directory)
        source = os.path.join(directory, "__main__.py")
    else:
        source = os.path.join(directory, "action.py")
        with open(source, "w", encoding="utf-8", errors="surrogatepass") as file:
            file.write(code)
    os.chdir(directory)
    # A package may bring its dependencies as OpenWhisk's images expect them.
    packages = os.path.join(directory, "virtualenv", "lib",
                            "python%d.%d" % sys.version_info[:2], "site-packages")
    sys.path[0:0] = [path for path in (directory, packages) if os.path.isdir(path)]

    import importlib.util
    spec = importlib.util.spec_from_file_location("action_main", source)
    module = importlib.util.module_from_spec(spec)
    sys.modules["action_main"] = module  # pickle and dataclasses look for it there
    spec.loader.exec_module(module)
    function = getattr(module, main, None)
    if not callable(function):
        raise Refused(502, f"The action has no function {main!r}.")
    return function


class Action:
    """The one action of this process."""

    def __init__(self, directory):
        self._directory = directory
        self._function = None
        self._initialized = False

    def init(self, body):
        """(status, answer) of /init."""
        if self._initialized:
            raise Refused(403, "Cannot initialize the action more than once.")
        value = body.get("value")
        if not isinstance(value, dict) or not isinstance(value.get("code"), str) \
                or not value["code"]:
            raise Refused(403, "Missing main/no code to execute.")
        main = value.get("main") or "main"
        for name, setting in (value.get("env") or {}).items():
            export(name, setting)
        self._initialized = True  # modules cannot be taken back: it stays so after a failure
        try:
            self._function = load_action(self._directory, value["code"], value.get("binary"), main)
        except Refused as refused:
            print(refused.message, file=sys.stderr)
            end_logs()
            raise
        except BaseException as error:  # pylint: disable=broad-except
            print_exception(error)
            end_logs()
            raise Refused(502, "The action could not be loaded. "
                               "Its logs have the details.") from None
        return 200, {"ok": True}

    def run(self, body):
        """(status, answer) of /run."""
        if self._function is None:
            raise Refused(403, "The action has not been initialized.")
        for name, setting in body.items():
            if name != "value":
                export("__OW_" + name.upper(), setting)
        try:
            return self._call(body.get("value") or {})
        finally:
            end_logs()

    def _call(self, arguments):
        try:
            result = self._function(arguments)
        except BaseException as error:  # pylint: disable=broad-except
            print_exception(error)
            return 200, {"error": str(error) or type(error).__name__}
        if not isinstance(result, dict):
            print(f"The action returned {type(result).__name__}.", file=sys.stderr)
            return 502, {"error": "The action did not return a dictionary."}
        try:
            return 200, encode(result)
        except (TypeError, ValueError, RecursionError) as error:
            print(f"The result cannot be written as JSON: {error}", file=sys.stderr)
            return 502, {"error": "The action did not return a dictionary."}


def encode(value):
    """JSON bytes; half characters, which Python strings can hold, are escaped."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False).encode()


def end_logs():
    """Flushes what the action printed and ends both streams."""
    for stream, fd in ((sys.stdout, 1), (sys.stderr, 2)):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass  # the action closed or replaced it
        try:
            os.write(fd, SENTINEL)
        except OSError:
            pass  # nobody reads it


class Connection:
    """One client's connection, read and written with blocking calls."""

    def __init__(self, sock):
        self.sock = sock
        self._ahead = b""  # bytes of the next request

    def read_request(self):
        """(method, path, headers, body), or None at the connection's end."""
        head = self._ahead
        while b"\r\n\r\n" not in head:
            if len(head) > MAX_HEAD:
                raise Refused(400, "The request's head is too long.")
            data = self.sock.recv(1 << 16)
            if not data:
                return None
            head += data
        head, _, rest = head.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        try:
            method, path, _ = lines[0].split(" ")
            headers = {name.strip().lower(): value.strip()
                       for name, value in (line.split(":", 1) for line in lines[1:])}
            length = int(headers.get("content-length", "0"))
        except ValueError:
            raise Refused(400, "The request is not HTTP.") from None
        if "transfer-encoding" in headers:
            raise Refused(411, "Requests need a Content-Length.")
        if not 0 <= length <= MAX_BODY:
            raise Refused(413, f"A request has at most {MAX_BODY} bytes.")
        if headers.get("expect", "").lower() == "100-continue":
            self.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        return method, path, headers, self._read_body(rest, length)

    def _read_body(self, begin, length):
        body = bytearray(length)
        have = min(len(begin), length)
        body[:have] = begin[:have]
        self._ahead = begin[have:]
        window = memoryview(body)
        while have < length:
            got = self.sock.recv_into(window[have:])
            if got == 0:
                raise ConnectionResetError
            have += got
        return body

    def answer(self, status, value, close=False):
        body = value if isinstance(value, bytes) else encode(value)
        head = (f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\nConnection: {'close' if close else 'keep-alive'}"
                "\r\n\r\n")
        self.sock.sendall(head.encode())
        self.sock.sendall(body)

    def has_more(self):
        return bool(self._ahead)


def handle(action, method, path, body):
    """(status, answer) of one request."""
    handlers = {"/init": action.init, "/run": action.run}
    if path not in handlers:
        raise Refused(404, "There are /init and /run.")
    if method != "POST":
        raise Refused(405, "Use POST.")
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"The request is no JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise Refused(400, "The request is no JSON object.")
    return handlers[path](parsed)


def serve_one(action, connection):
    """Answers one request. False when the connection is over."""
    try:
        request = connection.read_request()
        if request is None:
            return False
        method, path, headers, body = request
        close = headers.get("connection", "").lower() == "close"
        del request
        try:
            status, answer = handle(action, method, path, body)
        except Refused as refused:
            status, answer = refused.status, {"error": refused.message}
        del body
        connection.answer(status, answer, close)
        return not close
    except Refused as refused:  # what follows in the connection is unknown
        connection.answer(refused.status, {"error": refused.message}, close=True)
        return False


def serve(listener, action):
    """For ever. The action runs in the calling thread, where signal handlers may be set."""
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.data is None:
                sock, _ = listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(sock, selectors.EVENT_READ, Connection(sock))
                continue
            connection = key.data
            try:
                goes_on = serve_one(action, connection)
                while goes_on and connection.has_more():
                    goes_on = serve_one(action, connection)
            except OSError:
                goes_on = False
            if not goes_on:
                selector.unregister(connection.sock)
                connection.sock.close()


def main():
    """Listens, then serves for ever."""
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8080
    directory = sys.argv[2] if len(sys.argv) > 2 else "/action"
    del sys.argv[1:]
    sys.dont_write_bytecode = True  # the action is imported once
    with socket.create_server(("0.0.0.0", port), backlog=16) as listener:
        serve(listener, Action(directory))


if __name__ == "__main__":
    main()
