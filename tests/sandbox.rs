//! The sandbox from within: a process of its own enters it, and then tries what it must not be able to do.
//!
//! A program without the usual harness, for that has threads, and a sandbox is for the rest of a process's life.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "all of this is a test: it fails by panicking, and says what it does"
)]

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::UdpSocket;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use bms_agent::inspect::sandbox;
use nix::errno::Errno;

/// Length of what stands for the disk.
const DISK_BYTES: u64 = 8192;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("inside") => inside(),
        Some("linger") => linger(),
        // What the harness would have been told does not matter here.
        Some(_) | None => outside(),
    }
}

fn outside() {
    let disk = tempfile::NamedTempFile::new().expect("file");
    disk.as_file().set_len(DISK_BYTES).expect("length");
    let start = |mode: &str| {
        let mut command = Command::new(std::env::current_exe().expect("itself"));
        command.arg(mode).stdin(File::open(disk.path()).expect("open"));
        command
    };
    let output = start("inside").output().expect("start");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "nothing was possible");

    let mut child = start("linger").stdout(Stdio::piped()).spawn().expect("start");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("it says that it is in");
    let proc = |name: &str| fs::read_to_string(format!("/proc/{}/{name}", child.id())).expect("it runs");
    let (status, limits) = (proc("status"), proc("limits"));
    child.kill().expect("kill");
    child.wait().expect("wait");
    assert_eq!(line, "in\n");
    for expected in ["CapEff 0000000000000000", "CapPrm 0000000000000000", "NoNewPrivs 1", "Seccomp 2", "Threads 1"] {
        assert!(status.lines().any(|line| line.replace(":\t", " ") == expected), "{expected}: {status}");
    }
    for expected in [
        "Max cpu time 60 60 seconds",
        "Max file size 0 0 bytes",
        "Max core file size 0 0 bytes",
        "Max processes 0 0 processes",
        "Max open files 0 0 files",
        "Max address space 268435456 268435456 bytes",
    ] {
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(limits.lines().any(|line| words(line) == expected), "{expected}: {limits}");
    }
    println!("the sandbox holds");
}

/// Enters the sandbox; what is opened before is what a leak would leave.
fn linger() {
    sandbox::enter(sandbox::Source::Disk(io::stdin().as_fd())).expect("the sandbox");
    println!("in");
    loop {
        std::hint::spin_loop();
    }
}

fn inside() {
    let disk = File::from(io::stdin().as_fd().try_clone_to_owned().expect("duplicate"));
    let leaked = File::options().read(true).write(true).open("/dev/zero").expect("open");
    let parent = rustix::process::getppid().expect("a parent");
    sandbox::enter(sandbox::Source::Disk(disk.as_fd())).expect("the sandbox");

    let mut block = [1; 4096];
    disk.read_exact_at(&mut block, 4096).expect("the disk can be read");
    assert_eq!(block, [0; 4096]);

    refused("open for reading", File::open("/etc/passwd"));
    refused("open for writing", File::create("/tmp/sandbox"));
    refused("open a directory", fs::read_dir("/"));
    refused("stat", fs::metadata("/"));
    refused("remove", fs::remove_file("/tmp/sandbox"));
    refused("read another descriptor by offset", leaked.read_at(&mut block, 0));
    refused("read another descriptor", (&leaked).read(&mut block));
    refused("write another descriptor", (&leaked).write(&block));
    refused("write the disk", disk.write_at(&block, 0));
    refused("read the disk without an offset", (&disk).read(&mut block));
    refused("a socket of the network", UdpSocket::bind("127.0.0.1:0"));
    refused("a local socket", UnixStream::connect("/run/bms-agent/agent.sock"));
    refused("a pair of sockets", UnixStream::pair());
    refused("a process", Command::new("/bin/true").stdin(Stdio::inherit()).spawn());
    refused("a thread", std::thread::Builder::new().spawn(|| ()));
    let errno = |error: rustix::io::Errno| io::Error::from_raw_os_error(error.raw_os_error());
    refused("kill the parent", rustix::process::kill_process(parent, rustix::process::Signal::CONT).map_err(errno));
    refused(
        "trace",
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable).map_err(errno),
    );
    refused("duplicate", disk.try_clone());
    let mut memory: Vec<u8> = Vec::new();
    memory.try_reserve_exact(256 << 20).expect_err("there is no more memory than the limit");
    memory.try_reserve_exact(32 << 20).expect("but what is needed");
    println!("nothing was possible");
}

fn refused<T>(what: &str, result: io::Result<T>) {
    match result {
        Ok(_) => panic!("possible: {what}"),
        Err(error) => assert_eq!(error.raw_os_error(), Some(Errno::EPERM as i32), "{what}: {error}"),
    }
}
