"""Containers for the tests of f3 attach: of runc alone, and of a docker daemon of its own.

Each container belongs to its test, which ends it; a directory of images and bundles belongs to a Lab,
which checks at its end that no mount, process or directory of it is left.
"""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

from harness import alive, binary, mounts_under, run, wait_until

F3_RUNC = binary().parent / "f3-runc"
BUSYBOX = pathlib.Path("/bin/busybox")
APPLETS = "sh cat ls mkdir mount ln sleep touch rm echo dd id setsid stat true".split()
DOCKER = "/usr/bin/docker"
ONE_MOUNT = {"f3-mounts": [{}]}
# Of a container with its own user namespace.
FIRST_UID = 100000


def make_rootfs(directory, owner=0):
    """A root directory with busybox alone; owner: who it belongs to."""
    for name in ("bin", "proc", "dev", "sys", "tmp", "etc", "mnt", "run"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(BUSYBOX, directory / "bin" / "busybox")
    for name in APPLETS:
        (directory / "bin" / name).symlink_to("busybox")
    (directory / "tmp").chmod(0o1777)
    if owner:
        run("chown", "-R", f"{owner}:{owner}", directory)
    return directory


class Lab:
    """A directory for the bundles and the state of containers."""

    def __enter__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="f3lab-", dir="/var/tmp"))
        # A container with its own user namespace goes through it as somebody else than root.
        self.dir.chmod(0o755)
        self._count = 0
        return self

    def __exit__(self, *exception):
        left = mounts_under(self.dir)
        for point in reversed(left):
            subprocess.run(["umount", "-l", point], check=False)
        shutil.rmtree(self.dir, ignore_errors=True)
        assert not left or exception[0], f"left mounted: {left}"

    def name(self):
        self._count += 1
        return f"f3t-{os.getpid()}-{self._count}"


class RuncContainer:
    """A container that sleeps; `sandboxes` (a directory) puts f3-runc before runc."""

    def __init__(self, lab, sandboxes=None, name=None, user_namespace=False, read_only=False,
                 prepare=None):
        self.id = name or lab.name()
        self._root = lab.dir / "runc"
        self._bundle = lab.dir / self.id
        self._sandboxes = sandboxes
        self.rootfs = make_rootfs(self._bundle / "rootfs", FIRST_UID if user_namespace else 0)
        if prepare:
            prepare(self.rootfs)
        run("runc", "spec", cwd=self._bundle)
        config = json.loads((self._bundle / "config.json").read_text())
        config["process"].update(terminal=False, args=["sleep", "1000"])
        config["root"]["readonly"] = read_only
        config["linux"]["namespaces"] = [n for n in config["linux"]["namespaces"]
                                         if n["type"] != "network"]
        if user_namespace:
            mapping = [{"containerID": 0, "hostID": FIRST_UID, "size": 65536}]
            config["linux"]["namespaces"].append({"type": "user"})
            config["linux"].update(uidMappings=mapping, gidMappings=mapping)
            # What needs the host's network namespace, or its own.
            config["mounts"] = [m for m in config["mounts"] if m["destination"] != "/sys"]
        (self._bundle / "config.json").write_text(json.dumps(config))

    def runc(self, *words, check=True, timeout=30, program="runc", **kwargs):
        return run(program, "--root", self._root, *words, check=check, timeout=timeout, **kwargs)

    def start(self, check=True):
        words = ["run", "--detach", "--bundle", self._bundle, self.id]
        env = dict(os.environ)
        program = "runc"
        if self._sandboxes:
            program, env["F3_SANDBOXES"] = F3_RUNC, str(self._sandboxes)
        # Descriptors of the container are not those of a pipe that run() would wait for.
        with open(self._bundle / "out", "w+") as out:
            done = subprocess.run([str(w) for w in (program, "--root", self._root, *words)],
                                  stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env,
                                  timeout=60, check=False)
            out.seek(0)
            self.output = out.read()
        assert not check or done.returncode == 0, self.output
        return done.returncode

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exception):
        self.end()

    def end(self):
        self.runc("delete", "--force", self.id, check=False)
        shutil.rmtree(self._bundle, ignore_errors=True)

    def pid(self):
        return json.loads(self.runc("state", self.id).stdout)["pid"]

    def sh(self, command, check=True, user=None, timeout=30):
        """Runs a command in it; its output."""
        words = ["exec"] + (["--user", str(user)] if user else []) + [self.id, "sh", "-c", command]
        done = self.runc(*words, check=check, timeout=timeout)
        return done.stdout if check else done

    def pause(self):
        self.runc("pause", self.id)

    def resume(self):
        self.runc("resume", self.id)

    def path(self, inside):
        """A path in it, for processes of the host."""
        return pathlib.Path(f"/proc/{self.pid()}/root{inside}")


