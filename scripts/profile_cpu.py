#!/usr/bin/python3
"""Where the processor time of a cluster's metadata server and node agents goes while a workload of
`f3 bench` runs: perf samples them, and each part's share is printed. The workload's own process, and what
it compares with (Redis, iperf3, ...), are not in it.

    apt-get install linux-perf
    f3 up --dir DIR --nodes 3 && scripts/profile_cpu.py DIR WORKLOAD [OPTIONS OF f3 bench WORKLOAD]

As root, with the release build. For example: DIR meta; DIR pull; DIR xdt --bytes 1MiB."""

import collections
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
F3 = ROOT / "build/release/bin/f3"
# The first whose pattern fits the object or, within the kernel, the function.
KERNEL = [
    ("kernel: copying, zeroing, mapping pages",
     r"copy|clear_page|rep_|zap|page|folio|fault|mmap|munmap|vma|tlb|pte|pmd|shmem|memset|memcpy"),
    ("kernel: sockets and the network",
     r"sock|tcp|skb|inet|ip_|net|unix|dev_|veth|br_|nf_|send|recv|csum|epoll|ep_|poll|loopback"),
    ("kernel: scheduling and wake-ups",
     r"sched|switch|wake|futex|schedule|_rq|rq_|pick_|enqueue|dequeue|update_|irq|timer|spin_unlock|tick"),
    ("kernel: files", r"fuse|ext4|jbd|vfs|file|dentry|inode|path|lookup|d_|walk|read|write|splice|"
                      r"recently_deleted|get_block|brelse|next_zero_bit|xas_"),
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


def part_of(dso, symbol):
    if dso in ("[kernel.kallsyms]", "[kernel.vmlinux]") or dso.startswith("[k"):
        return next(name for name, pattern in KERNEL if re.search(pattern, symbol))
    return next(name for name, pattern in OBJECTS if re.search(pattern, dso))


def sample(pids, command):
    """{part: samples of these processes} while the command runs."""
    with tempfile.NamedTemporaryFile() as data:
        subprocess.run(["perf", "record", "-q", "-e", "cpu-clock", "-F", "2000", "-p", ",".join(pids), "-o",
                        data.name, "--", *command], check=True, stdout=subprocess.DEVNULL)
        listing = subprocess.run(
            ["perf", "report", "-i", data.name, "--stdio", "-q", "-n", "-t", "\t", "--sort", "dso,sym"],
            check=True, text=True, capture_output=True).stdout
    parts = collections.Counter()
    for line in listing.splitlines():
        columns = [column.strip() for column in line.split("\t")]
        if len(columns) == 4:
            parts[part_of(columns[2], columns[3])] += int(columns[1])
    return parts


def main():
    if len(sys.argv) < 3 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    directory, workload, *options = sys.argv[1:]
    run = pathlib.Path(directory, "run")
    pids = [file.read_text().split()[0] for file in [run / "meta.pid", *run.glob("n*.pid")]]
    parts = sample(pids, [str(F3), "bench", workload, "--dir", directory, *options])
    total = sum(parts.values())
    for name, _ in KERNEL + OBJECTS:
        if parts[name]:
            print(f"{name:<42} {parts[name] / total:6.1%}")


if __name__ == "__main__":
    main()
