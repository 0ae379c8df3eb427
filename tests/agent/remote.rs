//! `bmsctl` on another machine: over TLS, with a certificate.

use std::fs;

use serde_json::Value;

use crate::support::authority::{Authority, ClientCertificate, Identity};
use crate::support::ctl::{Answer, command, ctl, run};
use crate::support::secure::{REVOKED, Secure, table};
use crate::support::server::free_address;
use crate::support::{Daemon, Image, LoopDisk, MIB, Seed};

/// Runs `bmsctl` with a certificate, trusting an authority.
fn remote(host: &str, identity: &Identity, ca: &str, arguments: &[&str]) -> Answer {
    let dir = tempfile::tempdir().expect("directory");
    let file = |name: &str, content: &str| {
        let path = dir.path().join(name);
        fs::write(&path, content).expect("written");
        path.display().to_string()
    };
    let (cert, key, ca) = (file("cert", &identity.certificate), file("key", &identity.key), file("ca", ca));
    ctl(&[&["--host", host, "--cert", &cert, "--key", &key, "--ca", &ca], arguments].concat())
}

fn message(answer: &Answer) -> String {
    answer.error()["message"].as_str().unwrap_or_else(|| panic!("a message in {}", answer.json)).to_owned()
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn an_operator_installs_and_verifies_over_tls_and_an_observer_looks() {
    let secure = Secure::start();
    let (image, disk) = (Image::new(16 * MIB, &mut Seed::quiet(71)), LoopDisk::new(20 * MIB));
    let (host, ca) = (secure.address.to_string(), secure.authority.pem());
    let (path, selector) = (image.path_text(), disk.selector());
    let install = ["install", "--yes", "--image", &path, "--disk", &selector];

    let observer = secure.identity("observer");
    assert!(remote(&host, &observer, &ca, &["disk", "list"]).done()["disks"].is_array());
    let refused = remote(&host, &observer, &ca, &install);
    assert_eq!(refused.error()["reason"], "ROLE_REQUIRED", "{}", refused.json);
    assert!(!disk.is_bootable());

    let operator = secure.identity("operator");
    assert_eq!(remote(&host, &operator, &ca, &install).done()["result"]["root"], Value::from(image.root()));
    assert_eq!(disk.hash(image.len()), image.root());
    remote(&host, &operator, &ca, &["verify", "--disk", &selector]).done();
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn a_connection_that_cannot_be_made_says_why() {
    let secure = Secure::start();
    let (host, ca) = (secure.address.to_string(), secure.authority.pem());
    let good = secure.identity("observer");
    let revoked = secure.authority.client(&ClientCertificate { serial: REVOKED, ..ClientCertificate::of("observer") });
    let other = Authority::new();
    let stranger = other.client(&ClientCertificate::of("admin"));
    let port = secure.address.port();
    let nobody = free_address().to_string();
    for (host, identity, ca, said) in [
        // Whether the reason arrives before the end of the connection does is chance.
        (host.as_str(), &revoked, ca.as_str(), "the certificate of --cert"),
        (&host, &stranger, &ca, "the certificate of --cert"),
        (&host, &good, &other.pem(), "none of the authorities of --ca"),
        (&format!("localhost:{port}"), &good, &ca, "for another name"),
        (&nobody, &good, &ca, "nobody listens there"),
    ] {
        let answer = remote(host, identity, ca, &["host", "show"]);
        assert!(message(&answer).contains(said), "{said}: {}", answer.json);
        assert_eq!(answer.code, 3, "{said}");
    }
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn a_first_set_up_takes_two_commands() {
    let dir = tempfile::tempdir().expect("directory");
    let (files, address) = (dir.path().join("tls"), free_address());
    let ip = address.ip().to_string();
    let made = ctl(&["tls", "init", &files.display().to_string(), "--name", &ip]).done();
    assert_eq!(made["files"].as_array().expect("files").len(), 11);
    let _daemon = Daemon::start_with(&format!("allow_loop_devices = true\n{}", table(&files, address)));
    let file = |name: String| files.join(name).display().to_string();
    for (role, refusal) in [("observer", Some("ROLE_REQUIRED")), ("operator", None), ("admin", None)] {
        let (cert, key, ca) = (file(format!("{role}.pem")), file(format!("{role}.key")), file("ca.pem".to_owned()));
        let host = address.to_string();
        let to = ["--host", &host, "--cert", &cert, "--key", &key, "--ca", &ca];
        ctl(&[&to[..], &["disk", "list"]].concat()).done();
        let answer = ctl(&[&to[..], &["verify", "--disk", "serial=nobody"]].concat());
        assert_eq!(answer.reason(), refusal.unwrap_or("DISK_NOT_FOUND"), "{role}");
    }
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn a_context_that_was_set_once_is_used_by_every_command() {
    let secure = Secure::start();
    let (image, disk) = (Image::new(16 * MIB, &mut Seed::quiet(73)), LoopDisk::new(20 * MIB));
    let (host, home) = (secure.address.to_string(), tempfile::tempdir().expect("directory"));
    // As who sits in the directory of the files types it.
    let here = |arguments: &[&str]| {
        let mut command = command();
        for name in ["BMSCTL_SOCKET", "BMSCTL_CONTEXT", "BMSCTL_CONTEXTS", "XDG_CONFIG_HOME"] {
            command.env_remove(name);
        }
        run(command.env("HOME", home.path()).current_dir(home.path()).args(arguments))
    };
    for role in ["observer", "operator"] {
        let identity = secure.identity(role);
        for (name, content) in [("pem", &identity.certificate), ("key", &identity.key)] {
            fs::write(home.path().join(format!("{role}.{name}")), content).expect("written");
        }
        fs::write(home.path().join("ca.pem"), secure.authority.pem()).expect("written");
        let (cert, key) = (format!("{role}.pem"), format!("{role}.key"));
        here(&["context", "set", role, "--host", &host, "--cert", &cert, "--key", &key, "--ca", "ca.pem"]).done();
    }
    let (path, selector) = (image.path_text(), disk.selector());
    let install = ["install", "--yes", "--image", &path, "--disk", &selector];

    here(&["context", "use", "observer"]).done();
    assert!(here(&["disk", "list"]).done()["disks"].is_array());
    assert_eq!(here(&install).error()["reason"], "ROLE_REQUIRED");
    assert!(!disk.is_bootable());

    let installed = here(&[&["--context", "operator"], &install[..]].concat()).done();
    assert_eq!(installed["result"]["root"], Value::from(image.root()));
    assert_eq!(disk.hash(image.len()), image.root());

    // Whoever names another agent beside it is asked which, and nothing is written.
    let socket = secure.daemon.socket().display().to_string();
    let two = here(&["--context", "operator", "--socket", &socket, "disk", "list"]);
    assert_eq!((two.code, two.error()["reason"].is_null()), (2, true), "{}", two.json);
    let gone = here(&["context", "remove", "observer"]).done();
    assert_eq!((&gone["current"], gone["contexts"].as_array().map(Vec::len)), (&Value::Null, Some(1)));
    let gone = here(&["--context", "observer", "disk", "list"]);
    assert!(message(&gone).ends_with("has no context observer; it has: operator"), "{}", gone.json);
    assert_eq!(gone.code, 2);
}

#[test]
fn options_that_name_no_agent_or_two_are_refused() {
    for (options, said) in [
        (&["--host", "::1"][..], "--host needs --cert, --key and --ca"),
        (&["--host", "::1", "--cert", "/c", "--key", "/k"], "--host needs --cert, --key and --ca"),
        (&["--ca", "/a"], "are for --host"),
        (&["--host", "::1", "--socket", "/s", "--cert", "/c", "--key", "/k", "--ca", "/a"], "one agent, please"),
        (&["--host", "::1", "--cert", "/c", "--key", "/k", "--ca", "/nowhere"], "no connection to [::1]:7443 is tried"),
    ] {
        let answer = ctl(&[options, &["host", "show"]].concat());
        assert!(message(&answer).contains(said), "{said}: {}", answer.json);
        assert_eq!(answer.code, 2, "{said}");
    }
}
