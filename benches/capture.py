#!/usr/bin/env python3
"""Measures captures of a Debian disk into a repository in a directory: the first, and one after a change of 1 % of its files.

    benches/capture.py [--rounds N] [IMAGE DIRECTORY]

For:     docs/performance.md: it prints two markdown tables, the captures and figure F12.
Needs:   what harness.py needs, and the images of tests/fixtures/debian-image.sh. It mounts the ext4 of a disk that it made.
Leaves:  nothing. Disk and repository are in memory. Ratios are taken within a round and their median is given.
"""

import argparse
import contextlib
import json
import os
import random
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness import (
    BINARIES, FIXTURES, Disk, Sample, loop_disk, measure, prepare, run, running_daemon, spread, table, work_directory,
)
from rivals import Figure

CAPTURE = "bmsctl capture --disk {disk} --name {name} --repository main --output json"
CHANGED = 0.01


@dataclass
class Capture:
    """What one capture cost, and what it stored."""

    sample: Sample
    stored_bytes: int


@contextlib.contextmanager
def mounted_root(disk: Disk, work: Path) -> Iterator[Path]:
    """The largest partition of the disk, mounted for as long as the block lasts."""
    partitions = json.loads(run("sfdisk", "--json", disk.backing))["partitiontable"]["partitions"]
    root = max(partitions, key=lambda partition: partition["size"])
    place = work / "root"
    place.mkdir(exist_ok=True)
    options = ["--offset", str(root["start"] * 512), "--sizelimit", str(root["size"] * 512)]
    with loop_disk(disk.backing, root["size"] * 512, *options) as partition:
        run("mount", "-t", "ext4", partition.device, place)
        try:
            yield place
        finally:
            run("umount", place)


def change_files(root: Path, seed: int) -> int:
    """Turns 1 % of the regular files around, so that they compress as before, and says how many bytes that are."""
    chance = random.Random(seed)
    files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink() and path.stat().st_size)
    changed = 0
    for path in chance.sample(files, int(len(files) * CHANGED)):
        content = path.read_bytes()
        path.write_bytes(content[::-1])
        changed += len(content)
    os.sync()
    return changed


def capture(disk: Disk, daemon, name: str) -> Capture:
    """One capture."""
    disk.forget()
    sample = measure(CAPTURE.format(disk=shlex.quote(disk.selector), name=name), daemon)
    return Capture(sample, json.loads(sample.output)["result"]["captured"]["stored_bytes"])


def round_of(number: int, work: Path, image: Path) -> tuple[Capture, Capture]:
    """A new disk, a new repository, two captures and a change between them."""
    repository, backing = work / f"repository-{number}", work / "disk"
    run("cp", "--sparse=always", image, backing)
    environment = {**os.environ, "PATH": f"{BINARIES}:{os.environ['PATH']}"}
    run("bmsctl", "repository", "init", "--repository", repository, env=environment)
    settings = f'[repositories.main]\nlocation = "{repository}"\n'
    with loop_disk(backing, image.stat().st_size) as disk, running_daemon(work, settings) as daemon:
        first = capture(disk, daemon, "first")
        with mounted_root(disk, work) as root:
            changed = change_files(root, number)
        second = capture(disk, daemon, "second")
    print(f"Round {number}: {changed / 1e6:.0f} MB of files were changed.")
    run("rm", "-r", repository, backing)
    return first, second


def main() -> None:
    parser = argparse.ArgumentParser(description="captures of a disk, as markdown")
    parser.add_argument("--rounds", type=int, default=5, help="disks that are captured twice (5)")
    parser.add_argument("images", type=Path, nargs="?", default=FIXTURES, help="where debian-image.sh left them")
    options = parser.parse_args()
    prepare(build=True)
    with work_directory() as work:
        rounds = [round_of(number, work, options.images / "disk.raw") for number in range(options.rounds)]
    rows = []
    for name, runs in zip(["first capture", "after 1 % of the files changed"], zip(*rounds, strict=True), strict=True):
        rows.append([
            name,
            spread([run.sample.wall_seconds for run in runs]),
            spread([run.sample.daemon_cpu_seconds for run in runs]),
            f"{max(run.sample.daemon_peak_mib for run in runs):.0f}",
            spread([run.stored_bytes / 1e6 for run in runs]),
        ])
    print("", table(["job", "wall s", "daemon CPU s", "daemon peak MiB", "MB stored"], rows), sep="\n")
    walls = [second.sample.wall_seconds / first.sample.wall_seconds for first, second in rounds]
    stored = [second.stored_bytes / first.stored_bytes for first, second in rounds]
    figures = [
        Figure("F12", "second capture / first", walls, "<= 0.5"),
        Figure("F12", "bytes stored by the second / by the first", stored, "<= 0.05"),
    ]
    print("", table(["figure", "what", "demand", "median (spread)", "met"], [figure.row() for figure in figures]), sep="\n")


if __name__ == "__main__":
    main()
