#!/usr/bin/env python3
"""Measures how much of a slow disk's write rate an install uses (figure F6).

    benches/throttled.py [--rounds N] [--rivals-only]

For:     docs/performance.md: it prints a markdown table for disks that take 200 and 500 MB/s.
Needs:   what harness.py needs, qemu-storage-daemon, /dev/fuse, and 5 GiB of memory.
Leaves:  nothing. The disk is a loop device over a file in tmpfs that QEMU exports through FUSE with a limit on writes
         alone: reading back is not slowed down. The image is incompressible and has no holes, so each byte counts.
"""

import argparse
import contextlib
import json
import os
import select
import signal
import statistics
from collections.abc import Iterator
from pathlib import Path

from harness import (
    GIB, MIB, Disk, Sample, interleave, loop_disk, measure, prepare, run, running_daemon, spread, table,
    work_directory,
)

IMAGE_BYTES = 2 * GIB
LIMITS = [200_000_000, 500_000_000]
DEMAND = 0.97
# QEMU's FUSE export (10.0.2) mixes up the data of requests that it has at once: fio with 4 jobs and --verify fails on it,
# and so does an install, at read-back. One request at a time is right, and enough for a disk that is this slow.
ONE_REQUEST = "write_workers = 1\n"


@contextlib.contextmanager
def throttled_disk(work: Path, bytes_per_second: int) -> Iterator[Disk]:
    """A loop device that takes no more than so many bytes a second."""
    backing, export, pid_file = work / "backing", work / "export", work / "qemu.pid"
    with open(backing, "xb") as file:
        file.truncate(IMAGE_BYTES)
    export.touch()
    limit = {"qom-type": "throttle-group", "id": "limit", "limits": {"bps-write": bytes_per_second}}
    # With --daemonize it returns when the export is there.
    run(
        "qemu-storage-daemon", "--daemonize", "--pidfile", pid_file, "--object", json.dumps(limit),
        "--blockdev", f"driver=file,node-name=file,filename={backing}",
        "--blockdev", "driver=throttle,node-name=slow,throttle-group=limit,file=file",
        "--export", f"type=fuse,id=export,node-name=slow,mountpoint={export},writable=on",
    )
    try:
        with loop_disk(export, IMAGE_BYTES) as disk:
            yield disk
    finally:
        stop(int(pid_file.read_text()))
        backing.unlink()
        export.unlink()


def stop(pid: int) -> None:
    """Ends a process that is not a child of this one and waits until it is gone."""
    handle = os.pidfd_open(pid)
    signal.pidfd_send_signal(handle, signal.SIGTERM)
    select.select([handle], [], [], 30)
    os.close(handle)


def make_image(path: Path) -> None:
    """An image without holes that nothing can compress."""
    with open(path, "xb") as file:
        for _ in range(IMAGE_BYTES // (64 * MIB)):
            file.write(os.urandom(64 * MIB))


def measure_limit(work: Path, image: Path, limit: int, options: argparse.Namespace) -> dict[str, list[Sample]]:
    """dd and, if it is asked for, an install onto a disk with this limit."""
    dd = f"dd if={image} of={{device}} bs=4M oflag=direct conv=fsync status=none"
    install = f"bmsctl install --image {image} --disk {{disk}} --yes"
    with throttled_disk(work, limit) as disk, contextlib.ExitStack() as stack:
        jobs = {"dd": lambda: measure(dd.format(device=disk.device))}
        if not options.rivals_only:
            daemon = stack.enter_context(running_daemon(work, ONE_REQUEST))
            jobs["bmsctl install"] = lambda: measure(install.format(disk=disk.selector), daemon)
        return interleave(options.rounds, jobs)


def main() -> None:
    parser = argparse.ArgumentParser(description="how much of a slow disk an install uses, as markdown")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each job (5)")
    parser.add_argument("--rivals-only", action="store_true", help="leave bms-agent out")
    options = parser.parse_args()
    prepare(build=not options.rivals_only)

    rows = []
    with work_directory() as work:
        image = work / "image.raw"
        make_image(image)
        for limit in LIMITS:
            for name, runs in measure_limit(work, image, limit, options).items():
                shares = [IMAGE_BYTES / run.wall_seconds / limit for run in runs]
                met = "yes" if statistics.median(shares) >= DEMAND else "**no**"
                rows.append([f"{limit // 1_000_000} MB/s", name, spread(shares, digits=3), met])
    print(table(["disk takes", "job", "share of it used: median (spread)", f">= {DEMAND}"], rows))


if __name__ == "__main__":
    main()
