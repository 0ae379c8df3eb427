#!/usr/bin/env python3
"""Measures what the journal and the audit log cost an install: each writes and flushes before it begins, and at its end.

    benches/state.py [--rounds N] [--state DIR] [--no-build]

For:     docs/performance.md: it prints a markdown table. Small installs, with the state on a disk and in memory, take turns.
Needs:   what harness.prepare installs and builds; root. `--state` is a directory on the disk that is meant.
Leaves:  nothing.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

from harness import BINARIES, MIB, Daemon, Disk, prepare, ram_disk, run, running_daemon, spread, table, work_directory

IMAGE_BYTES = 4 * MIB


def install(daemon: Daemon, image: Path, disk: Disk) -> float:
    """Milliseconds that an install takes, with the start of bmsctl."""
    command = [BINARIES / "bmsctl", "--socket", daemon.socket, "install", "--yes", "--image", image]
    start = time.perf_counter()
    run(*command, "--disk", disk.selector)
    return (time.perf_counter() - start) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description="what the journal and the audit log cost, as markdown")
    parser.add_argument("--rounds", type=int, default=41, help="installs with the state in either place (41)")
    parser.add_argument("--state", type=Path, default=Path("/var/tmp"), help="a directory on a disk (/var/tmp)")
    parser.add_argument("--no-build", dest="build", action="store_false", help="measure what was built before")
    options = parser.parse_args()
    prepare(options.build)

    times: dict[str, list[float]] = {"in memory": [], "on a disk": []}
    with (
        work_directory() as work,
        tempfile.TemporaryDirectory(dir=options.state) as on_disk,
        ram_disk(work, IMAGE_BYTES + 2 * MIB) as disk,
    ):
        image = work / "image.raw"
        image.write_bytes(os.urandom(IMAGE_BYTES))
        (work / "memory").mkdir()
        with running_daemon(work / "memory") as first, running_daemon(Path(on_disk)) as second:
            for _ in range(options.rounds):
                times["in memory"].append(install(first, image, disk))
                times["on a disk"].append(install(second, image, disk))
    rows = [[place, spread(samples, 1)] for place, samples in times.items()]
    print(table(["state directory", f"install of {IMAGE_BYTES // MIB} MiB, ms"], rows))


if __name__ == "__main__":
    main()
