//! The service from its start to its end by itself: ready, at work, wedged, wrongly configured, crashing.

use serde_json::Value;

use crate::disk::{LoopDisk, image};
use crate::eventually;
use crate::gate::Gate;
use crate::machine::{Machine, Network};

const MIB: usize = 1 << 20;

/// A machine whose agent fetches an image, of which the gate has let half through; the image's root.
pub(crate) fn half_installed(disk: &LoopDisk, lines: &str, drop_in: &str) -> (Machine, Gate, String) {
    let content = image(32 * MIB);
    let root = blake3::hash(&content).to_string();
    let gate = Gate::serve(content);
    // The tree has no authorities, without which there is no client of HTTP: any will do.
    let http = "[http]\nca = \"/etc/bms-agent/tls/ca.pem\"";
    let lines = format!("allowed_urls = [{:?}]\n{lines}\n{http}", gate.allowed());
    let machine = Machine::with_package(Network::Shared, &[disk], &lines);
    machine.run(&["bmsctl", "tls", "init", "/etc/bms-agent/tls", "--name", "localhost"]);
    machine.drop_in("life", drop_in);
    machine.run(&["systemctl", "start", "bms-agent"]);
    let (size, selector) = ((32 * MIB).to_string(), disk.selector());
    let what = ["--image", &gate.url(), "--size", &size, "--root", &root, "--disk", &selector, "--yes"].join(" ");
    // The caller goes away with the connection; the install is the agent's.
    machine.run(&["systemd-run", "--quiet", "--unit=caller", "sh", "-c", &format!("exec bmsctl install {what}")]);
    eventually("half of the image is on the disk", || {
        install(&machine).is_some_and(|install| install["progress"]["written_bytes"].as_u64() >= Some(8 << 20))
    });
    assert!(disk.is_marked(), "an install that runs has no marker");
    (machine, gate, root)
}

/// The one install that the agent knows of.
fn install(machine: &Machine) -> Option<Value> {
    let answer = machine.say(&["bmsctl", "--output", "json", "operation", "list"]);
    serde_json::from_str::<Value>(&answer).ok()?["operations"].as_array()?.first().cloned()
}

/// Waits until the install is done, by an agent that nobody asked for it.
pub(crate) fn ends_well(machine: &Machine, disk: &LoopDisk, root: &str) {
    eventually("the install is done", || install(machine).is_some_and(|install| install["done"] == true));
    assert_eq!(disk.root(32 << 20), root);
    machine.bmsctl(&["verify", "--disk", &disk.selector()]);
}

#[test]
#[ignore = "needs root, loop devices, systemd-nspawn and its tree: tests/run.sh"]
fn a_ready_service_installs_and_verifies_within_its_sandbox() {
    let disk = LoopDisk::new(24 << 20);
    let machine = Machine::with_package(Network::Own, &[&disk], "");
    machine.run(&["systemctl", "enable", "--now", "bms-agent"]);
    for (property, expected) in [("Type", "notify"), ("ActiveState", "active"), ("Result", "success")] {
        assert_eq!(machine.show(property), expected, "{property}");
    }
    // It comes with the first pulse, after READY.
    eventually("it says what it does", || machine.show("StatusText") == "idle");
    let content = image(16 * MIB);
    machine.write("/root/image.raw", &content);
    let selector = disk.selector();
    machine.bmsctl(&["install", "--image", "/root/image.raw", "--disk", &selector, "--yes"]);
    assert_eq!(disk.root(16 << 20), blake3::hash(&content).to_string());
    machine.bmsctl(&["verify", "--disk", &selector]);
    machine.sync_journal();
    let fields = machine.run(&["journalctl", "--output=json", "--unit=bms-agent"]);
    assert!(fields.contains("\"F_OPERATION\":"), "logs without their fields: {fields}");
    // What it keeps is its own, and outlives it.
    assert_eq!(machine.run(&["stat", "--format=%a %U", "/var/lib/bms-agent", "/run/bms-agent"]), "700 root\n711 root");
    machine.run(&["systemctl", "restart", "bms-agent"]);
    machine.bmsctl(&["verify", "--disk", &selector]);
}

#[test]
#[ignore = "needs root, loop devices, systemd-nspawn and its tree: tests/run.sh"]
fn a_wedged_agent_is_killed_and_its_successor_goes_on_with_the_install() {
    let disk = LoopDisk::new(40 << 20);
    let (machine, gate, root) = half_installed(&disk, "", "[Service]\nWatchdogSec=10\n");
    let wedged = machine.show("MainPID");
    assert_eq!(machine.show("NRestarts"), "0");
    machine.run(&["systemctl", "kill", "--signal=STOP", "--kill-whom=main", "bms-agent"]);
    eventually("a successor runs", || {
        machine.show("NRestarts") == "1" && machine.show("ActiveState") == "active" && machine.show("MainPID") != wedged
    });
    assert!(machine.journal().contains("Watchdog timeout"), "{}", machine.journal());
    gate.open();
    ends_well(&machine, &disk, &root);
}

#[test]
#[ignore = "needs root, systemd-nspawn and its tree: tests/run.sh"]
fn a_wrong_configuration_is_told_once() {
    let machine = Machine::with_package(Network::Own, &[], "nonsense = 1");
    assert!(!machine.command(&["systemctl", "start", "bms-agent"]).status.success());
    for (property, expected) in
        [("ActiveState", "failed"), ("Result", "exit-code"), ("ExecMainStatus", "78"), ("NRestarts", "0")]
    {
        assert_eq!(machine.show(property), expected, "{property}");
    }
    let journal = machine.journal();
    assert_eq!(journal.matches("unknown field `nonsense`").count(), 1, "{journal}");
    machine.write("/etc/bms-agent/config.toml", "");
    machine.run(&["systemctl", "start", "bms-agent"]);
}

#[test]
#[ignore = "needs root, systemd-nspawn and its tree: tests/run.sh"]
fn an_agent_that_crashes_again_and_again_stays_down_after_the_fifth_time() {
    let machine = Machine::with_package(Network::Own, &[], "");
    machine.drop_in("hasty", "[Service]\nRestartSec=100ms\n");
    machine.run(&["systemctl", "start", "bms-agent"]);
    for crash in 1..=5 {
        machine.run(&["systemctl", "kill", "--signal=KILL", "--kill-whom=main", "bms-agent"]);
        let restarts = crash.to_string();
        eventually("it is back, or down", || match machine.show("ActiveState").as_str() {
            "active" => machine.show("NRestarts") == restarts,
            state => state == "failed",
        });
    }
    assert_eq!(machine.show("ActiveState"), "failed");
    assert!(machine.journal().contains("Start request repeated too quickly"), "{}", machine.journal());
    // Its state is as readable as ever, once somebody has looked into it.
    machine.run(&["systemctl", "reset-failed", "bms-agent"]);
    machine.run(&["systemctl", "start", "bms-agent"]);
}