class Docker:
    """A docker daemon of its own, without network, with one image."""

    def __init__(self, lab, sandboxes):
        self._dir = lab.dir / "docker"
        self._dir.mkdir()
        self._socket = f"unix://{self._dir}/s"
        config = {"runtimes": {"f3": {"path": str(F3_RUNC),
                                      "runtimeArgs": [f"--f3-sandboxes={sandboxes}"]}}}
        (self._dir / "daemon.json").write_text(json.dumps(config))

    def __enter__(self):
        self._log = open(self._dir / "log", "w")
        self._daemon = subprocess.Popen(
            ["dockerd", "--config-file", self._dir / "daemon.json", "--data-root", self._dir / "d",
             "--exec-root", self._dir / "x", "--pidfile", self._dir / "pid", "-H", self._socket,
             "--iptables=false", "--bridge=none", "--storage-driver", "overlay2"],
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log, start_new_session=True)
        try:
            wait_until(lambda: self("version", check=False).returncode == 0, timeout=60,
                       what="a docker daemon", interval=0.2)
            rootfs = make_rootfs(self._dir / "rootfs")
            archive = self._dir / "image.tar"
            run("tar", "-C", rootfs, "-cf", archive, ".")
            self("import", archive, "f3/busybox:1", timeout=120)
        except BaseException:
            print((self._dir / "log").read_text()[-3000:])
            self.__exit__(None)
            raise
        return self

    def __call__(self, *words, check=True, timeout=60):
        return run(DOCKER, "-H", self._socket, *words, check=check, timeout=timeout)

    def __exit__(self, *exception):
        with contextlib.suppress(Exception):
            ids = self("ps", "-aq", check=False).stdout.split()
            if ids:
                self("rm", "-f", *ids, check=False)
        self._daemon.send_signal(signal.SIGTERM)
        try:
            self._daemon.wait(30)
        except subprocess.TimeoutExpired:
            self._daemon.kill()
            self._daemon.wait(30)
        self._log.close()
        # Its containerd is a child that ends with it, a moment later.
        pid = self._dir / "x" / "containerd" / "containerd.pid"
        with contextlib.suppress(OSError, ValueError):
            child = int(pid.read_text())
            wait_until(lambda: not alive(child), timeout=20, what="the end of containerd")
        for point in reversed(mounts_under(self._dir)):
            subprocess.run(["umount", "-l", point], check=False)

    def container(self, *words, runtime=None):
        options = ["--runtime", runtime] if runtime else []
        done = self("run", "-d", "--network", "none", *options, *words, "f3/busybox:1", "sleep",
                    "1000")
        return DockerContainer(self, done.stdout.strip())


class DockerContainer:

    def __init__(self, docker, identifier):
        self._docker = docker
        self.id = identifier

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.end()

    def end(self):
        self._docker("rm", "-f", self.id, check=False)

    def sh(self, command, check=True, user=None, timeout=30):
        words = (["--user", str(user)] if user else []) + [self.id, "sh", "-c", command]
        done = self._docker("exec", *words, check=check, timeout=timeout)
        return done.stdout if check else done

    def pause(self):
        self._docker("pause", self.id)

    def resume(self):
        self._docker("unpause", self.id)

    def pid(self):
        return int(self._docker("inspect", "-f", "{{.State.Pid}}", self.id).stdout)

    def path(self, inside):
        return pathlib.Path(f"/proc/{self.pid()}/root{inside}")


def fuse_mounts_in(pid):
    """Where a process sees F3 mounts."""
    lines = pathlib.Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    return [line.split()[4] for line in lines if " - fuse.f3 " in line]


def median_micros(work, count):
    """The median time of work()."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return sorted(times)[count // 2] * 1e6


def _varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def encode(fields):
    """A protobuf message: {field number: text, number, or list of texts}."""
    out = b""
    for number, value in fields.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, int):
                out += _varint(number << 3) + _varint(one)
            else:
                raw = one.encode()
                out += _varint(number << 3 | 2) + _varint(len(raw)) + raw
    return out


def decode(raw):
    """{field number: [values]}; texts and messages are bytes."""
    fields, at = {}, 0

    def varint():
        nonlocal at
        number = shift = 0
        while True:
            byte = raw[at]
            at += 1
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number
    while at < len(raw):
        key = varint()
        if key & 7 == 0:
            value = varint()
        else:
            assert key & 7 == 2, f"wire type {key & 7}"
            size = varint()
            value, at = raw[at:at + size], at + size
        fields.setdefault(key >> 3, []).append(value)
    return fields


class AgentError(Exception):
    """code is gRPC's."""

    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code = code


class AgentApi:
    """The agent's local API, by curl: what `f3 attach` has no words for."""

    def __init__(self, socket):
        self._socket = socket

    def __call__(self, method, fields):
        body = encode(fields)
        done = subprocess.run(
            ["curl", "--silent", "--show-error", "--http2-prior-knowledge", "--max-time", "40",
             "--unix-socket", str(self._socket), "--dump-header", "/dev/stderr",
             "--header", "content-type: application/grpc", "--header", "te: trailers",
             "--data-binary", "@-", f"http://localhost/f3.openwhisk.LocalAgent/{method}"],
            input=b"\0" + len(body).to_bytes(4, "big") + body, capture_output=True, timeout=60,
            check=False)
        head = dict(line.split(": ", 1) for line in done.stderr.decode().splitlines()
                    if ": " in line)
        if head.get("grpc-status") != "0":
            raise AgentError(int(head.get("grpc-status", -1)), head.get("grpc-message", done.stderr))
        return decode(done.stdout[5:])
