//! Trees of sysfs, procfs and links in a temporary directory, as real kernels show them. Tests only.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::discovery::{Discovery, Disk};
use super::roots::Roots;

/// A server's `/sys`, `/proc` and `/dev`, empty at first.
pub(crate) struct Fixture {
    dir: TempDir,
}

/// One whole block device in a fixture.
pub(crate) struct Device<'a> {
    fixture: &'a Fixture,
    directory: PathBuf,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        // Hundreds of small files take seconds on a disk that is busy.
        let memory = Path::new("/dev/shm");
        let directory = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let fixture = Self { dir: tempfile::tempdir_in(directory).expect("tempdir") };
        for directory in ["sys/block", "sys/dev/block", "sys/devices", "proc/self", "dev/disk/by-path"] {
            fs::create_dir_all(fixture.path(directory)).expect("directory");
        }
        fixture.mounts(&[]);
        fixture.write("proc/swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n");
        fixture
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    pub(crate) fn roots(&self) -> Roots {
        Roots::below(self.dir.path())
    }

    pub(crate) fn discovery(&self) -> Discovery {
        Discovery { roots: self.roots(), ..Discovery::default() }
    }

    pub(crate) fn scan(&self) -> Vec<Disk> {
        self.discovery().scan().expect("scan")
    }

    pub(crate) fn write(&self, below: &str, content: impl AsRef<[u8]>) {
        let path = self.path(below);
        fs::create_dir_all(path.parent().expect("parent")).expect("directory");
        fs::write(path, content).expect("write");
    }

    pub(crate) fn link(&self, below: &str, target: &str) {
        let path = self.path(below);
        fs::create_dir_all(path.parent().expect("parent")).expect("directory");
        symlink(target, path).expect("symlink");
    }

    /// Mounts: number, target, type and source of each.
    pub(crate) fn mounts(&self, mounts: &[(&str, &str, &str, &str)]) {
        let line = |(number, target, kind, source): &(&str, &str, &str, &str)| {
            format!("30 1 {number} / {target} rw,relatime shared:1 - {kind} {source} rw\n")
        };
        self.write("proc/self/mountinfo", mounts.iter().map(line).collect::<String>());
    }

    pub(crate) fn swaps(&self, names: &[&str]) {
        let lines: String = names.iter().map(|name| format!("{name}\tpartition\t1024\t0\t-2\n")).collect();
        self.write("proc/swaps", format!("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n{lines}"));
    }

    /// A block device of 40 GiB at `device_path` below `/sys/devices`, with nothing to tell it by.
    pub(crate) fn device(&self, device_path: &str, number: &str) -> Device<'_> {
        let name = Path::new(device_path).file_name().and_then(|name| name.to_str()).expect("name");
        self.link(&format!("sys/block/{name}"), &format!("../devices/{device_path}"));
        self.link(&format!("sys/dev/block/{number}"), &format!("../../devices/{device_path}"));
        let device = Device { fixture: self, directory: PathBuf::from("sys/devices").join(device_path) };
        device
            .attribute("dev", format!("{number}\n"))
            .attribute("size", "83886080\n")
            .attribute("ro", "0\n")
            .attribute("removable", "0\n")
            .attribute("hidden", "0\n")
            .attribute("diskseq", "7\n")
            .attribute("queue/logical_block_size", "512\n")
            .attribute("queue/physical_block_size", "4096\n")
            .attribute("queue/rotational", "0\n")
            .attribute("queue/write_zeroes_max_bytes", "2097152\n")
    }

    pub(crate) fn nvme(&self, name: &str, number: &str, serial: &str) -> Device<'_> {
        self.device(&format!("pci0000:00/0000:00:1d.0/0000:02:00.0/nvme/nvme0/{name}"), number)
            .attribute("device/serial", format!("{serial:<20}\n"))
            .attribute("device/model", "SAMSUNG MZQL21T9HCJR-00A07              \n")
            .subsystem("nvme")
    }

    /// A SATA disk: its serial is in a binary page, its name in `wwid`.
    pub(crate) fn sata(&self, name: &str, number: &str, serial: &str) -> Device<'_> {
        let mut page = vec![0x00, 0x80, 0x00, u8::try_from(serial.len()).expect("short")];
        page.extend_from_slice(serial.as_bytes());
        self.device(&format!("pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block/{name}"), number)
            .attribute("device/vpd_pg80", page)
            .attribute("device/model", "ST4000NM0035-1V4\n")
            .attribute("queue/rotational", "1\n")
            .subsystem("scsi")
    }

    pub(crate) fn virtio(&self, name: &str, number: &str, serial: &str) -> Device<'_> {
        self.device(&format!("pci0000:00/0000:00:04.0/virtio1/block/{name}"), number)
            .attribute("serial", serial)
            .subsystem("virtio")
    }

    pub(crate) fn loop_device(&self, name: &str, number: &str, file: &str) -> Device<'_> {
        self.device(&format!("virtual/block/{name}"), number).attribute("loop/backing_file", format!("{file}\n"))
    }

    pub(crate) fn mapper(&self, name: &str, number: &str, mapper_name: &str) -> Device<'_> {
        self.device(&format!("virtual/block/{name}"), number).attribute("dm/name", format!("{mapper_name}\n"))
    }
}

impl Device<'_> {
    pub(crate) fn attribute(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.directory.join(name);
        self.fixture.write(path.to_str().expect("UTF-8"), content);
        self
    }

    pub(crate) fn without(self, name: &str) -> Self {
        fs::remove_file(self.fixture.dir.path().join(&self.directory).join(name)).expect("attribute");
        self
    }

    /// Puts a FIFO in the place of an attribute.
    pub(crate) fn fifo(self, name: &str) -> Self {
        let path = self.fixture.dir.path().join(&self.directory).join(name);
        fs::remove_file(&path).expect("attribute");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600)).expect("mkfifo");
        self
    }

    fn subsystem(self, name: &str) -> Self {
        let link = self.directory.join("device/subsystem");
        self.fixture.link(link.to_str().expect("UTF-8"), &format!("../../../bus/{name}"));
        self
    }

    pub(crate) fn partition(self, name: &str, number: &str) -> Self {
        self.attribute(&format!("{name}/partition"), "1\n")
            .attribute(&format!("{name}/dev"), format!("{number}\n"))
            .attribute(&format!("{name}/size"), "2048\n")
    }

    /// Says that `holder` was built on `part`: a partition, or "" for the device itself.
    pub(crate) fn held(self, part: &str, holder: &str) -> Self {
        let lower = if part.is_empty() {
            self.directory.file_name().and_then(|name| name.to_str()).expect("UTF-8").to_owned()
        } else {
            part.to_owned()
        };
        let holders = self.directory.join(part).join("holders").join(holder);
        self.fixture.link(holders.to_str().expect("UTF-8"), &format!("../../../{holder}"));
        self.fixture.link(&format!("sys/devices/virtual/block/{holder}/slaves/{lower}"), &format!("../../{lower}"));
        self
    }
}
