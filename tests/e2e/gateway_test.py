"""`f3 gateway` on `f3 up --nodes 3`, driven by the stock npm client of OpenWhisk, unmodified.

The suites are gateway/*.js. The client is installed into a cache directory outside the tree
(F3_NPM_CACHE, default /var/cache/f3-tests); the root file system of actions is made, once, by
scripts/make_rootfs.sh (F3_ROOTFS, default build/rootfs).
"""

import base64
import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import unittest
import urllib.error
import urllib.request

from harness import ROOT, Cluster, binary, run, wait_until

SUITES = pathlib.Path(__file__).resolve().parent / "gateway"


def npm_client():
    """The directory that `openwhisk` of gateway/package.json is installed in."""
    wanted = json.loads((SUITES / "package.json").read_text())["dependencies"]["openwhisk"]
    base = pathlib.Path(os.environ.get("F3_NPM_CACHE", "/var/cache/f3-tests"))
    there = base / f"openwhisk-{wanted}"
    if not (there / "installed").exists():
        there.mkdir(parents=True, exist_ok=True)
        shutil.copy(SUITES / "package.json", there)
        run("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", cwd=there, timeout=300)
        (there / "installed").touch()
    return there / "node_modules"


def rootfs():
    there = os.environ.get("F3_ROOTFS", str(ROOT / "build" / "rootfs"))
    run(ROOT / "scripts" / "make_rootfs.sh", there, timeout=900)
    return there


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Gateway:
    """`f3 gateway` for a cluster, with keys for the namespaces guest and other."""

    def __init__(self, cluster, *flags):
        self._cluster = cluster
        self._flags = [str(f) for f in flags]
        self._data = cluster.dir.parent / "gateway"
        self._keys = self._data / "keys"
        self.port = free_port()
        self.key = self.add("guest")
        self.other_key = self.add("other")
        self.process = None

    def add(self, name):
        return run(binary(), "gateway", "--auth", self._keys, "--add-namespace", name).stdout.strip()

    def __enter__(self):
        self._log = open(self._data / "log", "ab")
        self.start()
        return self

    def start(self):
        self.process = subprocess.Popen(
            [str(binary()), "gateway", "--dir", str(self._cluster.dir), "--data", str(self._data),
             "--auth", str(self._keys), "--listen", f"127.0.0.1:{self.port}", "--rootfs", rootfs(),
             *self._flags], stdout=self._log, stderr=self._log)
        wait_until(self._answers, timeout=30, what="an answer of the gateway")

    def _answers(self):
        assert self.process.poll() is None, self.log()
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ping", timeout=5)
        return None

    def __exit__(self, kind, value, trace):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=60)
        self._log.close()
        if kind is not None:
            print("---- gateway", *self.log().splitlines()[-40:], sep="\n")
            return
        left = self.containers()
        assert not left, f"containers left: {left}"

    def containers(self):
        """What is there of containers, beside the empty directory in which runc keeps its own."""
        there = set((self._data / "containers").iterdir())
        runc = self._data / "containers" / "runc"
        return there - {runc} | (set(runc.iterdir()) if runc.exists() else set())

    def log(self):
        return (self._data / "log").read_text(errors="replace")

    def node(self, suite, timeout=240):
        """Runs gateway/SUITE.js."""
        env = dict(os.environ, NODE_PATH=str(npm_client()), F3_KEY=self.key,
                   F3_OTHER_KEY=self.other_key, F3_GATEWAY=f"http://127.0.0.1:{self.port}")
        return run("node", SUITES / f"{suite}.js", env=env, timeout=timeout)

    def call(self, method, path, body=None):
        """(status, JSON) of a plain request as guest."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/v1/namespaces/_/{path}", method=method,
            data=None if body is None else json.dumps(body).encode())
        request.add_header("Authorization",
                           "Basic " + base64.b64encode(self.key.encode()).decode())
        try:
            with urllib.request.urlopen(request, timeout=90) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def put(self, name, code, kind="nodejs:18", **more):
        status, body = self.call("PUT", f"actions/{name}?overwrite=true",
                                 {"exec": {"kind": kind, "code": code}, **more})
        assert status == 200, body


class Client(unittest.TestCase):
    """The npm client's suites, each against a gateway of its own on one cluster."""

    @classmethod
    def setUpClass(cls):
        cls.stack = contextlib.ExitStack()
        cls.cluster = cls.stack.enter_context(Cluster(nodes=3))

    @classmethod
    def tearDownClass(cls):
        cls.stack.close()

    def run_suite(self, name):
        shutil.rmtree(self.cluster.dir.parent / "gateway", ignore_errors=True)
        with Gateway(self.cluster) as gateway:
            print(gateway.node(name).stdout)
            for i in range(1, 4):
                self.assertTrue(self.cluster.pid(f"n{i}"), f"n{i} has died")

    def test_actions(self):
        self.run_suite("actions")

    def test_invoke(self):
        self.run_suite("invoke")

    def test_packages(self):
        self.run_suite("packages")

    def test_activations(self):
        self.run_suite("activations")

    def test_files(self):
        self.run_suite("files")


class Life(unittest.TestCase):
    """What the client does not show: restarts, killed gateways, idle containers."""

    def test_killed_gateway_leaves_nothing_after_the_next_one(self):
        with Cluster(nodes=1) as c:
            sleep = "function main (a) { return new Promise(r => setTimeout(() => r({}), a.ms)) }"
            with Gateway(c) as gateway:
                gateway.put("sleep", sleep)
                self.assertEqual(gateway.call("POST", "actions/sleep?blocking=true", {"ms": 1})[0], 200)
                status, body = gateway.call("POST", "actions/sleep", {"ms": 50000})
                self.assertEqual(status, 202)
                before = wait_until(gateway.containers, what="a container")
                gateway.process.kill()
                gateway.process.wait()
                gateway.start()
                self.assertFalse(before & gateway.containers())
                status, record = gateway.call("GET", f"activations/{body['activationId']}")
                self.assertEqual((status, record["response"]["statusCode"]), (200, 3))
                self.assertEqual(gateway.call("POST", "actions/sleep?blocking=true", {"ms": 1})[0], 200)

    def test_idle_containers_are_paused_and_removed(self):
        with Cluster(nodes=1) as c, Gateway(c, "--pause-grace", "200ms", "--idle", "2s") as gateway:
            gateway.put("count", "let n = 0\nfunction main () { return { n: ++n } }")
            run_once = lambda: gateway.call("POST", "actions/count?blocking=true&result=true", {})[1]
            self.assertEqual(run_once()["n"], 1)
            self.assertTrue(gateway.containers())
            wait_until(lambda: not gateway.containers(), timeout=30, what="its removal")
            self.assertEqual(run_once()["n"], 1)


if __name__ == "__main__":
    unittest.main()
