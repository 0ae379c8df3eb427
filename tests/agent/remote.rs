//! `bmsctl` on another machine: over TLS, with a certificate.

use std::fs;

use serde_json::Value;

use crate::support::authority::{Authority, ClientCertificate, Identity};
use crate::support::ctl::{Answer, ctl};
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
