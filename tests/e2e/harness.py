"""Clusters for end-to-end tests: real processes, real mounts, real network namespaces.

    with Cluster(nodes=3) as c:
        (c.n(1) / "a").write_text("x")
        assert (c.n(2) / "a").read_text() == "x"

A Cluster owns one temporary directory, drives it with the f3 binary alone, and at its end checks that
no process, mount, namespace, link or file of it is left. One Cluster is used by one thread at a time;
what it mounts may be used by any number of processes. Every wait has a deadline.

Environment: F3_BIN names the binary (default: build/release/bin/f3, else build/dev/bin/f3);
F3_KEEP=1 keeps the directory of a failed test for inspection; F3_E2E_DIR is where directories are made.
"""

import ast
import contextlib
import ctypes
import errno
import json
import os
import pathlib
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def binary():
    """The f3 binary under test."""
    if os.environ.get("F3_BIN"):
        path = pathlib.Path(os.environ["F3_BIN"]).resolve()
        # Else `f3 down` and processes_naming() would not find what they look for.
        assert path.name == "f3", f"F3_BIN={path} must be called f3"
        return path
    for preset in ("release", "dev", "asan"):
        path = ROOT / "build" / preset / "bin" / "f3"
        if path.exists():
            return path
    raise RuntimeError("no f3 binary; build one (cmake --build build/release) or set F3_BIN")


def run(*argv, timeout=60, check=True, **kwargs):
    """Runs a command, captures its output as text, and says all of it when it fails."""
    done = subprocess.run([str(a) for a in argv], text=True, capture_output=True, timeout=timeout,
                          **kwargs)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, argv))} failed with {done.returncode}\n"
                             f"stdout: {done.stdout}\nstderr: {done.stderr}")
    return done


RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2


def renameat2(old, new, flags):
    """rename with flags, which os does not have."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(-100, os.fsencode(old), -100, os.fsencode(new), flags) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def wait_until(condition, timeout=20, what="the condition", interval=0.05):
    """Calls condition() until it is true and returns its value; fails after timeout seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {timeout} s")
        time.sleep(interval)


