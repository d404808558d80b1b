"""The action protocol of both runtimes, each run as a process of its own, without a sandbox."""

import base64
import http.client
import io
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import unittest
import zipfile

RUNTIMES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "openwhisk_plugin",
                        "runtimes")
SENTINEL = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX"
WAIT_S = 60  # a slow, busy machine


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def zip_of(files, **attributes):
    """base64 of a zip; attributes: NAME with dots as underscores → external attributes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3
            info.external_attr = attributes.get(name.replace(".", "_"), 0o100644) << 16
            archive.writestr(info, content)
    return base64.b64encode(out.getvalue()).decode()


class Runtime:
    """One runtime process and a connection to it."""

    def __init__(self, command):
        self.directory = tempfile.mkdtemp(prefix="f3-runtime-")
        self.port = free_port()
        self.streams = {"out": "", "err": ""}
        self.process = subprocess.Popen(
            command + [str(self.port), os.path.join(self.directory, "action")],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._changed = threading.Condition()
        self._readers = [threading.Thread(target=self._read, args=(name, pipe)) for name, pipe in
                         (("out", self.process.stdout), ("err", self.process.stderr))]
        for reader in self._readers:
            reader.start()
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        self._connect()

    def _connect(self):
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                self.connection.connect()
                return
            except ConnectionRefusedError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.01)  # nothing tells when a port is listened to

    def _read(self, name, pipe):
        for line in pipe:
            with self._changed:
                self.streams[name] += line.decode(errors="replace")
                self._changed.notify_all()
        pipe.close()

    def logs(self, activations=1):
        """(stdout, stderr) once so many activations have ended; the sentinels left out."""
        def ended():
            return all(text.count(SENTINEL + "\n") >= activations
                       for text in self.streams.values())
        with self._changed:
            if not self._changed.wait_for(ended, WAIT_S):
                raise AssertionError(f"no {activations} sentinels in {self.streams}")
            return tuple(self.streams[name].replace(SENTINEL + "\n", "")
                         for name in ("out", "err"))

    def post(self, path, body):
        """(status, answer)."""
        data = body if isinstance(body, (bytes, str)) else json.dumps(body)
        self.connection.request("POST", path, data, {"Content-Type": "application/json"})
        response = self.connection.getresponse()
        return response.status, json.loads(response.read())

    def init(self, code, **more):
        return self.post("/init", {"value": {"name": "a", "main": "main", "code": code,
                                             "binary": False, **more}})

    def run(self, value=None, **more):
        return self.post("/run", {"value": value or {}, **more})

    def close(self):
        self.connection.close()
        self.process.kill()
        self.process.wait()
        for reader in self._readers:
            reader.join()
        shutil.rmtree(self.directory)


class Protocol:
    """What both runtimes do alike. Subclasses have COMMAND and the actions' source texts."""

    def setUp(self):
        self.runtime = Runtime(self.COMMAND)
        self.addCleanup(self.runtime.close)

    def start(self, code, **more):
        status, answer = self.runtime.init(code, **more)
        self.assertEqual(status, 200, (answer, self.runtime.streams))

    def test_runs_again_and_again_on_one_connection(self):
        self.start(self.COUNT)
        local = self.runtime.connection.sock.getsockname()
        for i in range(1, 4):
            self.assertEqual(self.runtime.run({"name": "Ada"}),
                             (200, {"name": "Ada", "count": i}))
        self.assertEqual(self.runtime.connection.sock.getsockname(), local)

    def test_a_second_init_is_refused(self):
        self.start(self.COUNT)
        status, answer = self.runtime.init(self.COUNT)
        self.assertEqual((status, answer),
                         (403, {"error": "Cannot initialize the action more than once."}))
        self.assertEqual(self.runtime.run()[0], 200)

    def test_run_before_init_is_refused(self):
        status, answer = self.runtime.run()
        self.assertEqual(status, 403)
        self.assertIn("error", answer)

    def test_init_without_code_is_refused_and_can_be_repeated(self):
        self.assertEqual(self.runtime.init(""),
                         (403, {"error": "Missing main/no code to execute."}))
        self.assertEqual(self.runtime.post("/init", {})[0], 403)
        self.start(self.COUNT)

    def test_code_that_does_not_compile(self):
        status, answer = self.runtime.init("this is ( no program")
        self.assertEqual(status, 502)
        self.assertIn("error", answer)
        self.assertIn("SyntaxError", self.runtime.logs()[1])
        self.assertEqual(self.runtime.run()[0], 403)

    def test_code_that_fails_when_it_is_loaded(self):
        status, _ = self.runtime.init(self.FAILS_AT_LOAD)
        self.assertEqual(status, 502)
        self.assertIn("no such luck", self.runtime.logs()[1])

    def test_a_function_that_is_not_there(self):
        status, _ = self.runtime.init(self.COUNT, main="other")
        self.assertEqual(status, 502)
        self.assertIn("other", self.runtime.logs()[1])

    def test_another_function(self):
        self.start(self.TWO_FUNCTIONS, main="second")
        self.assertEqual(self.runtime.run(), (200, {"function": "second"}))

    def test_environment_of_init_and_of_each_run(self):
        self.start(self.ENVIRONMENT, env={"TEXT": "käse", "NUMBER": 5, "OBJECT": {"a": [1]}})
        status, answer = self.runtime.run(activation_id="a1", deadline="1700000000000",
                                          action_name="/ns/act", namespace="ns",
                                          transaction_id="t1")
        self.assertEqual(status, 200)
        self.assertEqual(json.loads(answer.pop("OBJECT")), {"a": [1]})
        self.assertEqual(answer, {"TEXT": "käse", "NUMBER": "5", "__OW_ACTIVATION_ID": "a1",
                                  "__OW_DEADLINE": "1700000000000", "__OW_ACTION_NAME": "/ns/act",
                                  "__OW_NAMESPACE": "ns"})
        self.assertEqual(self.runtime.run(activation_id="a2")[1]["__OW_ACTIVATION_ID"], "a2")

    def test_logs_end_with_a_sentinel_on_both_streams(self):
        self.start(self.PRINTS)
        for i in range(1, 3):
            self.runtime.run({"n": i})
            self.assertEqual(self.runtime.logs(i),
                             ("".join(f"out {k}\n" for k in range(1, i + 1)),
                              "".join(f"err {k}\n" for k in range(1, i + 1))))

    def test_what_is_no_dictionary(self):
        self.start(self.RETURNS_ARGUMENT)
        for value in ("text", 5, [1], None):
            status, answer = self.runtime.run({"return": value})
            self.assertEqual((status, answer),
                             (502, {"error": "The action did not return a dictionary."}), value)
        self.assertEqual(self.runtime.run({"return": {"a": 1}}), (200, {"a": 1}))

    def test_unicode(self):
        self.start(self.RETURNS_ARGUMENT)
        value = {"schlüssel": "日本語 \U0001f600 \u2028 \x00 \" \\"}
        self.assertEqual(self.runtime.run({"return": value}), (200, value))
        status, answer = self.runtime.post("/run", '{"value": {"return": {"half": "\\ud800"}}}')
        self.assertEqual(status, 200)
        self.assertIn(answer["half"], ("\ud800", "\ufffd"))

    def test_large_arguments_and_results(self):
        self.start(self.RETURNS_ARGUMENT)
        size = (50 if os.environ.get("F3_FULL") else 8) << 20
        value = {"x": "x" * size}
        status, answer = self.runtime.run({"return": value})
        self.assertEqual(status, 200)
        self.assertEqual(len(answer["x"]), size)

    def test_a_body_that_is_too_large(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.runtime.port, timeout=WAIT_S)
        self.addCleanup(connection.close)
        connection.putrequest("POST", "/run")
        connection.putheader("Content-Length", str(100 << 20))
        connection.endheaders()
        if self.READS_ALL:  # Node.js answers when it has come
            for _ in range(100):
                connection.send(b" " * (1 << 20))
        self.assertEqual(connection.getresponse().status, 413)

    def test_requests_that_are_none(self):
        for path, body, status in (("/run", "{", 400), ("/run", "[]", 400), ("/run", "", 400),
                                   ("/init", "7", 400), ("/other", "{}", 404)):
            self.assertEqual(self.runtime.post(path, body)[0], status, (path, body))
        self.runtime.connection.request("GET", "/run")
        response = self.runtime.connection.getresponse()
        response.read()
        self.assertEqual(response.status, 405)
        with socket.create_connection(("127.0.0.1", self.runtime.port), WAIT_S) as sock:
            sock.sendall(b"no http\r\n\r\n")
            self.assertIn(b"400", sock.recv(1000))
        self.start(self.COUNT)  # it still works

    def test_a_client_that_goes_away(self):
        self.start(self.COUNT)
        for part in (b"", b"POST /run HT", b"POST /run HTTP/1.1\r\nContent-Length: 10\r\n\r\n{"):
            with socket.create_connection(("127.0.0.1", self.runtime.port), WAIT_S) as sock:
                sock.sendall(part)
        self.assertEqual(self.runtime.run({"name": "Ada"})[1]["count"], 1)

    def test_a_zip_file(self):
        self.start(zip_of(self.ZIP), binary=True)
        self.assertEqual(self.runtime.run(), (200, {"helper": "helped", "data": "from the zip"}))

    def test_permissions_of_a_zip_file(self):
        files = {**self.ZIP, "tool.sh": "#!/bin/sh\necho tool\n"}
        self.start(zip_of(files, tool_sh=0o100755), binary=True)
        tool = os.path.join(self.runtime.directory, "action", "tool.sh")
        self.assertEqual(subprocess.check_output([tool]), b"tool\n")

    def test_a_zip_file_without_an_entry_point(self):
        self.assertEqual(self.runtime.init(zip_of({"readme.txt": "x"}), binary=True)[0], 502)
        self.runtime.logs()

    def test_what_is_no_zip_file(self):
        for code in ("AAAA", base64.b64encode(b"PK\x05\x06" + b"\xff" * 18).decode()):
            runtime = Runtime(self.COMMAND)
            self.addCleanup(runtime.close)
            self.assertEqual(runtime.init(code, binary=True)[0], 502)
            runtime.logs()

    def test_zip_entries_do_not_leave_their_directory(self):
        files = {**self.ZIP, "../outside.txt": "x"}
        self.runtime.init(zip_of(files), binary=True)
        self.assertEqual(os.listdir(self.runtime.directory), ["action"])

    def test_an_action_that_exits_takes_the_process_with_it_or_fails(self):
        self.start(self.EXITS)
        try:
            status, answer = self.runtime.run()
            self.assertEqual(status, 200)  # Python: SystemExit is an exception
            self.assertIn("error", answer)
        except (http.client.RemoteDisconnected, ConnectionResetError):
            self.assertEqual(self.runtime.process.wait(WAIT_S), 3)


