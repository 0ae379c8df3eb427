//! The unit's sandbox, from inside: a probe tries what must not be possible, as the unit and as a service without a sandbox.

use std::collections::BTreeMap;

use crate::disk::LoopDisk;
use crate::machine::{Machine, Network};

const PROBE: &str = include_str!("probe.pl");
const REFUSED: &str = "Operation not permitted";
const DENIED: &str = "Permission denied";
const READ_ONLY: &str = "Read-only file system";

/// What the unit needs.
const ALLOWED: [&str; 4] =
    ["open the disk for writing", "write the state directory", "listen on port 7443", "read the list of mounts"];
/// What it must not be able to do, and what it is told.
const FORBIDDEN: [(&str, &str); 22] = [
    ("mount", REFUSED),
    ("load a module from memory", REFUSED),
    ("load a module from a file", REFUSED),
    ("set the clock", REFUSED),
    ("swap", REFUSED),
    ("set the host name", REFUSED),
    ("trace process 1", REFUSED),
    ("make a mount namespace", REFUSED),
    ("make a user namespace", REFUSED),
    ("run in real time", REFUSED),
    ("map writable code", REFUSED),
    ("open a packet socket", "Address family not supported by protocol"),
    ("open a raw socket", REFUSED),
    ("list /home", DENIED),
    ("list /root", DENIED),
    ("write /etc", READ_ONLY),
    ("write /usr", READ_ONLY),
    ("write /boot", READ_ONLY),
    ("open a device that is no disk", REFUSED),
    ("make a device", REFUSED),
    ("make a setuid program", REFUSED),
    ("read the log of the kernel", DENIED),
];
/// What a service without a sandbox is told where it tries something that is harmless because it cannot succeed.
const HARMLESS: [&str; 4] =
    ["Function not implemented", "Exec format error", "Invalid argument", "No such file or directory"];

/// Runs the probe as a service of these lines; what it printed for each attempt.
fn probe(machine: &Machine, name: &str, service: &str, disk: &LoopDisk) -> BTreeMap<String, String> {
    machine.write("/usr/local/lib/probe.pl", PROBE);
    let start = format!("/usr/bin/perl /usr/local/lib/probe.pl {}", disk.node());
    let output = format!("StandardOutput=truncate:/run/{name}\nStandardError=inherit");
    let unit = format!("[Service]\nType=oneshot\nExecStart={start}\n{output}\n{service}\n");
    machine.write(&format!("/run/systemd/system/{name}.service"), unit);
    machine.run(&["systemctl", "daemon-reload"]);
    machine.run(&["systemctl", "start", name]);
    let said = machine.read(&format!("/run/{name}"));
    said.lines().map(|line| line.split_once(": ").unwrap_or_else(|| panic!("{line}"))).map(owned).collect()
}

fn owned((name, result): (&str, &str)) -> (String, String) {
    (name.to_owned(), result.to_owned())
}

/// The settings of the unit, but for what says which program runs and how it is watched.
fn settings(machine: &Machine) -> String {
    let unit = machine.read("/usr/lib/systemd/system/bms-agent.service");
    let (_, service) = unit.split_once("[Service]\n").expect("a service");
    let (service, _) = service.split_once("[Install]").expect("and its end");
    let life = ["Type=", "ExecStart=", "ExecReload=", "WatchdogSec=", "Restart"];
    let lines = service.lines().filter(|line| !life.iter().any(|key| line.starts_with(key)));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
#[ignore = "needs root, loop devices, systemd-nspawn and its tree: tests/run.sh"]
fn what_the_unit_forbids_fails_and_what_it_needs_works() {
    let disk = LoopDisk::new(1 << 20);
    let machine = Machine::with_package(Network::Own, &[&disk], "");
    let settings = settings(&machine);
    let inside = probe(&machine, "inside", &format!("{settings}\nDeviceAllow=block-loop rw"), &disk);
    let outside = probe(&machine, "outside", "PrivateMounts=yes\nStateDirectory=bms-agent", &disk);
    assert_eq!(inside.len(), ALLOWED.len() + FORBIDDEN.len(), "{inside:#?}");
    for name in ALLOWED {
        assert_eq!((&*inside[name], &*outside[name]), ("possible", "possible"), "{name}");
    }
    for (name, expected) in FORBIDDEN {
        assert_eq!(inside[name], expected, "{name}");
        // Otherwise the machine would forbid it, and the sandbox prove nothing.
        let result = &*outside[name];
        assert!(result == "possible" || HARMLESS.contains(&result), "{name} outside of the sandbox: {result}");
    }
    // Loop devices are for tests: the unit as it is shipped does not open them.
    let shipped = probe(&machine, "shipped", &settings, &disk);
    assert_eq!(shipped["open the disk for writing"], REFUSED);
}
