//! What the tests stand on: loop devices, the daemon, the command line, a client that may lie, images, chance, and real
//! servers behind a network that breaks.

pub(crate) mod authority;
pub(crate) mod chaos;
pub(crate) mod client;
pub(crate) mod ctl;
pub(crate) mod daemon;
pub(crate) mod disk;
pub(crate) mod garage;
pub(crate) mod ground;
pub(crate) mod hostile;
pub(crate) mod image;
pub(crate) mod liar;
pub(crate) mod machine;
pub(crate) mod nginx;
pub(crate) mod raw;
pub(crate) mod repository;
pub(crate) mod secure;
pub(crate) mod seed;
pub(crate) mod server;
pub(crate) mod site;
pub(crate) mod trail;

use std::ffi::OsStr;
use std::process::Command;
use std::time::{Duration, Instant};

pub(crate) use daemon::Daemon;
pub(crate) use disk::LoopDisk;
pub(crate) use image::Image;
pub(crate) use seed::Seed;

pub(crate) const KIB: u64 = 1 << 10;
pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const GIB: u64 = 1 << 30;

/// Runs a program to its end, and gives what it printed.
pub(crate) fn run<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> String {
    try_run(program, arguments).unwrap_or_else(|error| panic!("{program}: {error}"))
}

/// The same; what it said, where it failed.
pub(crate) fn try_run<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Waits until the kernel has done what it was asked for; it tells nobody when.
pub(crate) fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < Duration::from_secs(60), "not within 60 s: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