class PythonTest(Protocol, unittest.TestCase):
    COMMAND = ["/usr/bin/python3", os.path.join(RUNTIMES, "python", "proxy.py")]
    COUNT = ("count = 0\ndef main(args):\n    global count\n    count += 1\n"
             "    return {'name': args.get('name'), 'count': count}\n")
    FAILS_AT_LOAD = "raise ValueError('no such luck')\n"
    TWO_FUNCTIONS = ("def main(args):\n    return {'function': 'main'}\n"
                     "def second(args):\n    return {'function': 'second'}\n")
    ENVIRONMENT = ("import os\nNAMES = ('TEXT', 'NUMBER', 'OBJECT', '__OW_ACTIVATION_ID',"
                   " '__OW_DEADLINE', '__OW_ACTION_NAME', '__OW_NAMESPACE')\n"
                   "def main(args):\n    return {n: os.environ[n] for n in NAMES}\n")
    PRINTS = ("import sys\ndef main(args):\n    print('out', args['n'])\n"
              "    print('err', args['n'], file=sys.stderr)\n    return {}\n")
    RETURNS_ARGUMENT = "def main(args):\n    return args['return']\n"
    READS_ALL = False
    ZIP = {"__main__.py": "import helper\ndef main(args):\n"
                          "    return {'helper': helper.help(), 'data': open('data.txt').read()}\n",
           "helper.py": "def help():\n    return 'helped'\n", "data.txt": "from the zip"}
    EXITS = "import sys\ndef main(args):\n    sys.exit(3)\n"

    def test_exceptions_are_the_actions_error_and_in_its_logs(self):
        self.start("def main(args):\n    return {'x': 1 / args['by']}\n")
        self.assertEqual(self.runtime.run({"by": 0}), (200, {"error": "division by zero"}))
        error = self.runtime.logs()[1]
        self.assertIn("ZeroDivisionError", error)
        self.assertIn("action.py\", line 2", error)
        self.assertNotIn("proxy.py", error)
        self.assertEqual(self.runtime.run({"by": 1}), (200, {"x": 1.0}))

    def test_results_that_json_does_not_know(self):
        self.start("def main(args):\n    return {'a': {1, 2}, 'b': float('nan')}\n")
        self.assertEqual(self.runtime.run()[0], 502)

    def test_actions_run_in_the_main_thread(self):
        self.start("import signal\ndef main(args):\n"
                   "    signal.signal(signal.SIGUSR1, signal.SIG_IGN)\n    return {'ok': True}\n")
        self.assertEqual(self.runtime.run(), (200, {"ok": True}))

    def test_a_closed_standard_output(self):
        self.start("import sys\ndef main(args):\n    sys.stdout.close()\n    return {}\n")
        self.assertEqual(self.runtime.run()[0], 200)

    def test_an_environment_that_cannot_be(self):
        self.assertEqual(self.runtime.init(self.COUNT, env={"a=b": "c"})[0], 400)


