//! Sockets: systemd's, the agent's own, and the way from one to the other; and TCP with the example of credentials.

use std::fs;
use std::path::Path;

use crate::eventually;
use crate::machine::{Machine, Network};

const SOCKET: &str = "/run/bms-agent/agent.sock";

/// Whether an agent answers.
fn answers(machine: &Machine) -> bool {
    machine.command(&["bmsctl", "--output", "json", "host", "show"]).status.success()
}

#[test]
#[ignore = "needs root, systemd-nspawn and its tree: tests/run.sh"]
fn a_call_starts_the_agent_where_systemd_listens_and_its_end_costs_no_socket() {
    let machine = Machine::with_package(Network::Own, &[], "");
    let active = |unit: &str| machine.say(&["systemctl", "is-active", unit]) == "active";
    // An agent answers before systemd has heard that it is ready.
    let is_active = || active("bms-agent.service");
    machine.run(&["systemctl", "start", "bms-agent.socket"]);
    assert!(!is_active());
    assert_eq!(machine.run(&["stat", "--format=%a", SOCKET, "/run/bms-agent"]), "600\n711");
    assert!(answers(&machine));
    eventually("the service is active", is_active);
    // The directory of the socket is the service's too, and must not go with it.
    machine.run(&["systemctl", "stop", "bms-agent.service"]);
    assert!(active("bms-agent.socket") && machine.path(SOCKET).exists());
    assert!(answers(&machine));
    eventually("the service is active", is_active);
    machine.run(&["systemctl", "restart", "bms-agent.service"]);
    assert!(answers(&machine));
    // An agent that runs keeps what it was given.
    machine.run(&["systemctl", "stop", "bms-agent.socket"]);
    assert!(answers(&machine));
    eventually("the service is active", is_active);
    // Without the unit it listens by itself, and takes its socket away.
    machine.run(&["systemctl", "restart", "bms-agent.service"]);
    assert!(answers(&machine) && !active("bms-agent.socket"));
    machine.run(&["systemctl", "stop", "bms-agent.service"]);
    assert!(!machine.path(SOCKET).exists() && !answers(&machine));
}

#[test]
#[ignore = "needs root, systemd-nspawn and its tree: tests/run.sh"]
fn with_the_example_of_credentials_it_serves_tcp() {
    let table = "[tcp]\nlisten = [\"127.0.0.1:7443\"]\ncertificate = \"tls.pem\"\nkey = \"tls.key\"\nclient_ca = \"clients.pem\"";
    let machine = Machine::with_package(Network::Own, &[], table);
    machine.run(&["bmsctl", "tls", "init", "/root/tls", "--name", "127.0.0.1"]);
    for (from, to) in [("server.pem", "tls.pem"), ("server.key", "tls.key"), ("ca.pem", "clients.pem")] {
        machine.run(&["cp", "-p", &format!("/root/tls/{from}"), &format!("/etc/bms-agent/{to}")]);
    }
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/examples/tls.conf");
    machine.drop_in("tls", &fs::read_to_string(example).expect("read"));
    machine.run(&["systemctl", "start", "bms-agent"]);
    let caller = ["--cert", "/root/tls/observer.pem", "--key", "/root/tls/observer.key", "--ca", "/root/tls/ca.pem"];
    machine.bmsctl(&[&["--host", "127.0.0.1"], &caller[..], &["disk", "list"]].concat());
}

#[test]
#[ignore = "needs root, systemd-nspawn and its tree: tests/run.sh"]
fn systemd_listens_on_tcp_as_the_socket_unit_shows() {
    let table = "[tcp]\ncertificate = \"/root/tls/server.pem\"\nkey = \"/root/tls/server.key\"\nclient_ca = \"/root/tls/ca.pem\"";
    let machine = Machine::with_package(Network::Own, &[], &table.replace("/root/tls", "/etc/bms-agent/tls"));
    machine.run(&["bmsctl", "tls", "init", "/etc/bms-agent/tls", "--name", "127.0.0.1"]);
    let unit = machine.read("/usr/lib/systemd/system/bms-agent.socket");
    let shown = unit.lines().find_map(|line| line.strip_prefix("#ListenStream=")).expect("an example");
    machine.write("/etc/systemd/system/bms-agent.socket.d/tcp.conf", format!("[Socket]\nListenStream={shown}\n"));
    machine.run(&["systemctl", "daemon-reload"]);
    machine.run(&["systemctl", "start", "bms-agent.socket"]);
    let file = |name: &str| format!("/etc/bms-agent/tls/{name}");
    let (cert, key, ca) = (file("observer.pem"), file("observer.key"), file("ca.pem"));
    machine.bmsctl(&["--host", "127.0.0.1", "--cert", &cert, "--key", &key, "--ca", &ca, "disk", "list"]);
    let is_active = || machine.say(&["systemctl", "is-active", "bms-agent.service"]) == "active";
    eventually("the service is active", is_active);
}