def alive(pid):
    """Whether a process exists and is not a zombie."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rsplit(")", 1)[1].split()[0] not in "ZX"


def mounts_under(directory):
    """Mount points at or below directory, in mount order."""
    prefix = str(directory)
    found = []
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4].encode().decode("unicode_escape")
        if point == prefix or point.startswith(prefix + "/"):
            found.append(point)
    return found


def processes_naming(directory):
    """(pid, command line) of f3 processes with an argument at or below directory."""
    prefix = str(directory)
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            argv = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        words = [a.decode(errors="replace") for a in argv]
        if os.path.basename(words[0]) in ("f3", "iperf3", "ffmpeg") and any(
                w == prefix or w.startswith(prefix + "/") for w in words[1:]):
            found.append((int(entry.name), " ".join(words)))
    return found


class Cluster:
    """`f3 up` in a directory of its own; `f3 destroy` and a search for left-overs at the end."""

    def __init__(self, nodes=3, memory="64M", disk=None, netns=True, passthrough=True, delay=None,
                 start=True, extra=()):
        self.f3_binary = binary()
        self.nodes = nodes
        self._args = ["--nodes", nodes, "--memory", memory]
        if disk:
            self._args += ["--disk", disk]
        if not netns:
            self._args.append("--no-netns")
        if not passthrough:
            self._args.append("--no-passthrough")
        if delay:
            self._args += ["--delay", delay]
        self._args += list(extra)
        self._start = start
        self._outside = []
        self.dir = None

    def __enter__(self):
        base = os.environ.get("F3_E2E_DIR", "/var/tmp")
        self._base = pathlib.Path(tempfile.mkdtemp(prefix="f3e2e-", dir=base))
        self.dir = self._base / "c"
        if self._start:
            try:
                self.up()
            except BaseException:
                self._dump()
                self.f3("destroy", check=False)
                shutil.rmtree(self._base, ignore_errors=True)
                raise
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            self._dump()
        try:
            self.destroy()
        except AssertionError:
            if kind is None:
                raise
        finally:
            if not (kind is not None and os.environ.get("F3_KEEP")):
                shutil.rmtree(self._base, ignore_errors=True)

    # ---- running it ----

    def f3(self, *args, check=True, timeout=120, **kwargs):
        """Runs `f3 ARGS…` on this cluster; the first word is the subcommand."""
        env = dict(os.environ, F3_DIR=str(self.dir))
        return run(self.f3_binary, *args, timeout=timeout, check=check, env=env, **kwargs)

    def json(self, *args, **kwargs):
        """As f3(), with --json; the parsed output."""
        return json.loads(self.f3(*args, "--json", **kwargs).stdout)

    def doctor_problems(self, in_containers=False):
        """What `f3 doctor` says is wrong: not what the daemons and mounts of other tests' clusters on
        this machine have, nor the disk. It does not say whose a mount in a container is."""
        def foreign(finding):
            if in_containers and "in the container" in finding["found"]:
                return False
            return (finding["what"] in ("left-over daemons", "left-over mount") and
                    str(self.dir) not in finding["found"])
        return [f for f in self.json("doctor", check=False)
                if f["grade"] == "problem" and f["what"] != "disk space" and not foreign(f)]

    def up(self, *args, check=True):
        done = self.f3("up", *self._args, *args, check=check)
        if done.returncode == 0:
            # Looked up now: destroy removes the file that names them.
            for node in self.config()["node"]:
                for key in ("netns", "link"):
                    if node.get(key):
                        self._outside.append((key, node[key]))
            if self.config().get("bridge"):
                self._outside.append(("link", self.config()["bridge"]))
        return done

    def down(self, check=True):
        return self.f3("down", check=check)

    def destroy(self):
        """`f3 destroy`, then asserts that nothing of the cluster is left."""
        if self.dir is None:
            return
        self.f3("destroy")
        self.assert_nothing_left()
        self.dir = None

    def assert_nothing_left(self):
        wait_until(lambda: not processes_naming(self.dir), timeout=10,
                   what=f"the end of {processes_naming(self.dir)}")
        assert not mounts_under(self.dir), f"left mounted: {mounts_under(self.dir)}"
        for kind, name in self._outside:
            if kind == "netns":
                assert name not in run("ip", "netns", "list").stdout.split(), f"left: netns {name}"
            else:
                assert not os.path.exists(f"/sys/class/net/{name}"), f"left: link {name}"
        assert not self.dir.exists(), f"left: {list(self.dir.rglob('*'))[:10]}"

    # ---- what it is made of ----

    def config(self):
        """DIR/run/cluster.toml as a dictionary."""
        return tomllib.loads((self.dir / "run" / "cluster.toml").read_text())

    def n(self, i):
        """The mount of node i (from 1)."""
        return self.dir / f"n{i}"

    def node(self, i):
        """Node i's table in cluster.toml: name, address, netns, link."""
        return self.config()["node"][i - 1]

    def durable(self):
        """The durable store's directory."""
        return self.dir / "durable"

    def tier(self, i, kind="disk"):
        """The directory of a tier of node i."""
        state = self.dir / "state" / f"n{i}"
        return state / "memory" if kind == "memory" else state

    def pid(self, name):
        """Process id of "meta", "n1" … or "supervise"; None when it is not running."""
        try:
            pid = int((self.dir / "run" / f"{name}.pid").read_text().split()[0])
        except (OSError, IndexError, ValueError):
            return None
        return pid if alive(pid) else None

    def log(self, name):
        """What "meta", "n1" … or "supervise" has logged so far."""
        try:
            return (self.dir / "run" / f"{name}.log").read_text(errors="replace")
        except OSError:
            return ""

    def status(self, timeout=30):
        return self.json("status", timeout=timeout)

    def stat(self, path):
        """`f3 stat --json` of a path in a mount."""
        return self.json("stat", path)

    def damage(self):
        """What `f3 fsck` finds, but for blocks that only wait for their removal."""
        problems = json.loads(self.f3("fsck", "--json", check=False).stdout)["problems"]
        return [p for p in problems if "leaked" not in p]

    # ---- harming it ----

    def kill(self, name, sig=signal.SIGKILL, wait=True):
        """Sends sig to "meta", "n1" … or "supervise" and, by default, waits for its end."""
        pid = self.pid(name)
        assert pid, f"{name} is not running"
        os.kill(pid, sig)
        if wait and sig in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            wait_until(lambda: not alive(pid), timeout=60, what=f"the end of {name} ({pid})")
        return pid

    def stop_node(self, i):
        """Stops node i's agent and keeps it stopped (the supervisor does not restart it)."""
        self.f3("node", "stop", f"n{i}")

    def start_node(self, i):
        """Starts what stop_node stopped and waits until its mount is usable."""
        self.f3("node", "start", f"n{i}")
        self.wait_healthy()

    def link(self, i, up):
        """Cuts (up=False) or restores node i's network link. Needs network namespaces."""
        link = self.node(i).get("link")
        assert link, "this cluster has no network namespaces, hence no links to cut"
        run("ip", "link", "set", link, "up" if up else "down")

    def wait_healthy(self, timeout=60):
        """Returns once metadata server and every node answer and every mount is usable."""
        def healthy():
            done = self.f3("status", "--json", check=False, timeout=30)
            if done.returncode != 0:
                return False
            status = json.loads(done.stdout)
            return status["healthy"] and all(usable(self.n(i)) for i in range(1, self.nodes + 1))
        wait_until(healthy, timeout=timeout, what="a healthy cluster", interval=0.1)

    def _dump(self):
        for path in sorted((self.dir / "run").glob("*.log")) if self.dir else []:
            lines = path.read_text(errors="replace").splitlines()[-30:]
            print(f"---- {path.name}", *lines, sep="\n")


