//! The service as operators meet it: the package of the programs under test, its units, and their sandbox, in a real systemd.
//!
//! Every test boots a small Debian of its own with systemd-nspawn (`tests/fixtures/systemd-tree.sh` makes its tree) and installs
//! the package there. Nothing of the machine that the tests run on is changed but loop devices, which are detached after.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "all of this is tests: they fail by panicking, and say what the machine said"
)]

mod cgroup;
mod devices;
mod disk;
mod gate;
mod life;
mod machine;
mod package;
mod sandbox;
mod sockets;
mod stop;

use std::ffi::OsStr;
use std::process::Command;
use std::time::{Duration, Instant};

/// Runs a program to its end, and gives what it printed.
fn run<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
}

/// Waits for what others do in their own time, and tell nobody.
fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < Duration::from_secs(180), "not within 180 s: {what}");
        std::thread::park_timeout(Duration::from_millis(100));
    }
}
