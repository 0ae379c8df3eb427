//! The Debian package, from the first installation to the purge.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use tempfile::TempDir;

use crate::machine::{Machine, Network};

/// A package of the programs under test.
#[derive(Debug)]
pub(crate) struct Package(PathBuf);

/// Both packages, for all tests.
static BUILT: LazyLock<TempDir> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("directory");
    for version in ["0.1.0-1", "0.1.0-2"] {
        build(version, dir.path());
    }
    dir
});

impl Package {
    pub(crate) fn first() -> Self {
        Self::of("0.1.0-1")
    }

    /// The same programs, and a higher version.
    fn second() -> Self {
        Self::of("0.1.0-2")
    }

    fn of(version: &str) -> Self {
        let names = fs::read_dir(BUILT.path()).expect("packages").map(|entry| entry.expect("entry").path());
        let name = |path: &PathBuf| path.to_string_lossy().contains(&format!("_{version}_"));
        Self(names.into_iter().find(name).expect("the package"))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

fn build(version: &str, output: &Path) {
    let programs = Path::new(env!("CARGO_BIN_EXE_bms-agent")).parent().expect("a directory");
    let fixtures = std::env::var_os("BMS_FIXTURES").map(PathBuf::from);
    let fixtures = fixtures.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cache"));
    let built = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/build-deb.sh"))
        .args(["--version", version, "--programs"])
        .args([programs, Path::new("--output"), output, Path::new("--tools"), &fixtures])
        .output()
        .expect("build-deb.sh");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
}

const UNITS: [&str; 2] = ["bms-agent.service", "bms-agent.socket"];

#[test]
#[ignore = "needs root, systemd-nspawn and its tree: tests/run.sh"]
fn the_package_brings_everything_and_starts_nothing() {
    let machine = Machine::boot(Network::Own, &[]);
    machine.install(&Package::first());
    for unit in UNITS {
        assert_eq!(machine.say(&["systemctl", "is-enabled", unit]), "disabled");
        assert_eq!(machine.say(&["systemctl", "is-active", unit]), "inactive");
    }
    for path in [
        "/usr/bin/bms-agent",
        "/usr/bin/bmsctl",
        "/usr/share/man/man1/bmsctl.1.gz",
        "/usr/share/man/man1/bmsctl-image-import.1.gz",
        "/usr/share/man/man5/bms-agent.toml.5.gz",
        "/usr/share/man/man8/bms-agent.8.gz",
        "/usr/share/bash-completion/completions/bmsctl",
        "/usr/share/zsh/vendor-completions/_bmsctl",
        "/usr/share/fish/vendor_completions.d/bmsctl.fish",
    ] {
        assert!(machine.path(path).is_file(), "{path} is missing");
    }
    // What the unit and README.Debian point to.
    for path in ["README.md", "README.Debian", "docs/access.md", "examples/tls.conf", "copyright"] {
        assert!(machine.path(&format!("/usr/share/doc/bms-agent/{path}")).is_file(), "{path} is missing");
    }
    let conffiles = machine.run(&["dpkg-query", "--show", "--showformat", "${Conffiles}", "bms-agent"]);
    assert_eq!(conffiles.lines().count(), 1, "{conffiles}");
    assert!(conffiles.contains("/etc/bms-agent/config.toml"), "{conffiles}");
    let shipped = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/config.toml")).expect("read");
    assert_eq!(machine.read("/etc/bms-agent/config.toml"), shipped);
    assert!(!machine.path("/var/lib/bms-agent").exists());
    // Nor does an upgrade start anything.
    machine.install(&Package::second());
    assert_eq!(UNITS.map(|unit| machine.say(&["systemctl", "is-active", unit])), ["inactive", "inactive"]);
    // As it is, it runs.
    machine.run(&["systemctl", "start", "bms-agent"]);
    machine.bmsctl(&["host", "show"]);
}

#[test]
#[ignore = "needs root, systemd-nspawn and its tree: tests/run.sh"]
fn upgrade_removal_and_purge_keep_what_is_the_operators_for_as_long_as_they_should() {
    const CONFIG: &str = "/etc/bms-agent/config.toml";
    let machine = Machine::boot(Network::Own, &[]);
    machine.install(&Package::first());
    let config = machine.read(CONFIG) + "\ndrain_seconds = 70\n";
    machine.write(CONFIG, &config);
    machine.run(&["systemctl", "enable", "--now", "bms-agent"]);
    machine.write("/var/lib/bms-agent/precious", "state");
    let before = machine.show("InvocationID");
    machine.install(&Package::second());
    assert_eq!(machine.say(&["dpkg-query", "--show", "--showformat", "${Version}", "bms-agent"]), "0.1.0-2");
    assert_eq!(machine.say(&["systemctl", "is-active", "bms-agent"]), "active");
    assert_ne!(machine.show("InvocationID"), before, "the old program still runs");
    assert_eq!(machine.show("NRestarts"), "0");
    machine.bmsctl(&["disk", "list"]);
    assert_eq!((machine.read(CONFIG), machine.read("/var/lib/bms-agent/precious")), (config.clone(), "state".into()));

    let agent = machine.path(&format!("/proc/{}/exe", machine.show("MainPID")));
    assert!(agent.symlink_metadata().is_ok(), "{}", agent.display());
    machine.run(&["dpkg", "--remove", "bms-agent"]);
    assert!(agent.symlink_metadata().is_err(), "it still runs");
    assert!(!machine.path("/usr/lib/systemd/system/bms-agent.service").exists());
    assert_eq!((machine.read(CONFIG), machine.read("/var/lib/bms-agent/precious")), (config, "state".into()));

    machine.write("/etc/bms-agent/server.key", "mine");
    machine.run(&["dpkg", "--purge", "bms-agent"]);
    for path in [CONFIG, "/var/lib/bms-agent", "/run/bms-agent"] {
        assert!(!machine.path(path).exists(), "{path} is still there");
    }
    let link = machine.path("/etc/systemd/system/multi-user.target.wants/bms-agent.service");
    assert!(link.symlink_metadata().is_err(), "it is still enabled");
    assert_eq!(machine.read("/etc/bms-agent/server.key"), "mine");
}
