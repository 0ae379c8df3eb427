#!/usr/bin/env python3
"""Measures how much of a slow disk's write rate an install uses (figure F6).

    benches/throttled.py [--rounds N] [--rivals-only]

For:     docs/performance.md: it prints a markdown table for disks that take 200 and 500 MB/s.
Needs:   what harness.py needs, the blkio controller of cgroup v1, and 5 GiB of memory.
Leaves:  nothing. The disk is a loop device over a file in tmpfs; the kernel limits what is written to it, not what is
         read back. The image is incompressible and has no holes, so each byte counts. QEMU's FUSE export with a throttle
         node would not do: 10.0.2 mixes up concurrent requests, which read-back finds.
"""

import argparse
import contextlib
import os
import statistics
from collections.abc import Iterator
from pathlib import Path

from harness import (
    GIB, MIB, Disk, Sample, interleave, measure, prepare, ram_disk, running_daemon, spread, table, work_directory,
)

IMAGE_BYTES = 2 * GIB
LIMITS = [200_000_000, 500_000_000]
DEMAND = 0.97
BLKIO = Path("/sys/fs/cgroup/blkio")


@contextlib.contextmanager
def throttled_disk(work: Path, bytes_per_second: int) -> Iterator[Disk]:
    """A loop device to which this process and its children write no more than so many bytes a second."""
    with ram_disk(work, IMAGE_BYTES) as disk:
        number = Path(f"/sys/block/{Path(disk.device).name}/dev").read_text().strip()
        group = BLKIO / "bms-bench"
        group.mkdir()
        try:
            (group / "blkio.throttle.write_bps_device").write_text(f"{number} {bytes_per_second}")
            (group / "cgroup.procs").write_text(str(os.getpid()))
            yield disk
        finally:
            (BLKIO / "cgroup.procs").write_text(str(os.getpid()))
            group.rmdir()


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
            daemon = stack.enter_context(running_daemon(work))
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