class NodeTest(Protocol, unittest.TestCase):
    COMMAND = [shutil.which("node") or "node", os.path.join(RUNTIMES, "node", "proxy.js")]
    COUNT = ("let count = 0;\nfunction main(args) {\n"
             "  return { name: args.name, count: ++count };\n}\n")
    FAILS_AT_LOAD = "throw new Error('no such luck');\n"
    TWO_FUNCTIONS = ("const main = () => ({ function: 'main' });\n"
                     "const second = () => ({ function: 'second' });\n")
    ENVIRONMENT = ("const names = ['TEXT', 'NUMBER', 'OBJECT', '__OW_ACTIVATION_ID',"
                   " '__OW_DEADLINE', '__OW_ACTION_NAME', '__OW_NAMESPACE'];\n"
                   "exports.main = () => Object.fromEntries("
                   "names.map((n) => [n, process.env[n]]));\n")
    PRINTS = ("function main({ n }) {\n  console.log('out', n);\n  console.error('err', n);\n"
              "  return {};\n}\n")
    RETURNS_ARGUMENT = "const main = (args) => args.return;"
    READS_ALL = True
    ZIP = {"package.json": '{"name": "a", "main": "start.js"}',
           "start.js": "const fs = require('fs');\nconst helper = require('./lib/helper');\n"
                       "exports.main = () => ({ helper: helper(), "
                       "data: fs.readFileSync('data.txt', 'utf8') });\n",
           "lib/helper.js": "module.exports = () => 'helped';\n", "data.txt": "from the zip"}
    EXITS = "function main() { process.exit(3); }"

    def test_promises(self):
        self.start("const main = (args) => new Promise((resolve) => "
                   "setImmediate(resolve, { late: args.x }));")
        self.assertEqual(self.runtime.run({"x": 1}), (200, {"late": 1}))

    def test_rejected_promises_are_the_actions_error(self):
        self.start("async function main({ how }) {\n  if (how === 'throw') throw new Error('x1');\n"
                   "  return Promise.reject(how === 'nothing' ? undefined : { code: 7 });\n}")
        status, answer = self.runtime.run({"how": "throw"})
        self.assertEqual((status, answer["error"]["message"]), (200, "x1"))
        self.assertEqual(self.runtime.run({"how": "value"}), (200, {"error": {"code": 7}}))
        self.assertEqual(self.runtime.run({"how": "nothing"}), (200, {"error": {}}))
        self.assertIn("x1", self.runtime.logs(3)[1])

    def test_exceptions_are_failures_of_the_action(self):
        self.start("function main(args) { if (args.fail) throw new TypeError('no'); return {}; }")
        self.assertEqual(self.runtime.run({"fail": 1}),
                         (502, {"error": "An error has occurred: TypeError: no"}))
        self.assertIn("action.js:1", self.runtime.logs()[1])
        self.assertEqual(self.runtime.run(), (200, {}))

    def test_nothing_is_an_empty_dictionary(self):
        self.start("function main() {}")
        self.assertEqual(self.runtime.run(), (200, {}))

    def test_functions_of_objects_and_of_exports(self):
        self.start("exports.handlers = { first: () => ({ a: 1 }) };", main="handlers.first")
        self.assertEqual(self.runtime.run(), (200, {"a": 1}))

    def test_names_that_are_code(self):
        status, _ = self.runtime.init("", main="x")
        self.assertEqual(status, 403)
        self.assertEqual(self.runtime.init("1;", main="process.exit(0)")[0], 502)
        self.assertIsNone(self.runtime.process.poll())

    def test_a_module_of_the_new_kind(self):
        files = {"package.json": '{"type": "module", "main": "index.js"}',
                 "index.js": "export function main() { return { esm: true }; }\n"}
        self.start(zip_of(files), binary=True)
        self.assertEqual(self.runtime.run(), (200, {"esm": True}))

    def test_links_of_a_zip_file(self):
        files = {**self.ZIP, "good": "data.txt"}
        self.start(zip_of(files, good=0o120777), binary=True)
        self.assertEqual(os.readlink(os.path.join(self.runtime.directory, "action", "good")),
                         "data.txt")

    def test_links_out_of_a_zip_file(self):
        files = {**self.ZIP, "bad": "../../etc/passwd"}
        self.assertEqual(self.runtime.init(zip_of(files, bad=0o120777), binary=True)[0], 502)


if __name__ == "__main__":
    unittest.main()