def usable(mount):
    """Whether a directory is a live F3 mount. Never blocks for long: asks through a child."""
    if str(mount) not in mounts_under(mount):
        return False
    try:
        return subprocess.run(["stat", "-f", str(mount)], capture_output=True,
                              timeout=10).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def set_xattr(path, name, value):
    os.setxattr(path, f"user.f3.{name}", value.encode())


def get_xattr(path, name):
    """The value of user.f3.NAME, or None when it is not set."""
    try:
        return os.getxattr(path, f"user.f3.{name}").decode()
    except OSError as error:
        if error.errno == errno.ENODATA:
            return None
        raise


def make_ephemeral_dir(path, **attributes):
    """Makes a directory whose new files are ephemeral; attributes: tier, follow, ttl."""
    os.mkdir(path)
    set_xattr(path, "class", "ephemeral")
    for name, value in attributes.items():
        set_xattr(path, name, str(value))
    return pathlib.Path(path)


def ask(control, **request):
    """One request to a daemon's control socket; the reply."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(10)
        s.connect(str(control))
        s.sendall(json.dumps(request).encode() + b"\n")
        return json.loads(s.makefile().readline())


class ExtraNode:
    """A node agent beside those of a cluster, on the host itself, with one mount of its own.

    options are those of `f3 mount -o` for the mount; source is VOLUME or VOLUME/SUBTREE. second, a
    source too, is mounted at self.second by the same agent; settings are words for `f3 node`.
    """

    def __init__(self, cluster, options="", source="default", secret=None, second=None,
                 settings=()):
        self._base = pathlib.Path(tempfile.mkdtemp(prefix="extra-", dir=cluster.dir.parent))
        self.point = self._base / "mount"
        self.point.mkdir()
        config = cluster.config()
        self._argv = [cluster.f3_binary, "node", "--name", self._base.name,
                      "--metadata", config["metadata"], "--bind", config["metadata"].split(":")[0],
                      "--secret", secret or cluster.dir / "run" / "secret",
                      "--durable", cluster.durable(), "--state", self._base / "state",
                      "--control", self._base / "sock", "--log", self._base / "log",
                      "--mount", ":".join(filter(None, [source, str(self.point), options])),
                      *settings]
        self.control = self._base / "sock"
        if second is not None:
            self.second = self._base / "second"
            self.second.mkdir()
            self._argv += ["--mount", f"{second}:{self.second}"]
        self.process = None

    def start(self):
        self.process = subprocess.Popen([str(a) for a in self._argv], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        start_new_session=True)

    def log(self):
        path = self._base / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def __enter__(self):
        self.start()
        try:
            wait_until(lambda: usable(self.point) or self.process.poll() is not None,
                       what="an extra mount")
            assert self.process.poll() is None, self.log()[-2000:]
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exception):
        self.stop()

    def stop(self):
        """Ends it, and what it mounted, however it is."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(20)
        for point in mounts_under(self._base):
            run("umount", "-l", point)
        shutil.rmtree(self._base)


