//! A disk at the speed of memory: a loop device with direct I/O over a memory file; and fio, which says what it takes.
//!
//! Nothing is left behind, however the process ends: the device lives as long as the descriptor that holds it, and the
//! memory as long as the device.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::Failure;

const FILL_BYTES: usize = 64 << 20;

/// The disk. It goes when this is dropped.
#[derive(Debug)]
pub(crate) struct RamDisk {
    node: PathBuf,
    /// Keeps the device attached.
    _hold: File,
}

impl RamDisk {
    /// A disk full of bytes that nothing compresses. It claims to spin, so that an install reads back only when it has
    /// written everything.
    pub(crate) fn new(len_bytes: u64) -> Result<Self, Failure> {
        let memory = File::from(memfd_create("write_path", MFdFlags::MFD_CLOEXEC)?);
        fill(&memory, len_bytes)?;
        let backing = format!("/proc/{}/fd/{}", std::process::id(), memory.as_raw_fd());
        let node = run("losetup", &["--find", "--show", "--direct-io=on", &backing])?;
        let node = PathBuf::from(node.trim());
        // What is detached while it is open goes with its last descriptor.
        let hold = File::open(&node);
        run("losetup", &["--detach", &node.to_string_lossy()])?;
        let disk = Self { node, _hold: hold? };
        std::fs::write(Path::new("/sys/block").join(disk.name()).join("queue/rotational"), "1")?;
        Ok(disk)
    }

    /// The kernel's name of the device.
    pub(crate) fn name(&self) -> String {
        self.node.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Bytes a second that fio writes in order, with these options.
    pub(crate) fn fio(&self, options: &[&str]) -> Result<f64, Failure> {
        let target = format!("--filename={}", self.node.display());
        let common =
            [target.as_str(), "--name=write", "--rw=write", "--bs=4M", "--direct=1", "--thread", "--group_reporting"];
        let report = run("fio", &[&common[..], &["--output-format=json"], options].concat())?;
        let report: serde_json::Value = serde_json::from_str(&report)?;
        let speed = report.pointer("/jobs/0/write/bw_bytes").and_then(serde_json::Value::as_f64);
        speed.ok_or_else(|| "fio reports no bandwidth".into())
    }
}

fn fill(mut memory: &File, len_bytes: u64) -> Result<(), Failure> {
    let mut noise = blake3::Hasher::new().update(b"the disk before").finalize_xof();
    let mut buffer = vec![0; FILL_BYTES];
    for _ in 0..len_bytes / FILL_BYTES as u64 {
        noise.fill(&mut buffer);
        memory.write_all(&buffer)?;
    }
    Ok(memory.set_len(len_bytes)?)
}

/// Runs a program to its end, and gives what it printed.
fn run(program: &str, arguments: &[&str]) -> Result<String, Failure> {
    let done = Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    if done.status.success() {
        return Ok(String::from_utf8(done.stdout)?);
    }
    Err(format!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&done.stderr).trim()).into())
}
