#!/usr/bin/env python3
"""Measures bms-agent against the tools people write images with today, in one run, on one RAM-speed disk.

    benches/rivals.py [--rounds N] [--rivals-only] [IMAGE DIRECTORY]

For:     docs/performance.md: it prints two markdown tables, the jobs and the figures that follow from them. A quiet
         machine is needed for the page cache figure, which counts everybody.
Needs:   what harness.py needs, the images of tests/fixtures/debian-image.sh, and 6 GiB of memory.
Leaves:  nothing. Every job of a round meets a disk full of incompressible bytes, a cold cache and a warm source, and
         counts its final flush. Ratios are taken within a round and their median is given: absolute times drift.
"""

import argparse
import contextlib
import json
import shlex
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness import (
    FIXTURES, GIB, Daemon, Disk, Sample, interleave, measure, prepare, ram_disk, run, running_daemon, spread, table,
    warm, work_directory,
)

DISK_GIB = 4  # What debian-image.sh makes.
DIRECT = "bs=4M oflag=direct conv=fsync status=none"
QEMU = "qemu-img convert -n -t none -W -m 16"
FIO = "fio --name=best --direct=1 --bs=4M --group_reporting --end_fsync=1 --output-format=json"


@dataclass(frozen=True)
class Job:
    """A command of a rival or of ours. `{image}` and the like are filled in by Bench."""

    name: str
    command: str
    source: str = ""
    is_ours: bool = False


# Each writes the whole disk.
WRITERS = [
    Job("bmsctl install, raw", "bmsctl install --image {source} --disk {disk} --yes", "disk.raw", True),
    Job("dd, raw", f"dd if={{source}} of={{device}} {DIRECT}", "disk.raw"),
    Job("qemu-img convert, raw", f"{QEMU} -f raw -O raw {{source}} {{device}}", "disk.raw"),
    Job(
        "qemu-img convert + compare, raw",
        f"{QEMU} -f raw -O raw {{source}} {{device}} && qemu-img compare -T none -f raw -F raw {{source}} {{device}}",
        "disk.raw",
    ),
    Job("bmaptool, raw", "bmaptool copy --bmap {bmap} {source} {device}", "disk.raw"),
    Job("bmsctl install, qcow2", "bmsctl install --image {source} --disk {disk} --yes", "disk.qcow2", True),
    Job("qemu-img convert, qcow2", f"{QEMU} -f qcow2 -O raw {{source}} {{device}}", "disk.qcow2"),
    Job("bmsctl install, raw.zst", "bmsctl install --image {source} --disk {disk} --yes", "disk.raw.zst", True),
    Job("zstd to dd, raw.zst", f"zstd -dc {{source}} | dd of={{device}} iflag=fullblock {DIRECT}", "disk.raw.zst"),
    Job("bmaptool, raw.zst", "bmaptool copy --bmap {bmap} {source} {device}", "disk.raw.zst"),
]

# Each reads the whole disk, on which the image has been installed before.
READERS = [
    Job("bmsctl verify", "bmsctl verify --disk {disk} --root {root} --size {size}", is_ours=True),
    Job("cmp", "cmp --bytes={size} {image} {device}", "disk.raw"),
]

# What the disk gives at best: a few engines, of which the fastest counts.
ENGINES = {
    "4 threads": "--ioengine=psync --thread --numjobs=4 --size=512M --offset_increment=512M",
    "io_uring, depth 16": "--ioengine=io_uring --iodepth=16 --size=2G",
}


