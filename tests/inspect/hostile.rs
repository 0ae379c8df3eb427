//! Images made to fool whoever looks into them, given to the shipped child in its sandbox.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use bms_agent::inspect::check::Checks;
use bms_agent::inspect::child::Inspector;
use bms_agent::inspect::examine::{Examination, Request};
use bms_agent::inspect::profile::{NetworkMode, Profile};
use bms_agent::inspect::reader::FileReader;
use bms_agent::inspect::report::{Finding, Status, Verdict};
use serde_json::Value;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::{run, text};

const SCRIPT: &str = "opt/huawei/network_config/bms-network_config.py";

/// A system with the network plug-in, as a tree and, once it is packed, as an image.
struct System(TempDir);

impl System {
    fn new() -> Self {
        let system = Self(tempfile::tempdir().expect("directory"));
        system.file("etc/os-release", "ID=debian\nVERSION_ID=12\n");
        system.file("usr/lib/systemd/systemd", "\x7fELF");
        system.file("etc/cloud/cloud.cfg", "datasource_list: [ConfigDrive]\n");
        system.file("opt/huawei/network_config/bms-network-config.conf", "[NETWORK_CONFIG]\nenable_bms_network=True\n");
        system.file(SCRIPT, "#!/usr/bin/python3\n");
        fs::set_permissions(system.path(SCRIPT), Permissions::from_mode(0o700)).expect("permissions");
        fs::create_dir_all(system.path("usr/bin")).expect("create");
        symlink(format!("/{SCRIPT}"), system.path("usr/bin/bms-network-config")).expect("link");
        system
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join("tree").join(path)
    }

    fn file(&self, path: &str, content: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("below the tree")).expect("create");
        fs::write(path, content).expect("write");
    }

    /// Takes away what is there.
    fn without(self, path: &str) -> Self {
        let path = self.path(path);
        if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }.expect("remove");
        self
    }

    fn with(self, change: impl FnOnce(&Self)) -> Self {
        change(&self);
        self
    }

    fn pack(&self) -> PathBuf {
        let image = self.0.path().join("image");
        File::create(&image).expect("create").set_len(16 << 20).expect("length");
        run("mkfs.ext4", &["-q", "-d", text(&self.path("")), text(&image)]);
        image
    }
}

fn examine(image: &Path, inspector: &Inspector) -> Examination {
    let file = File::open(image).expect("open");
    let len_bytes = file.metadata().expect("metadata").len();
    let profile = Profile { network_mode: Some(NetworkMode::Centralized), ..Profile::default() };
    let request = Request {
        logical_block_size: None,
        profile,
        checks: Checks::built_in().expect("checks").into(),
        devices: Vec::new(),
    };
    let reader = FileReader::new(file, len_bytes);
    let examination = inspector.examine(&reader, &request, &CancellationToken::new()).expect("an answer");
    let mut texts = Vec::new();
    collect(&serde_json::to_value(&examination).expect("JSON"), &mut texts);
    assert!(texts.iter().all(|text| !text.contains(char::is_control)), "{texts:#?}");
    examination
}

/// All that is said.
fn collect(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) => texts.push(text.clone()),
        Value::Array(values) => values.iter().for_each(|value| collect(value, texts)),
        Value::Object(values) => values.values().for_each(|value| collect(value, texts)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn inspector() -> Inspector {
    Inspector::new(Path::new(env!("CARGO_BIN_EXE_bms-agent")))
}

fn finding<'a>(examination: &'a Examination, id: &str) -> &'a Finding {
    examination.report.findings.iter().find(|finding| finding.id == id).expect("a finding")
}

/// What the check of the plug-in's files says, and why.
fn plug_in(system: &System) -> (Status, String) {
    let examination = examine(&system.pack(), &inspector());
    let finding = finding(&examination, "BN-01");
    (finding.status, finding.reason.clone())
}

#[test]
#[ignore = "needs root, to make a device, and the tools of ext4"]
fn a_plug_in_that_is_no_proper_file_is_not_installed() {
    assert_eq!(plug_in(&System::new()).0, Status::Pass);
    let bare = || System::new().without(SCRIPT);
    let cases: [(&str, System); 8] = [
        ("FIFO", bare().with(|system| drop(run("mkfifo", &[&system.path(SCRIPT)])))),
        ("device", bare().with(|system| drop(run("mknod", &[text(&system.path(SCRIPT)), "c", "1", "3"])))),
        ("directory", bare().with(|system| fs::create_dir(system.path(SCRIPT)).expect("create"))),
        ("nothing", bare().with(|system| system.file(SCRIPT, ""))),
        (
            "a link to itself",
            bare().with(|system| symlink("bms-network_config.py", system.path(SCRIPT)).expect("link")),
        ),
        ("a file of the host", bare().with(|system| symlink("/proc/self/exe", system.path(SCRIPT)).expect("link"))),
        (
            "far above the root",
            bare().with(|system| {
                symlink("../../../../../../../../etc/passwd", system.path(SCRIPT)).expect("link");
            }),
        ),
        (
            "a directory above the root",
            System::new().without("opt/huawei").with(|system| {
                symlink("../../../../proc", system.path("opt/huawei")).expect("link");
            }),
        ),
    ];
    for (what, system) in cases {
        let (status, reason) = plug_in(&system);
        assert_eq!(status, Status::Fail, "{what}: {reason}");
    }
    let setuid = System::new().with(|system| {
        fs::set_permissions(system.path(SCRIPT), Permissions::from_mode(0o4755)).expect("permissions");
    });
    assert_eq!(plug_in(&setuid).0, Status::Warn);
}

