//! Machines: containers of systemd-nspawn with a systemd of their own, over a tree that they all share and none changes.

use std::fs::{self, File};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::cgroup::Cgroup;
use crate::disk::LoopDisk;
use crate::package::Package;
use crate::run;

/// How long one may take to boot. Two busy cores take 10 s.
const BOOTED_WITHIN: Duration = Duration::from_secs(120);
/// What the sandbox forbids is allowed outside of it, so that its tests can tell the difference.
const ALLOWED: &str = "@clock @debug @keyring @module @raw-io @swap bpf";

/// Which network a machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    /// Its own, where every port is free.
    Own,
    /// That of the tests, which serve files.
    Shared,
}

/// A machine that has booted. Dropping it is a power failure.
#[derive(Debug)]
pub(crate) struct Machine {
    nspawn: Child,
    /// Process id of its systemd.
    systemd: String,
    /// Its files.
    _dir: TempDir,
    /// Dropped after all processes in it have ended.
    _cgroup: Cgroup,
}

impl Machine {
    /// A machine that nothing was installed on.
    pub(crate) fn boot(network: Network, disks: &[&LoopDisk]) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "containers need root");
        let dir = tempfile::tempdir().expect("directory");
        for name in ["root", "upper", "work"] {
            fs::create_dir(dir.path().join(name)).expect("directory");
        }
        let notify = UnixDatagram::bind(dir.path().join("notify")).expect("socket");
        notify.set_read_timeout(Some(BOOTED_WITHIN)).expect("timeout");
        let cgroup = Cgroup::new();
        let mut nspawn = command(dir.path(), &cgroup, network, disks).spawn().expect("unshare");
        let Some(systemd) = booted(&notify) else {
            drop(nspawn.kill());
            let console = fs::read_to_string(dir.path().join("console")).unwrap_or_default();
            panic!("not booted within {BOOTED_WITHIN:?}: {console}");
        };
        Self { nspawn, systemd, _dir: dir, _cgroup: cgroup }
    }

    /// A machine with the package, a configuration with these lines that allows loop devices, and a unit that does too.
    pub(crate) fn with_package(network: Network, disks: &[&LoopDisk], lines: &str) -> Self {
        let machine = Self::boot(network, disks);
        machine.install(&Package::first());
        machine.write("/etc/bms-agent/config.toml", format!("allow_loop_devices = true\n{lines}\n"));
        machine.drop_in("loop", "[Service]\nDeviceAllow=block-loop rw\n");
        machine
    }

    /// A file of it, as this process sees it.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.systemd))
    }

    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("directory");
        fs::write(path, content).expect("write");
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Adds a drop-in to the unit.
    pub(crate) fn drop_in(&self, name: &str, content: &str) {
        self.write(&format!("/etc/systemd/system/bms-agent.service.d/{name}.conf"), content);
        self.run(&["systemctl", "daemon-reload"]);
    }

    /// Installs a package, or upgrades to it.
    pub(crate) fn install(&self, package: &Package) {
        fs::copy(package.path(), self.path("/root/package.deb")).expect("copy");
        self.run(&["dpkg", "--force-unsafe-io", "--install", "/root/package.deb"]);
    }

    /// Runs a command in it.
    pub(crate) fn command(&self, command: &[&str]) -> Output {
        let namespaces = ["--all", "--target", &self.systemd, "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"];
        Command::new("nsenter").args(namespaces).args(command).output().expect("nsenter")
    }

    /// The same, which has to succeed; what it printed.
    pub(crate) fn run(&self, command: &[&str]) -> String {
        let output = self.command(command);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {said}\n{}", self.journal());
        String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
    }

    /// What a command printed, whatever its exit code.
    pub(crate) fn say(&self, command: &[&str]) -> String {
        String::from_utf8_lossy(&self.command(command).stdout).trim().to_owned()
    }

    /// A property of the service.
    pub(crate) fn show(&self, property: &str) -> String {
        self.run(&["systemctl", "show", "--value", "--property", property, "bms-agent.service"])
    }

    /// What `bmsctl` answers in it, as JSON; it has to succeed.
    pub(crate) fn bmsctl(&self, arguments: &[&str]) -> Value {
        let answer = self.run(&[&["bmsctl", "--output", "json"], arguments].concat());
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }

    /// Waits until the journal has all that was said before.
    pub(crate) fn sync_journal(&self) {
        self.say(&["journalctl", "--sync"]);
    }

    /// The journal of the agent, of systemd about it, and of callers.
    pub(crate) fn journal(&self) -> String {
        let units = ["bms-agent.service", "bms-agent.socket", "caller.service"].map(|unit| format!("--unit={unit}"));
        let [agent, socket, caller] = units.each_ref().map(String::as_str);
        self.sync_journal();
        self.say(&["journalctl", "--no-pager", "--output=cat", agent, socket, caller])
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the journal of the machine:\n{}", self.journal());
        }
        // With its first process all others of it end, and so does systemd-nspawn. What is mounted goes with its namespace.
        run("kill", &["-KILL", &self.systemd]);
        drop(self.nspawn.wait());
    }
}

/// systemd-nspawn, in a mount namespace with an overlay over the tree.
fn command(dir: &Path, cgroup: &Cgroup, network: Network, disks: &[&LoopDisk]) -> Command {
    let script = "echo $$ >\"$1\"; mount -t overlay overlay -o \"lowerdir=$2,upperdir=upper,workdir=work\" root; \
                  shift 2; exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", script, "sh"]).arg(cgroup.processes()).arg(tree()).arg("systemd-nspawn");
    command.args(["--quiet", "--boot", "--directory=root", "--register=no", "--keep-unit", "--console=pipe"]);
    command.args(["--notify-ready=yes", "--capability=all", "--bind=/dev/loop-control"]);
    command
        .arg(format!("--machine={}", dir.file_name().and_then(|name| name.to_str()).expect("UTF-8").replace('.', "")));
    command.arg(format!("--system-call-filter={ALLOWED}"));
    command.args(disks.iter().map(|disk| format!("--bind={}", disk.node())));
    if network == Network::Own {
        command.arg("--private-network");
    }
    let console = File::create(dir.join("console")).expect("console");
    // Devices are allowed and refused by cgroups of the second version alone.
    command.env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1").env("NOTIFY_SOCKET", dir.join("notify")).current_dir(dir);
    command.stdin(Stdio::null()).stderr(console.try_clone().expect("console")).stdout(console);
    command
}

/// The process id of the machine's systemd, once that has started everything.
fn booted(notify: &UnixDatagram) -> Option<String> {
    let mut systemd = None;
    loop {
        let mut message = [0; 4096];
        let len = notify.recv(&mut message).ok()?;
        let message = String::from_utf8_lossy(&message[..len]).into_owned();
        let mut lines = message.lines();
        systemd =
            message.lines().find_map(|line| line.strip_prefix("X_NSPAWN_LEADER_PID=")).map(str::to_owned).or(systemd);
        if lines.any(|line| line == "READY=1") {
            return systemd;
        }
    }
}

/// The tree of this machine's Debian.
fn tree() -> PathBuf {
    let fixtures = std::env::var_os("BMS_FIXTURES").map(PathBuf::from);
    let fixtures = fixtures.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cache"));
    let release = fs::read_to_string("/etc/os-release").expect("os-release");
    let suite = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).unwrap_or("bookworm");
    let tree = fixtures.join(format!("systemd-{suite}"));
    assert!(tree.is_dir(), "no {}: run tests/fixtures/systemd-tree.sh", tree.display());
    tree
}
