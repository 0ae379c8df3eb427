"""What the benchmark scripts share: a RAM-speed disk, a daemon on a private socket, and an honest stopwatch.

For:     rivals.py, repository.py and throttled.py. Needs: root, Python 3.11, tests/install-packages.sh --bench.
Leaves:  nothing; every device, mount and process made here ends with the `with` block that made it.
Writes to no disk but the loop devices that it attaches itself.
"""

import contextlib
import os
import re
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BINARIES = ROOT / "target" / "release"
FIXTURES = Path(os.environ.get("BMS_FIXTURES", ROOT / "tests" / "fixtures" / "cache"))
MIB = 1 << 20
GIB = 1 << 30


def run(*command: object, **options) -> str:
    """Runs a command to its end and returns what it printed; a failure shows all it said and stops the benchmark."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, **options)
    if done.returncode != 0:
        sys.exit(f"{shlex.join(words)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def prepare(build: bool) -> None:
    """Installs what is measured against, and builds what is measured."""
    if os.geteuid() != 0:
        sys.exit("loop devices need root")
    # A terminated benchmark has to detach its devices as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    subprocess.run([ROOT / "tests" / "install-packages.sh", "--bench"], check=True)
    if build:
        subprocess.run(["cargo", "build", "--release", "--locked", "--bins"], cwd=ROOT, check=True)


# Disks.


@dataclass
class Disk:
    """A loop device made here, and the file behind it."""

    device: Path
    backing: Path
    size_bytes: int

    @property
    def selector(self) -> str:
        """What bmsctl --disk needs to mean this device and no other."""
        sequence = Path("/sys/block", self.device.name, "diskseq").read_text().strip()
        return f"backing-file={self.backing},diskseq={sequence}"

    def fill(self) -> None:
        """Overwrites the disk with incompressible bytes, so that no run finds zeroes or its own result."""
        noise = os.urandom(64 * MIB)
        with open(self.backing, "r+b", buffering=0) as backing:
            for offset in range(0, self.size_bytes, len(noise)):
                os.pwrite(backing.fileno(), noise[: self.size_bytes - offset], offset)
        self.forget()

    def forget(self) -> None:
        """Drops what the kernel remembers of the disk, so that readers read it."""
        run("blockdev", "--flushbufs", self.device)


@contextlib.contextmanager
def work_directory() -> Iterator[Path]:
    """A directory in a tmpfs of its own: RAM speed, and no other user of the space."""
    with tempfile.TemporaryDirectory(prefix="bms-bench.") as name:
        run("mount", "-t", "tmpfs", "-o", "size=90%", "bms-bench", name)
        try:
            yield Path(name)
        finally:
            run("umount", name)


@contextlib.contextmanager
def loop_disk(backing: Path, size_bytes: int, *options: str) -> Iterator[Disk]:
    """Attaches `backing` as a loop device that passes O_DIRECT through to it. Options are those of losetup."""
    device = Path(run("losetup", "--find", "--show", "--direct-io=on", *options, backing))
    try:
        yield Disk(device, backing, size_bytes)
    finally:
        run("losetup", "--detach", device)


@contextlib.contextmanager
def ram_disk(work: Path, size_bytes: int, *options: str) -> Iterator[Disk]:
    """A loop device over a new file in the work directory."""
    backing = work / "disk"
    with open(backing, "xb") as file:
        file.truncate(size_bytes)
    with loop_disk(backing, size_bytes, *options) as disk:
        yield disk
    backing.unlink()


# The daemon.


class Daemon:
    """A bms-agent of the release build on a private socket."""

    def __init__(self, work: Path, settings: str = ""):
        self.socket = work / "agent.sock"
        config = work / "config.toml"
        own = f'socket = "{self.socket}"\nstate_dir = "{work}/state"\nallow_loop_devices = true\n'
        config.write_text(own + settings)
        self.log = open(work / "agent.log", "wb")
        start = time.perf_counter()
        with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as notify:
            notify.bind(str(work / "notify.sock"))
            notify.settimeout(10)
            environment = {**os.environ, "NOTIFY_SOCKET": str(work / "notify.sock")}
            self.process = subprocess.Popen(
                [BINARIES / "bms-agent", "--config", config], env=environment, stderr=self.log
            )
            self._await_ready(notify, work)
        self.ready_seconds = time.perf_counter() - start
        (work / "notify.sock").unlink()

    def _await_ready(self, notify: socket.socket, work: Path) -> None:
        try:
            while b"READY=1" not in notify.recv(4096).splitlines():
                pass
        except TimeoutError:
            self.stop()
            sys.exit(f"bms-agent is not ready after 10 s:\n{(work / 'agent.log').read_text()}")

    def stop(self) -> None:
        """Ends the daemon and waits for it."""
        self.process.terminate()
        self.process.wait(timeout=120)
        self.log.close()

    def cpu_seconds(self) -> float:
        """User and system time so far, of all its threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def status_mib(self, key: str) -> float:
        """A memory figure of /proc/PID/status: VmRSS now, VmHWM the peak since forget_peak()."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"^{key}:\s+(\d+) kB$", status, re.MULTILINE)[1]) / 1024

    def forget_peak(self) -> None:
        """Starts VmHWM anew from what is resident now."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")


