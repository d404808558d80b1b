#!/usr/bin/python3
"""Where processor time goes while a workload of `f3 bench` runs: samples the whole machine by perf and
prints each part's share. What the workload compares with (Redis, iperf3, ...) and idle time are left out.

    apt-get install linux-perf
    f3 up --dir DIR --nodes 3 && scripts/profile_cpu.py WORKLOAD --dir DIR [OPTIONS OF f3 bench]

As root, with the release build. For example: meta; pull; xdt --bytes 1048576."""

import collections
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
F3 = ROOT / "build/release/bin/f3"
PEERS = re.compile(r"swapper|redis|iperf3|perf|fabric_ping")
# The first whose pattern fits the object or, within the kernel, the function.
KERNEL = [
    ("kernel: copying, zeroing, mapping pages",
     r"copy|clear_page|rep_|zap|page|folio|fault|mmap|munmap|vma|tlb|pte|pmd|shmem|memset|memcpy"),
    ("kernel: sockets and the network",
     r"sock|tcp|skb|inet|ip_|net|unix|dev_|veth|br_|nf_|send|recv|csum|epoll|ep_|poll|loopback"),
    ("kernel: scheduling and wake-ups",
     r"sched|switch|wake|futex|schedule|_rq|rq_|pick_|enqueue|dequeue|update_|irq|timer|spin_unlock|tick"),
    ("kernel: files", r"fuse|ext4|jbd|vfs|file|dentry|inode|path|lookup|d_|walk|read|write|splice"),
    ("kernel: other", r""),
]
OBJECTS = [
    ("gRPC, Protobuf", r"grpc|gpr|protobuf|absl|upb"),
    ("LevelDB", r"leveldb|snappy"),
    ("libfabric", r"fabric"),
    ("libsodium", r"sodium"),
    ("checksums (isa-l)", r"isal"),
    ("libc, libstdc++", r"libc\.|libstdc|libm\.|ld-linux|vdso"),
    ("F3", r"^f3$|libxdt"),
    ("other programs", r""),
]


def part_of(program, dso, symbol):
    if PEERS.search(program):
        return None
    if dso in ("[kernel.kallsyms]", "[kernel.vmlinux]") or dso.startswith("[k"):
        return next(name for name, pattern in KERNEL if re.search(pattern, symbol))
    return next(name for name, pattern in OBJECTS if re.search(pattern, dso))


def sample(command):
    """{part: samples} while the command runs."""
    with tempfile.NamedTemporaryFile() as data:
        subprocess.run(["perf", "record", "-a", "-q", "-e", "cpu-clock", "-F", "2000", "-o", data.name, "--",
                        *command], check=True, stdout=subprocess.DEVNULL)
        listing = subprocess.run(
            ["perf", "report", "-i", data.name, "--stdio", "-q", "-n", "-t", "\t", "--sort", "comm,dso,sym"],
            check=True, text=True, capture_output=True).stdout
    parts = collections.Counter()
    for line in listing.splitlines():
        columns = [column.strip() for column in line.split("\t")]
        if len(columns) == 5 and (part := part_of(columns[2], columns[3], columns[4])):
            parts[part] += int(columns[1])
    return parts


def main():
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    parts = sample([str(F3), "bench", *sys.argv[1:]])
    total = sum(parts.values())
    for name, _ in KERNEL + OBJECTS:
        if parts[name]:
            print(f"{name:<42} {parts[name] / total:6.1%}")


if __name__ == "__main__":
    main()
