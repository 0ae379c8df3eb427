#!/usr/bin/env python3
"""Measures how long it takes to look into an image, and how much of it is read (figure F17).

    benches/inspection.py [--rounds N] [IMAGE DIRECTORY]

For:     docs/performance.md: it prints a markdown table of the Debian image as a raw file and as qcow2.
Needs:   what harness.py needs, and the images of tests/fixtures/debian-image.sh.
Leaves:  nothing. The files are in the page cache, as they are after a download.
"""

import argparse
import json
import os
import statistics
import subprocess
import time
from pathlib import Path

from harness import BINARIES, FIXTURES, MIB, prepare, spread, table, warm

# It lacks plug-ins, so that it is unfit: what is measured is the look.
UNFIT = 6


def check(image: Path) -> tuple[float, int]:
    """Seconds that a look takes, and the bytes that it reads."""
    command = [f"{BINARIES}/bmsctl", "image", "check", str(image), "--profile", "centralized-sd100", "--output", "json"]
    start = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, env=os.environ, check=False)
    seconds = time.monotonic() - start
    if done.returncode != UNFIT:
        raise SystemExit(f"{image}: exit code {done.returncode}")
    return seconds, json.loads(done.stdout)["read_bytes"]


def main() -> None:
    parser = argparse.ArgumentParser(description="how long a look into an image takes, as markdown")
    parser.add_argument("--rounds", type=int, default=5, help="looks at each image (5)")
    parser.add_argument("images", type=Path, nargs="?", default=FIXTURES, help="where debian-image.sh left them")
    options = parser.parse_args()
    prepare(build=True)

    size = (options.images / "disk.raw").stat().st_size
    rows = []
    for name in ["disk.raw", "disk.qcow2"]:
        image = options.images / name
        warm(image)
        looks = [check(image) for _ in range(options.rounds)]
        seconds, read = [look[0] for look in looks], max(look[1] for look in looks)
        met = statistics.median(seconds) <= 1.5 and read <= 0.03 * size
        rows.append([name, spread(seconds), f"{read / MIB:.1f}", f"{100 * read / size:.1f}", "yes" if met else "**no**"])
    print(table(["image", "wall s", "MiB read", "% of the image", "F17: <= 1.5 s, <= 3 %"], rows))


if __name__ == "__main__":
    main()