@contextlib.contextmanager
def running_daemon(work: Path, settings: str = "") -> Iterator[Daemon]:
    """A daemon for as long as the block lasts, with these lines in its configuration."""
    daemon = Daemon(work, settings)
    try:
        yield daemon
    finally:
        daemon.stop()


# The stopwatch.


@dataclass
class Sample:
    """What one run cost."""

    wall_seconds: float
    cpu_seconds: float
    peak_mib: float
    cache_mib: float
    output: str
    daemon_cpu_seconds: float = 0.0
    daemon_peak_mib: float = 0.0


def cached_mib() -> float:
    """Page cache of files and block devices; tmpfs, which holds the disk itself, is left out."""
    info = dict(re.findall(r"^(\w+):\s+(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE))
    return (int(info["Cached"]) + int(info["Buffers"]) - int(info["Shmem"])) / 1024


def warm(*files: Path) -> None:
    """Empties the page cache but for the files a run reads, so that no run pays for another's leftovers."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("1")
    for file in files:
        with open(file, "rb", buffering=0) as source:
            while source.read(4 * MIB):
                pass


def measure(command: str, daemon: Daemon | None = None) -> Sample:
    """Runs a shell command and all it starts under the stopwatch; a failure shows its words and stops the benchmark."""
    environment = {**os.environ, "PATH": f"{BINARIES}:{os.environ['PATH']}"}
    if daemon:
        environment["BMSCTL_SOCKET"] = str(daemon.socket)
        daemon.forget_peak()
    daemon_cpu = daemon.cpu_seconds() if daemon else 0.0
    cache = cached_mib()
    with tempfile.NamedTemporaryFile("r") as report:
        # GNU time, because a child of this large process would start with this process's peak as its own.
        timed = ["time", "-f", "%U %S %M", "-o", report.name, "bash", "-euo", "pipefail", "-c", command]
        start = time.perf_counter()
        done = subprocess.run(timed, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wall = time.perf_counter() - start
        if done.returncode != 0:
            sys.exit(f"{command}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        user, system, peak_kib = report.read().split()
    grown = cached_mib() - cache
    sample = Sample(wall, float(user) + float(system), int(peak_kib) / 1024, grown, done.stdout)
    if daemon:
        sample.daemon_cpu_seconds = daemon.cpu_seconds() - daemon_cpu
        sample.daemon_peak_mib = daemon.status_mib("VmHWM")
    return sample


def interleave(rounds: int, jobs: dict[str, Callable[[], Sample]]) -> dict[str, list[Sample]]:
    """Runs all jobs in turn, `rounds` times: a noisy minute then falls on all of them."""
    samples = {name: [] for name in jobs}
    for number in range(rounds):
        for name, job in jobs.items():
            print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr)
            samples[name].append(job())
    return samples


def spread(values: list[float], digits: int = 2) -> str:
    """The median, and how far apart the runs were."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} - {high:.{digits}f})"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
