#!/usr/bin/env python3
"""Measures installs from a web server against the tools people use for that today, in one run, on one RAM-speed disk.

    benches/repository.py [--rounds N] [--rivals-only | --group-sizes] [IMAGE DIRECTORY]

For:     docs/performance.md: it prints two markdown tables, the jobs and the figures F7 to F11 that follow from them; or,
         with --group-sizes, one table of our installs of the image in groups of several sizes.
Needs:   what harness.py needs, the images of tests/fixtures/debian-image.sh, and 10 GiB of memory. The first run builds
         two rivals, from crates.io and PyPI, which takes minutes.
Leaves:  the two rivals, beside the images. The server is a local nginx, whose files are in memory. A new disk is full
         of incompressible bytes; an older version of the image differs in 5 % of the blocks of 256 KiB that hold data.
         Ratios are taken within a round and their median is given: absolute times drift.
"""

import argparse
import contextlib
import json
import os
import random
import shlex
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness import (
    BINARIES, FIXTURES, MIB, ROOT, Daemon, Disk, Sample, interleave, measure, prepare, ram_disk, run, running_daemon,
    spread, table, warm, work_directory,
)
from rivals import DIRECT, Figure

ADDRESS = "127.0.0.1:18080"
COREOS = FIXTURES / "coreos-installer-0.27.0"
IRONIC = FIXTURES / "ironic-python-agent-13.0.0"
BLOCK = 256 << 10
CHANGED = 0.05
COMPARE = "qemu-img compare -T none -f raw -F raw".split()

PULL = "bmsctl install from the repository"
PULL_DIRECTORY = "bmsctl install from the repository as a directory"
UPDATE = "bmsctl install --in-place over an older version"
CURL_ZSTD = "curl, zstd, dd"
IRONIC_RAW = "ironic-python-agent, raw"
COREOS_ZST = "coreos-installer, raw.zst"
CASYNC = "casync over an older version, with it as seed"

# The commands of ours, once for all: what goes into the repository, and what comes out of it.
INIT = "bmsctl repository init --repository {repository} --chunk-size {chunk}"
IMPORT = "bmsctl image import {image} --repository {repository} --name debian --version 1 --group-size {group}"
INSTALL = "bmsctl install --image operator/debian:1 --repository {name} --disk {disk} --yes"
NAME = "debian"
# Of groups and chunks: what is the default comes first.
SIZES = [("256K", "256K"), ("256K", "1M"), ("512K", "1M"), ("1M", "1M")]
SETTINGS = """
[repositories.{name}]
location = "http://{address}/{name}/"
[repositories.{name}-directory]
location = "{www}/{name}"
"""


@dataclass(frozen=True)
class Job:
    """A command of a rival or of ours. `{image}` and the like are filled in by Bench."""

    name: str
    command: str
    source: str = ""
    is_update: bool = False

    @property
    def is_ours(self) -> bool:
        """Whether it needs the daemon."""
        return self.name.startswith("bmsctl")


JOBS = [
    Job(PULL, INSTALL.replace("{name}", NAME)),
    Job(PULL_DIRECTORY, INSTALL.replace("{name}", f"{NAME}-directory")),
    Job(CURL_ZSTD, f"curl -sSf {{source}} | zstd -dc | dd of={{device}} iflag=fullblock {DIRECT}", "disk.raw.zst"),
    Job("curl, dd, raw", f"curl -sSf {{source}} | dd of={{device}} iflag=fullblock {DIRECT}", "disk.raw"),
    Job(IRONIC_RAW, f"{IRONIC}/bin/python {ROOT}/benches/ironic.py {{source}} {{device}} {{sha256}}", "disk.raw"),
    # Its last step, which no other has, waits for udev. Where there is none, all else is done and flushed by then.
    Job(
        COREOS_ZST,
        f"{COREOS}/bin/coreos-installer install --insecure --preserve-on-error --image-url {{source}} {{device}}"
        " 2>{log} || grep -q 'udevd socket missing' {log} || { cat {log} >&2; exit 1; }",
        "disk.raw.zst",
    ),
    Job(UPDATE, INSTALL.replace("{name}", NAME) + " --in-place", is_update=True),
    Job(
        CASYNC,
        "casync extract --seed-output=no --seed={old} --store={url}/store.castr {url}/debian.caibx {device} 2>{log}",
        is_update=True,
    ),
]