#[test]
#[ignore = "needs the tools of ext4"]
fn a_system_whose_etc_leads_nowhere_is_unknown() {
    let system = System::new().without("etc").with(|system| symlink("etc", system.path("etc")).expect("link"));
    let examination = examine(&system.pack(), &inspector());
    assert_eq!(examination.os, None);
    assert_eq!(examination.report.verdicts.image, Verdict::Unknown, "{:?}", examination.notes);
}

#[test]
#[ignore = "needs the tools of ext4"]
fn a_configuration_of_16_tib_is_unknown_and_costs_little() {
    let system = System::new();
    let image = system.pack();
    let size = (16_u64 << 40) - 4096;
    run("debugfs", &["-w", "-R", &format!("set_inode_field /etc/cloud/cloud.cfg size {size}"), text(&image)]);
    let examination = examine(&image, &inspector());
    let finding = finding(&examination, "CI-03");
    assert_eq!(finding.status, Status::Unknown, "{finding:?}");
    assert!(examination.read_bytes < 32 << 20, "{}", examination.read_bytes);
}

#[test]
#[ignore = "needs the tools of ext4"]
fn what_a_stranger_wrote_cannot_move_or_colour_what_is_around_it() {
    let system = System::new();
    system.file(
        "etc/os-release",
        "ID=debian\nPRETTY_NAME=\"Debian\x1b]0;owned\x07\x1b[31m\u{202e}\"\nVERSION_ID=\"12\x1b[2J\"\n",
    );
    let name = "opt/huawei/network_config/x\nPASS \x1b[32mall is well";
    system.file(name, "x");
    fs::set_permissions(system.path(name), Permissions::from_mode(0o666)).expect("permissions");
    system.file("boot/grub/grub.cfg", "menuentry 'a\x1b[1m' {\n linux /boot/vmlinuz-6\x1b[5m root=/dev/sda\n}\n");
    // That everything is printable is asserted of every examination; here that there was something to print.
    let examination = examine(&system.pack(), &inspector());
    let finding = finding(&examination, "BN-07");
    assert_eq!(finding.status, Status::Warn, "{finding:?}");
    assert!(format!("{finding:?}").contains("all is well"), "{finding:?}");
}

/// Every system call of the child that could reach a file of the host comes before its sandbox.
#[test]
#[ignore = "needs strace and the tools of ext4"]
fn no_file_of_the_host_is_looked_at_whatever_links_say() {
    let system = System::new().without("opt/huawei").without("etc/cloud/cloud.cfg").with(|system| {
        symlink("../../../../proc", system.path("opt/huawei")).expect("link");
        symlink("/etc/passwd", system.path("etc/cloud/cloud.cfg")).expect("link");
    });
    let image = system.pack();
    let directory = tempfile::tempdir().expect("directory");
    let at = |name: &str| directory.path().join(name);
    let (wrapper, log, fifo) = (at("child"), at("log"), at("fifo"));
    run("mkfifo", &[&fifo]);
    // The wrapper is killed after the answer. What it started is not, and holds the FIFO open until the log is written.
    let command = format!(
        "#!/bin/sh\nexec 3>{} 4<&0\nstrace -f -o {} -e trace=%file,%desc,seccomp {} \"$@\" <&4 4<&- &\nwait\n",
        fifo.display(),
        log.display(),
        env!("CARGO_BIN_EXE_bms-agent")
    );
    // Written by another process: what another test starts meanwhile would inherit a descriptor of this one, and a program
    // that anybody has open for writing does not start.
    let write = "printf %s \"$1\" >\"$0\" && chmod 700 \"$0\"";
    run("sh", &["-c", write, text(&wrapper), &command]);
    let ended = std::thread::spawn(move || fs::read(fifo));
    examine(&image, &Inspector::new(&wrapper));
    assert_eq!(ended.join().expect("no panic").expect("read"), b"");

    let log = fs::read_to_string(log).expect("read");
    let (_, after) = log.split_once("seccomp(SECCOMP_SET_MODE_FILTER").expect("a sandbox");
    // strace pads short process ids, so there may be more than one space after them.
    let call =
        |line: &str| line.split_whitespace().nth(1).map(|call| call.split('(').next().unwrap_or_default().to_owned());
    let mut calls: Vec<_> = after.lines().skip(1).filter_map(call).collect();
    assert!(calls.iter().filter(|call| *call == "read").count() > 5, "it asks for bytes: {after}");
    calls.retain(|call| !["read", "write", "mmap", "munmap", "close", "+++"].contains(&call.as_str()));
    assert!(calls.is_empty(), "{calls:?}");
}