class Bench:
    """One disk, one daemon (or none), and the images."""

    def __init__(self, images: Path, work: Path, disk: Disk, daemon: Daemon | None):
        self.images, self.disk, self.daemon = images, disk, daemon
        image = images / "disk.raw"
        bmap = work / "disk.bmap"
        run("bmaptool", "create", "-o", bmap, image)
        self.words = {
            "image": image, "bmap": bmap, "device": disk.device, "disk": disk.selector, "size": disk.size_bytes,
            "root": run("b3sum", "--no-names", image),
        }

    def write(self, job: Job) -> Sample:
        """A job that has to bring the image onto a disk full of something else."""
        self.disk.fill()
        return self.start(job)

    def start(self, job: Job) -> Sample:
        """A job on the disk as it is."""
        sources = [self.images / job.source] if job.source else []
        self.disk.forget()
        warm(*sources)
        words = {name: shlex.quote(str(word)) for name, word in self.words.items()}
        command = job.command.format(**words, source=shlex.quote(str(sources[0])) if sources else "")
        return measure(command, self.daemon if job.is_ours else None)

    def jobs(self, jobs: list[Job], how: Callable[[Job], Sample]) -> dict[str, Callable[[], Sample]]:
        """The jobs that can be run: without a daemon, the rivals' only."""
        return {job.name: lambda job=job: how(job) for job in jobs if self.daemon or not job.is_ours}


def fio_jobs(bench: Bench, kind: str) -> dict[str, Callable[[], Sample]]:
    """What the bare disk gives to sequential O_DIRECT requests of 4 MiB, over 2 GiB."""
    jobs = [
        Job(f"fio {kind}, {name}", f"{FIO} --rw={kind} --filename={{device}} {engine}")
        for name, engine in ENGINES.items()
    ]
    return bench.jobs(jobs, bench.start)


def fio_rate(run: Sample, kind: str) -> float:
    """What fio says it reached, in GiB/s: its wall time has its own start in it."""
    return json.loads(run.output)["jobs"][0][kind]["bw_bytes"] / GIB


def best_rates(samples: dict[str, list[Sample]], kind: str) -> list[float]:
    """The rates of the fastest engine, round by round, in GiB/s."""
    engines = [runs for name, runs in samples.items() if name.startswith(f"fio {kind}")]
    return max(([fio_rate(run, kind) for run in runs] for runs in engines), key=statistics.median)


def job_table(samples: dict[str, list[Sample]]) -> str:
    """One row for each job: what it took, of the caller and of the daemon."""
    rows = []
    for name, runs in samples.items():
        rows.append([
            name,
            spread([run.wall_seconds for run in runs]),
            spread([run.cpu_seconds for run in runs]),
            spread([run.daemon_cpu_seconds for run in runs]) if name.startswith("bmsctl") else "",
            f"{max(run.peak_mib for run in runs):.0f}",
            f"{max(run.daemon_peak_mib for run in runs):.0f}" if name.startswith("bmsctl") else "",
            f"{max(run.cache_mib for run in runs):.0f}",
        ])
    head = ["job", "wall s", "CPU s", "daemon CPU s", "peak RSS MiB", "daemon peak MiB", "page cache growth MiB"]
    return table(head, rows)


def rates(samples: dict[str, list[Sample]]) -> str:
    """What the bare disk gives, for comparison."""
    lines = [f"fio's best O_DIRECT {kind}: {spread(best_rates(samples, kind))} GiB/s" for kind in ("write", "read")]
    for name, runs in samples.items():
        if name.startswith("bmsctl"):
            lines.append(f"{name}: {spread([DISK_GIB / run.wall_seconds for run in runs])} GiB/s of disk")
    return "\n".join(f"- {line}" for line in lines)


@dataclass
class Figure:
    """One demand of the table in docs/performance.md, and what was measured for it."""

    name: str
    what: str
    values: list[float]
    demand: str
    decides: Callable[[list[float]], float] = statistics.median

    def row(self) -> list[str]:
        """Its line in the table."""
        sign, bound = self.demand.split()
        value = self.decides(self.values)
        met = value <= float(bound) if sign == "<=" else value >= float(bound)
        return [self.name, self.what, self.demand, spread(self.values), "yes" if met else "**no**"]


