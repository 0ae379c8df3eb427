#!/usr/bin/env python3
"""Measures how long it takes to take stock of this server's hardware.

    benches/inventory.py [--rounds N] [--program FILE]

For:     docs/performance.md: it prints a markdown table, with caches dropped before each survey and with warm ones.
Needs:   root, and no other user of the machine. Each survey is the first of a new process.
Leaves:  nothing but cold caches.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

from harness import BINARIES, ROOT, spread, table

DEMAND_MS = 50


def survey(program: Path) -> float:
    """Milliseconds that a survey takes."""
    done = subprocess.run([program], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True)
    return float(re.search(r"surveyed in ([\d.]+) ms", done.stderr)[1])


def cold_survey(program: Path) -> float:
    """The same with nothing in the kernel's caches but the program itself."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")
    program.read_bytes()
    return survey(program)


def main() -> None:
    parser = argparse.ArgumentParser(description="how long an inventory takes, as markdown")
    parser.add_argument("--rounds", type=int, default=21, help="surveys with cold caches and with warm ones (21)")
    parser.add_argument("--program", type=Path, help="examples/survey as it was built before")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("only root drops caches, and sees all of the hardware")
    program = options.program or BINARIES / "examples" / "survey"
    if not options.program:
        subprocess.run(["cargo", "build", "--release", "--locked", "--example", "survey"], cwd=ROOT, check=True)

    rows = []
    for name, job in [("warm", survey), ("cold", cold_survey)]:
        times = [job(program) for _ in range(options.rounds)]
        rows.append([name, spread(times), "yes" if statistics.median(times) <= DEMAND_MS else "**no**"])
    print(table(["caches", "ms", f"<= {DEMAND_MS} ms"], rows))


if __name__ == "__main__":
    main()
