"""Control groups of either version: memory that is limited or measured, and processes frozen."""

import contextlib
import os
import pathlib

from harness import wait_until

TOP = pathlib.Path("/sys/fs/cgroup")
V1_MEMORY = TOP / "memory"
V1_FREEZER = TOP / "freezer"
# Version 2 is mounted beside version 1, or alone.
V2 = next((p for p in (TOP / "unified", TOP) if (p / "cgroup.controllers").exists()), None)


class _Group:
    """A group below `parent`; whoever is in it at the end must end, or go back where it was."""

    def __init__(self, parent, name):
        self.path = parent / f"f3-test-{os.getpid()}-{name}"
        self.path.mkdir()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()

    def add(self, pid):
        (self.path / "cgroup.procs").write_text(str(pid))

    def remove(self):
        wait_until(lambda: not (self.path / "cgroup.procs").read_text().strip(), timeout=60,
                   what="an empty cgroup")
        self.path.rmdir()


class MemoryCgroup(_Group):
    """Memory charged to its processes from when they were added; at most `limit` bytes of it."""

    def __init__(self, limit=None):
        super().__init__(V1_MEMORY if V1_MEMORY.is_dir() else TOP, f"memory-{limit}")
        if limit is not None:
            name = "memory.limit_in_bytes" if V1_MEMORY.is_dir() else "memory.max"
            (self.path / name).write_text(str(limit))

    def shared_bytes(self):
        """Of memory files, tmpfs and the like."""
        for line in (self.path / "memory.stat").read_text().splitlines():
            name, value = line.split()
            if name == "shmem":
                return int(value)
        raise AssertionError("this kernel does not say how much memory is shared")


def freezers():
    """The versions (1, 2) of cgroups whose freezer works here."""
    found = []
    for version, parent, file in ((1, V1_FREEZER, "freezer.state"), (2, V2, "cgroup.freeze")):
        with contextlib.suppress(OSError):
            if parent is None or not parent.is_dir():
                continue
            with _Group(parent, f"try-{version}") as group:
                if (group.path / file).exists():
                    found.append(version)
    return found


class Frozen(_Group):
    """A process that stands still until thaw(), which ends the group too."""

    def __init__(self, pid, version):
        self._parent = V1_FREEZER if version == 1 else V2
        super().__init__(self._parent, f"frozen-{pid}")
        self._version = version
        self._pid = pid
        lines = pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        self._home = next(path.lstrip("/") for _, controllers, path in
                          (line.split(":", 2) for line in lines)
                          if ("freezer" in controllers.split(",") if version == 1
                              else not controllers))
        try:
            self.add(pid)
            self._write("FROZEN" if version == 1 else "1")
        except BaseException:
            self.remove()
            raise

    def _write(self, value):
        name = "freezer.state" if self._version == 1 else "cgroup.freeze"
        (self.path / name).write_text(value)

    def thaw(self):
        self._write("THAWED" if self._version == 1 else "0")
        with contextlib.suppress(ProcessLookupError):
            (self._parent / self._home / "cgroup.procs").write_text(str(self._pid))
        self.remove()

    def __exit__(self, *_):
        self.thaw()