def figures(samples: dict[str, list[Sample]], data_gib: float) -> list[Figure]:
    """What follows from the jobs, in the order of the demands."""

    def wall(name: str) -> list[float]:
        return [run.wall_seconds for run in samples[name]]

    def ratio(one: str, other: str) -> list[float]:
        return [mine / theirs for mine, theirs in zip(wall(one), wall(other), strict=True)]

    raw, qcow2, zst = (f"bmsctl install, {source}" for source in ("raw", "qcow2", "raw.zst"))
    installs = [run for name in (raw, qcow2, zst) for run in samples[name]]
    cpu = [(run.cpu_seconds + run.daemon_cpu_seconds) / data_gib for run in samples[raw]]
    read = best_rates(samples, "read")
    verify = [DISK_GIB / seconds / best for seconds, best in zip(wall("bmsctl verify"), read, strict=True)]
    return [
        Figure("F1", "install raw / dd", ratio(raw, "dd, raw"), "<= 1.2"),
        Figure("F2", "install raw / qemu-img + compare", ratio(raw, "qemu-img convert + compare, raw"), "<= 0.5"),
        Figure("F3", "install qcow2 / qemu-img", ratio(qcow2, "qemu-img convert, qcow2"), "<= 1.3"),
        Figure("F4", "install raw.zst / zstd to dd", ratio(zst, "zstd to dd, raw.zst"), "<= 0.7"),
        Figure("F5c", "cmp / verify", ratio("cmp", "bmsctl verify"), ">= 10"),
        Figure("F5c", "rate of verify / fio's best read", verify, ">= 0.7"),
        Figure("F13", "CPU s per GiB of data, both ends, raw", cpu, "<= 1.2"),
        Figure("F14", "peak RSS of the daemon, MiB", [run.daemon_peak_mib for run in installs], "<= 128", max),
        Figure("F15", "page cache growth by an install, MiB", [run.cache_mib for run in installs], "<= 64"),
    ]


def start_figures(work: Path, rounds: int) -> list[Figure]:
    """How fast the daemon is there, and how small it is then."""
    seconds, idle = [], []
    for _ in range(rounds):
        with running_daemon(work) as daemon:
            seconds.append(daemon.ready_seconds * 1000)
            idle.append(daemon.status_mib("VmRSS"))
    return [
        Figure("F14", "idle RSS of the daemon, MiB", idle, "<= 25", max),
        Figure("F18", "start to READY, ms", seconds, "<= 100"),
    ]


def measure_all(bench: Bench, rounds: int) -> dict[str, list[Sample]]:
    """Writers, then the bare disk, then readers of an installed image."""
    samples = interleave(rounds, bench.jobs(WRITERS, bench.write))
    samples |= interleave(rounds, fio_jobs(bench, "write"))
    bench.start(WRITERS[0] if bench.daemon else WRITERS[1])
    samples |= interleave(rounds, bench.jobs(READERS, bench.start) | fio_jobs(bench, "read"))
    return samples


def main() -> None:
    parser = argparse.ArgumentParser(description="bms-agent against its rivals, as markdown")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each job (5)")
    parser.add_argument("--rivals-only", action="store_true", help="leave bms-agent out")
    parser.add_argument("images", type=Path, nargs="?", default=FIXTURES, help="where debian-image.sh left them")
    options = parser.parse_args()
    prepare(build=not options.rivals_only)

    image = options.images / "disk.raw"
    data_gib = image.stat().st_blocks * 512 / GIB
    with work_directory() as work, ram_disk(work, image.stat().st_size) as disk:
        starts = [] if options.rivals_only else start_figures(work, options.rounds)
        with contextlib.nullcontext() if options.rivals_only else running_daemon(work) as daemon:
            samples = measure_all(Bench(options.images, work, disk, daemon), options.rounds)
    print(job_table(samples), rates(samples), sep="\n\n")
    if not options.rivals_only:
        rows = [figure.row() for figure in figures(samples, data_gib) + starts]
        print("", table(["figure", "what", "demand", "median (spread)", "met"], rows), sep="\n")


if __name__ == "__main__":
    main()
