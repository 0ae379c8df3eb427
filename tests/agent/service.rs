//! What systemd and its journal see of the daemon.

use std::fs::{self, File};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Daemon, Image, LoopDisk, MIB, Seed, run};

const WATCHDOG: Duration = Duration::from_millis(1500);

/// A daemon that a systemd of ours has started, with a watchdog.
struct Service {
    child: Child,
    notify: UnixDatagram,
    dir: TempDir,
}

impl Service {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = |name: &str| dir.path().join(name);
        let (socket, state) = (path("agent.sock"), path("state"));
        fs::write(path("config.toml"), format!("socket = {socket:?}\nstate_dir = {state:?}\n")).expect("write");
        let notify = UnixDatagram::bind(path("notify")).expect("notify socket");
        notify.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
        let mut command = Command::new(env!("CARGO_BIN_EXE_bms-agent"));
        command.arg("--config").arg(path("config.toml")).env("NOTIFY_SOCKET", path("notify"));
        command.env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
        command.stderr(File::create(path("log")).expect("log"));
        Self { child: command.spawn().expect("spawn"), notify, dir }
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
    let said: Vec<_> = std::iter::from_fn(|| service.next()).take_while(|said| said != "STOPPING=1").collect();
    assert!(said.iter().all(|said| said.starts_with("WATCHDOG=1")), "{said:?}");
    assert!(service.child.wait().expect("wait").success(), "{}", service.log());
}

#[test]
fn a_daemon_that_hangs_does_not_feed_its_watchdog() {
    let service = Service::start();
    assert_eq!(service.beat(), "READY=1");
    assert!(service.beat().starts_with("WATCHDOG=1"));
    service.signal("-STOP");
    service.notify.set_read_timeout(Some(Duration::from_millis(100))).expect("timeout");
    // What it said before.
    while service.next().is_some() {}
    service.notify.set_read_timeout(Some(2 * WATCHDOG)).expect("timeout");
    assert_eq!(service.next(), None);
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
    service.notify.set_read_timeout(Some(WATCHDOG)).expect("timeout");
    drop(service.next());
    assert_eq!(service.next(), None);
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