class Worker:
    """A process, in a session of its own, that runs Python one piece at a time and keeps its state.

    do() runs a piece and returns the value of the expression that it is (None for statements);
    start() and result() do that in two steps. An OSError is raised here as it was there.
    """

    LOOP = """if True:
        import ast, ctypes, errno, fcntl, mmap, os, signal, socket, stat, struct, subprocess, sys, time
        everything = globals()
        for line in sys.stdin:
            code = ast.literal_eval(line)
            try:
                try:
                    code = compile(code, "<piece>", "eval")
                except SyntaxError:
                    exec(code, everything)
                    answer = ("value", None)
                else:
                    value = eval(code, everything)
                    plain = isinstance(value, (bool, int, float, str, bytes, tuple, list, dict))
                    answer = ("value", value if plain else None)
            except OSError as error:
                answer = (("errno", (error.errno, str(error))) if error.errno else
                          ("failure", repr(error)))
            except Exception as error:
                answer = ("failure", repr(error))
            print(repr(answer), flush=True)
    """

    def __init__(self):
        self._process = subprocess.Popen([sys.executable, "-B", "-c", self.LOOP],
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         start_new_session=True)
        self.pid = self._process.pid

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.kill()

    def start(self, code):
        self._process.stdin.write(repr(code).encode() + b"\n")
        self._process.stdin.flush()

    def answered(self, within=0.3):
        """Whether the piece under way ends within so many seconds."""
        return bool(select.select([self._process.stdout], [], [], within)[0])

    def result(self, timeout=30):
        if not self.answered(timeout):
            raise AssertionError(f"a worker did not answer within {timeout} s")
        line = self._process.stdout.readline().decode()
        if not line:
            raise AssertionError("a worker died")
        kind, value = ast.literal_eval(line)
        if kind == "errno":
            raise OSError(*value)
        if kind == "failure":
            raise AssertionError(f"in a worker: {value}")
        return value

    def do(self, code, timeout=30):
        self.start(code)
        return self.result(timeout)

    def kill(self, sig=signal.SIGKILL):
        """Kills it; what hangs in a mount that cannot be killed is left to the mount's end."""
        self._process.send_signal(sig)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        self._process.stdin.close()
        self._process.stdout.close()


class ClusterTest(unittest.TestCase):
    """Tests that share one cluster; each has a durable and an ephemeral directory of its own."""

    TIME_LIMIT = 90  # of one test, seconds

    @classmethod
    def make_cluster(cls):
        return Cluster(nodes=3)

    @classmethod
    def setUpClass(cls):
        cls.c = cls.make_cluster()
        cls.c.__enter__()
        cls.addClassCleanup(cls.c.__exit__, None, None, None)

    def setUp(self):
        # A call that hangs in a mount ends when the mount's agent does.
        timer = threading.Timer(self.TIME_LIMIT, self._end_mounts)
        timer.start()
        self.addCleanup(timer.cancel)
        self._name = self.id().split(".")[-1].removeprefix("test_")
        for kind in ("durable", "ephemeral"):
            os.makedirs(self.path(1, kind))
        set_xattr(self.path(1, "ephemeral"), "class", "ephemeral")

    def _end_mounts(self):
        print("a test takes too long; its mounts are ended", file=sys.stderr)
        for i in range(1, self.c.nodes + 1):
            if self.c.pid(f"n{i}"):
                self.c.kill(f"n{i}", wait=False)

    def path(self, node, *names):
        """A path in this test's directory, as node sees it."""
        return self.c.n(node).joinpath(self._name, *names)

    def workers(self, count):
        """Workers that end with the test."""
        return [self.enterContext(Worker()) for _ in range(count)]

    def fd(self, path, flags=os.O_RDONLY, mode=0o644):
        """A descriptor that is closed at the end of the test, at the latest."""
        fd = os.open(path, flags, mode)

        def close():
            with contextlib.suppress(OSError):
                os.close(fd)
        self.addCleanup(close)
        return fd

    @contextlib.contextmanager
    def fails(self, *codes):
        """Expects an OSError with one of these codes."""
        with self.assertRaises(OSError) as caught:
            yield
        self.assertIn(errno.errorcode.get(caught.exception.errno),
                      [errno.errorcode[code] for code in codes])


KINDS = ("durable", "ephemeral")
