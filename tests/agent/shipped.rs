//! The files that are shipped with the daemon.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bms_agent::config::Config;

use crate::support::daemon::spawn_ready;
use crate::support::machine::Together;
use crate::support::run;

#[test]
fn the_shipped_configuration_shows_every_key_with_its_default() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("config.toml");
    fs::write(&path, uncommented()).expect("write");
    assert_eq!(Config::load(Some(&path)).expect("valid"), Config::default());

    let shown: toml::Table = uncommented().parse().expect("TOML");
    let text = fs::read_to_string(shipped()).expect("read");
    // The error about a key that there is not names those that there are.
    fs::write(&path, "nonsense = 1").expect("write");
    let error = Config::load(Some(&path)).expect_err("unknown").to_string();
    let (_, expected) = error.split_once("expected one of ").expect("a list");
    let keys: Vec<_> = expected.split('`').skip(1).step_by(2).take_while(|key| !key.contains(' ')).collect();
    assert!(keys.contains(&"socket") && keys.contains(&"drain_seconds"), "{error}");
    for key in keys.into_iter().filter(|key| *key != "nonsense") {
        // What is not there by default is shown as an example.
        let example = format!("\n#   [{key}]\n");
        assert!(shown.contains_key(key) || text.contains(&example), "{key} is not in the shipped file");
    }
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn the_daemon_starts_with_the_shipped_configuration() {
    let _together = Together::with_others();
    for content in [fs::read_to_string(shipped()).expect("read"), uncommented()] {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("config.toml");
        fs::write(&path, content).expect("write");
        // The file names the directories that systemd makes: here they are in a mount namespace of their own.
        let script = "mount -t tmpfs run /run && mount -t tmpfs lib /var/lib && mkdir /run/bms-agent && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-ec", script, "sh", env!("CARGO_BIN_EXE_bms-agent"), "--config"]).arg(&path);
        command.stderr(Stdio::null());
        let mut child = spawn_ready(command, &dir.path().join("notify"));
        run("kill", &["-TERM", &child.id().to_string()]);
        assert!(child.wait().expect("wait").success());
    }
}

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/config.toml")
}

/// The shipped file with every key set to what its comment says.
fn uncommented() -> String {
    let text = fs::read_to_string(shipped()).expect("read");
    let line = |line: &str| match line.strip_prefix('#') {
        Some(assignment) if !assignment.starts_with(' ') => format!("{assignment}\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}