def sized(group: str, chunk: str) -> str:
    """The name of the repository with these sizes."""
    return f"groups-{group}-chunks-{chunk}"


def jobs_of_sizes() -> list[Job]:
    """A full install and one in place, for each pair of sizes."""
    jobs = []
    for group, chunk in SIZES:
        what, install = f"groups of {group}, chunks of {chunk}", INSTALL.replace("{name}", sized(group, chunk))
        jobs.append(Job(f"bmsctl install, {what}", install))
        jobs.append(Job(f"bmsctl install --in-place, {what}", f"{install} --in-place", is_update=True))
    return jobs


@dataclass
class Fetch:
    """What one run cost, and what it made the server send."""

    sample: Sample
    fetched_bytes: int


# The rivals that Debian does not have.


def build_once(target: Path, *commands: list[object]) -> None:
    """Runs commands that make `{root}`, which becomes `target`; does nothing if that is there."""
    if target.exists():
        return
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="build.") as work:
        for command in commands:
            subprocess.run([str(word).format(work=work, root=f"{work}/root") for word in command], check=True)
        Path(work, "root").rename(target)


def build_rivals() -> None:
    """Brings coreos-installer and ironic-python-agent, each in the version that its directory names."""
    crate, _, version = COREOS.name.rpartition("-")
    places = ["--root", "{root}", "--target-dir", "{work}/target"]
    build_once(COREOS, ["cargo", "install", crate, "--version", f"={version}", "--locked", *places])
    package, _, version = IRONIC.name.rpartition("-")
    pip = ["{root}/bin/python", "-m", "pip", "install", "--quiet", f"{package}=={version}"]
    build_once(IRONIC, ["python3", "-m", "venv", "{root}"], pip)


# The server.


class Web:
    """An nginx over the directory `www`, and how much it sent."""

    CONFIG = """
        daemon off; master_process off; user root; pid pid; error_log error.log;
        events { worker_connections 512; }
        http {
            log_format sent '$uri $bytes_sent'; access_log access.log sent;
            client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
            uwsgi_temp_path uwsgi; scgi_temp_path scgi;
            sendfile on; keepalive_requests 1000000;
            server { listen ADDRESS; root www; }
        }
    """

    def __init__(self, work: Path):
        self.url = f"http://{ADDRESS}"
        self.log = work / "access.log"
        self.lines = 0
        (work / "nginx.conf").write_text(self.CONFIG.replace("ADDRESS", ADDRESS))
        self.process = subprocess.Popen(["nginx", "-p", work, "-e", "error.log", "-c", "nginx.conf"])
        run("curl", "--silent", "--retry", 50, "--retry-delay", 1, "--retry-connrefused", self.url)
        self.sent_bytes()

    def sent_bytes(self) -> int:
        """What was sent since it was last asked."""
        # One process answers requests and logs each before the next: the second mark comes when all before is logged.
        for _ in range(2):
            with contextlib.suppress(urllib.error.HTTPError):
                urllib.request.urlopen(f"{self.url}/mark")
        lines = self.log.read_text().splitlines()[self.lines :]
        self.lines += len(lines)
        sent = (line.split() for line in lines)
        return sum(int(length) for uri, length in sent if uri != "/mark")


@contextlib.contextmanager
def serving(work: Path) -> Iterator[Web]:
    """A server for as long as the block lasts."""
    web = Web(work)
    try:
        yield web
    finally:
        web.process.terminate()
        web.process.wait(timeout=30)


# What is served and installed.


