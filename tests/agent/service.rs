//! What systemd and its journal see of the daemon.

use std::fs::{self, File, Permissions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::machine::Together;
use crate::support::{Daemon, Image, LoopDisk, MIB, Seed, run};

const WATCHDOG: Duration = Duration::from_millis(1500);
/// How long it may take to say something.
const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon that a systemd of ours has started, with a watchdog.
struct Service {
    child: Child,
    notify: UnixDatagram,
    dir: TempDir,
    _share: Together,
}

impl Service {
    fn start() -> Self {
        Self::start_with("")
    }

    /// The same with these lines at the end of its configuration.
    fn start_with(lines: &str) -> Self {
        let share = Together::with_others();
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = |name: &str| dir.path().join(name);
        let (socket, state) = (path("agent.sock"), path("state"));
        fs::write(path("config.toml"), format!("socket = {socket:?}\nstate_dir = {state:?}\n{lines}")).expect("write");
        let notify = UnixDatagram::bind(path("notify")).expect("notify socket");
        notify.set_read_timeout(Some(PATIENCE)).expect("timeout");
        let mut command = Command::new(env!("CARGO_BIN_EXE_bms-agent"));
        command.arg("--config").arg(path("config.toml")).env("NOTIFY_SOCKET", path("notify"));
        command.env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
        command.stderr(File::create(path("log")).expect("log"));
        Self { child: command.spawn().expect("spawn"), notify, dir, _share: share }
    }

    /// What it says next, or nothing within the time of the socket.
    fn next(&self) -> Option<String> {
        let mut message = [0; 512];
        let len = self.notify.recv(&mut message).ok()?;
        Some(String::from_utf8_lossy(&message[..len]).trim().to_owned())
    }

    /// The same; it has to say something.
    fn beat(&self) -> String {
        self.next().unwrap_or_else(|| panic!("it says nothing: {}", self.log()))
    }

    /// Hears what it has said before or still says, until it is silent for as long as its watchdog waits; and then for as long
    /// again.
    fn assert_falls_silent(&self) {
        self.notify.set_read_timeout(Some(WATCHDOG)).expect("timeout");
        let late: Vec<_> = std::iter::from_fn(|| self.next()).take(4).collect();
        assert!(late.len() <= 3, "{late:?}");
        assert_eq!(self.next(), None);
        self.notify.set_read_timeout(Some(PATIENCE)).expect("timeout");
    }

    fn signal(&self, name: &str) {
        run("kill", &[name, &self.child.id().to_string()]);
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).expect("log")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself; both calls then say so, and nothing is lost.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn systemd_hears_that_it_is_ready_lives_and_stops() {
    let mut service = Service::start();
    assert_eq!(service.beat(), "READY=1");
    for _ in 0..3 {
        assert_eq!(service.beat(), "WATCHDOG=1\nSTATUS=idle");
    }
    service.signal("-TERM");
    let mut said = service.beat();
    while said.starts_with("WATCHDOG=1") {
        said = service.beat();
    }
    assert_eq!(said, "STOPPING=1");
    assert!(service.child.wait().expect("wait").success(), "{}", service.log());
}

#[test]
fn a_daemon_that_hangs_does_not_feed_its_watchdog() {
    let service = Service::start();
    assert_eq!(service.beat(), "READY=1");
    assert!(service.beat().starts_with("WATCHDOG=1"));
    service.signal("-STOP");
    service.assert_falls_silent();
    service.signal("-CONT");
    assert!(service.beat().starts_with("WATCHDOG=1"));
}

/// It runs, its threads and timers work, and nobody can reach it: that is no life.
#[test]
fn a_daemon_that_cannot_be_called_does_not_feed_its_watchdog() {
    let service = Service::start();
    assert_eq!(service.beat(), "READY=1");
    assert!(service.beat().starts_with("WATCHDOG=1"));
    let (socket, aside) = (service.dir.path().join("agent.sock"), service.dir.path().join("aside"));
    fs::rename(&socket, &aside).expect("rename");
    // A call that is on its way has its connection.
    service.assert_falls_silent();
    assert!(service.log().contains("does not answer itself"), "{}", service.log());
    fs::rename(&aside, &socket).expect("rename");
    assert!(service.beat().starts_with("WATCHDOG=1"));
}

fn lines(log: &str) -> Vec<Value> {
    log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn json_lines_say_which_operation_and_call_they_belong_to() {
    let seed = &mut Seed::quiet(81);
    let daemon = Daemon::start_with("allow_loop_devices = true\nlog_format = \"json\"");
    let (disk, image) = (LoopDisk::new(16 * MIB), Image::new(8 * MIB, seed));
    let done = daemon.install(&image.path(), &disk, &[]).done();
    daemon.ctl(&["operation", "show", "operations/11111111-1111-4111-8111-111111111111"]);

    let lines = lines(&daemon.log());
    let said = |text: &str| lines.iter().filter(|line| line["message"] == text).collect::<Vec<_>>();
    let (began, ended) = (said("began"), said("done"));
    assert_eq!((began.len(), ended.len()), (1, 1), "{lines:?}");
    assert!(done.to_string().contains(began[0]["operation"].as_str().expect("an operation")), "{done}");
    for line in [began[0], ended[0]] {
        assert_eq!(line["operation"], began[0]["operation"]);
        assert!(uuid::Uuid::try_parse(line["request_id"].as_str().expect("a request")).is_ok());
        assert!(line["timestamp"].is_string() && line["level"] == "INFO", "{line}");
    }
    // The one that says on whose behalf.
    let accepted = said("accepted");
    assert_eq!(accepted.len(), 1, "{lines:?}");
    assert_eq!(accepted[0]["method"], "bms.agent.v1.ProvisioningService/PushImage");
    assert_eq!(accepted[0]["caller"], "user 0");
    for id in ["operation", "request_id"] {
        assert_eq!(accepted[0][id], began[0][id]);
    }
    let refused = said("refused a call");
    assert_eq!(refused.len(), 1, "{lines:?}");
    assert_eq!(refused[0]["reason"], "OPERATION_NOT_FOUND");
    assert_eq!(refused[0]["method"], "google.longrunning.Operations/GetOperation");
    assert_eq!(refused[0]["caller"], "user 0");
    assert!(refused[0]["call"].is_u64());
}

#[test]
fn a_log_format_that_there_is_not_is_a_wrong_argument() {
    let output = Command::new(env!("CARGO_BIN_EXE_bms-agent")).args(["--log-format", "xml"]).output().expect("run");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("auto, text, json, journal"));
}

/// Opens connections as eight users, then as root, and holds them until its input ends; says so after each.
const CROWD: &str = r#"
import os, socket, sys
held = []
def connect(count):
    for _ in range(count):
        one = socket.socket(socket.AF_UNIX)
        one.connect(sys.argv[1])
        try:
            one.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
        except OSError:
            pass # It was one too many.
        held.append(one)
for user in range(41000, 41008):
    os.seteuid(user)
    connect(8)
    os.seteuid(0)
print("users", flush=True)
sys.stdin.readline()
connect(64)
print("root", flush=True)
sys.stdin.read()
"#;

#[test]
#[ignore = "needs root and Python: tests/run.sh"]
fn users_who_take_all_connections_keep_out_neither_root_nor_the_watchdog() {
    let service = Service::start_with("[unix_roles]\n41000 = \"observer\"\n");
    assert_eq!(service.beat(), "READY=1");
    fs::set_permissions(service.dir.path(), Permissions::from_mode(0o711)).expect("mode");
    let socket = service.dir.path().join("agent.sock");
    let mut crowd = Command::new("python3");
    let crowd = crowd.args(["-c", CROWD]).arg(&socket).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut crowd = crowd.spawn().expect("python3");
    let (mut input, output) = (crowd.stdin.take().expect("piped"), crowd.stdout.take().expect("piped"));
    let mut lines = BufReader::new(output).lines();
    let mut next = || lines.next().expect("it lives").expect("a line");
    assert_eq!(next(), "users");
    let show = Command::new(env!("CARGO_BIN_EXE_bmsctl")).arg("--socket").arg(&socket).args(["host", "show"]).output();
    let show = show.expect("bmsctl");
    assert!(show.status.success(), "{}", String::from_utf8_lossy(&show.stderr));
    writeln!(input).expect("written");
    assert_eq!(next(), "root");
    // What it said before.
    service.notify.set_read_timeout(Some(Duration::from_millis(10))).expect("timeout");
    while service.next().is_some() {}
    service.notify.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
    for _ in 0..3 {
        assert_eq!(service.beat(), "WATCHDOG=1\nSTATUS=idle");
    }
    assert!(!service.log().contains("does not answer itself"), "{}", service.log());
    drop(input);
    assert!(crowd.wait().expect("ended").success());
}