def data_blocks(image: Path) -> list[int]:
    """The numbers of the whole blocks that are not all hole, but for the first and the last MiB."""
    blocks = set()
    with open(image, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        end = 0
        with contextlib.suppress(OSError):  # ENXIO: no data is left.
            while True:
                start = os.lseek(file.fileno(), end, os.SEEK_DATA)
                end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
                blocks.update(range(start // BLOCK, -(-end // BLOCK)))
    return sorted(block for block in blocks if MIB <= block * BLOCK and (block + 1) * BLOCK <= size - MIB)


def make_older_version(image: Path, old: Path) -> int:
    """Copies `image` and changes some blocks; says how many bytes."""
    run("cp", "--sparse=always", image, old)
    chance = random.Random(1)
    blocks = data_blocks(image)
    changed = chance.sample(blocks, int(len(blocks) * CHANGED))
    with open(old, "r+b") as file:
        for block in changed:
            os.pwrite(file.fileno(), chance.randbytes(BLOCK), block * BLOCK)
    return len(changed) * BLOCK


def store(image: Path, www: Path, sizes: dict[str, tuple[str, str]]) -> None:
    """Makes a repository of the image for each pair of sizes, by its name; says what it takes."""
    environment = {**os.environ, "PATH": f"{BINARIES}:{os.environ['PATH']}"}
    for name, (group, chunk) in sizes.items():
        words = {"image": shlex.quote(str(image)), "repository": shlex.quote(f"{www}/{name}")}
        run("bash", "-c", INIT.format(**words, chunk=chunk), env=environment)
        answer = run("bash", "-c", IMPORT.format(**words, group=group) + " --output json", env=environment)
        stored = json.loads(answer)["stored_bytes"]
        print(f"In groups of {group} and chunks of {chunk} the image is stored in {stored / 1e6:.0f} MB.")


def publish(work: Path, images: Path, sizes: dict[str, tuple[str, str]], with_rivals: bool) -> int:
    """Fills the directory that is served; says by how many bytes the older version differs."""
    image, www = images / "disk.raw", work / "www"
    www.mkdir()
    (www / "images").symlink_to(images.resolve())
    if with_rivals:
        run("casync", "make", f"--store={www}/store.castr", www / "debian.caibx", image)
    store(image, www, sizes)
    return make_older_version(image, work / "old.raw")


class Bench:
    """One disk, one server, one daemon (or none)."""

    def __init__(self, images: Path, work: Path, disk: Disk, web: Web, daemon: Daemon | None):
        self.images, self.work, self.disk, self.web, self.daemon = images, work, disk, web, daemon
        self.words = {
            "device": disk.device, "disk": disk.selector, "url": web.url, "old": work / "old.raw", "log": work / "log",
            "sha256": run("sha256sum", images / "disk.raw").split()[0],
        }

    def start(self, job: Job) -> Fetch:
        """One run of a job."""
        if job.is_update:
            run("dd", f"if={self.work}/old.raw", f"of={self.disk.device}", *DIRECT.split())
        else:
            self.disk.fill()
        self.disk.forget()
        warm(*([self.images / job.source] if job.source else []))
        self.web.sent_bytes()
        # Not format(): the shell has braces of its own.
        command = job.command
        for name, word in {**self.words, "source": f"{self.web.url}/images/{job.source}"}.items():
            command = command.replace(f"{{{name}}}", shlex.quote(str(word)))
        sample = measure(command, self.daemon if job.is_ours else None)
        fetched = self.web.sent_bytes()
        if job.name == IRONIC_RAW:
            start = json.loads(sample.output)
            sample.wall_seconds -= start["start_wall_seconds"]
            sample.cpu_seconds -= start["start_cpu_seconds"]
        run(*COMPARE, self.images / "disk.raw", self.disk.device)
        return Fetch(sample, fetched)

    def jobs(self, jobs: list[Job]) -> dict[str, Callable[[], Fetch]]:
        """Those of the jobs that can be run: without a daemon, the rivals' only."""
        return {job.name: lambda job=job: self.start(job) for job in jobs if self.daemon or not job.is_ours}


def job_table(fetches: dict[str, list[Fetch]]) -> str:
    """One row for each job: what it took, of the caller and of the daemon, and what it fetched."""
    rows = []
    for name, runs in fetches.items():
        samples = [run.sample for run in runs]
        is_ours = name.startswith("bmsctl")
        rows.append([
            name,
            spread([sample.wall_seconds for sample in samples]),
            spread([sample.cpu_seconds for sample in samples]),
            spread([sample.daemon_cpu_seconds for sample in samples]) if is_ours else "",
            f"{max(sample.peak_mib for sample in samples):.0f}",
            f"{max(sample.daemon_peak_mib for sample in samples):.0f}" if is_ours else "",
            f"{max(run.fetched_bytes for run in runs) / 1e6:.0f}",
        ])
    head = ["job", "wall s", "CPU s", "daemon CPU s", "peak RSS MiB", "daemon peak MiB", "MB fetched"]
    return table(head, rows)


def figures(fetches: dict[str, list[Fetch]], data_bytes: int) -> list[Figure]:
    """What follows from the jobs, in the order of the demands."""

    def ratio(one: str, other: str) -> list[float]:
        pairs = zip(fetches[one], fetches[other], strict=True)
        return [mine.sample.wall_seconds / theirs.sample.wall_seconds for mine, theirs in pairs]

    fetched = [run.fetched_bytes / data_bytes for run in fetches[UPDATE]]
    return [
        Figure("F7", "pull install / curl, zstd, dd", ratio(PULL, CURL_ZSTD), "<= 0.42"),
        Figure("F8", "pull install / ironic-python-agent", ratio(PULL, IRONIC_RAW), "<= 0.15"),
        Figure("F9", "pull install / coreos-installer", ratio(PULL, COREOS_ZST), "<= 0.33"),
        Figure("F10", "in-place reinstall / pull install", ratio(UPDATE, PULL), "<= 0.5"),
        Figure("F10", "bytes fetched in place / data of the image", fetched, "<= 0.06"),
        Figure("F11", "in-place reinstall / casync", ratio(UPDATE, CASYNC), "<= 0.03"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="installs from a web server against the rivals, as markdown")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each job (5)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--rivals-only", action="store_true", help="leave bms-agent out")
    which.add_argument("--group-sizes", action="store_true", help="leave the rivals out, and try several group sizes")
    parser.add_argument("images", type=Path, nargs="?", default=FIXTURES, help="where debian-image.sh left them")
    options = parser.parse_args()
    prepare(build=not options.rivals_only)
    if not options.group_sizes:
        build_rivals()
    jobs, sizes = JOBS, {NAME: SIZES[0]}
    if options.group_sizes:
        jobs, sizes = jobs_of_sizes(), {sized(*pair): pair for pair in SIZES}
    if options.rivals_only:
        sizes = {}

    image = options.images / "disk.raw"
    data_bytes = image.stat().st_blocks * 512
    # coreos-installer asks for the partition table to be read again, which a loop device refuses without --partscan.
    with work_directory() as work, ram_disk(work, image.stat().st_size, "--partscan") as disk:
        settings = "".join(SETTINGS.format(address=ADDRESS, www=work / "www", name=name) for name in sizes)
        changed = publish(work, options.images, sizes, with_rivals=not options.group_sizes)
        with (
            serving(work) as web,
            contextlib.nullcontext() if options.rivals_only else running_daemon(work, settings) as daemon,
        ):
            fetches = interleave(options.rounds, Bench(options.images, work, disk, web, daemon).jobs(jobs))
    print(f"The older version differs in {changed / 1e6:.0f} MB of {data_bytes / 1e6:.0f} MB of data.", end="\n\n")
    print(job_table(fetches))
    if jobs is JOBS and sizes:
        rows = [figure.row() for figure in figures(fetches, data_bytes)]
        print("", table(["figure", "what", "demand", "median (spread)", "met"], rows), sep="\n")


if __name__ == "__main__":
    main()
