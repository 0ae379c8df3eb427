//! The daemon under test: a process with a socket, a configuration and a state directory of its own.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::machine::{Alone, Together};
use super::run;

#[expect(dead_code, reason = "held, not read")]
#[derive(Debug)]
enum Share {
    Together(Together),
    Alone(Alone),
}

/// A daemon. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    dir: Option<TempDir>,
    _share: Share,
}

const READY_WITHIN: Duration = Duration::from_secs(60);
const STOPPED_WITHIN: Duration = Duration::from_secs(90);

impl Daemon {
    /// A daemon that is ready. A test has one at most: the machine is shared by the daemon.
    pub(crate) fn start() -> Self {
        Self::start_with("allow_loop_devices = true")
    }

    /// The same with these lines in its configuration.
    pub(crate) fn start_with(lines: &str) -> Self {
        Self::make(Share::Together(Together::with_others()), lines)
    }

    /// The same with its state on a file system in memory: a kill loses nothing there that it would not lose elsewhere, and
    /// fsync is fast.
    pub(crate) fn start_in_memory_with(lines: &str) -> Self {
        Self::make_by(Share::Together(Together::with_others()), in_memory(), lines, spawn)
    }

    /// A daemon while no other test has one, nor a repository.
    pub(crate) fn start_alone() -> Self {
        Self::start_alone_with("allow_loop_devices = true")
    }

    /// The same with these lines in its configuration.
    pub(crate) fn start_alone_with(lines: &str) -> Self {
        Self::make(Share::Alone(Alone::without_others()), lines)
    }

    /// The same with its state in memory: what it takes is neither another test's doing nor a slow disk's.
    pub(crate) fn start_alone_in_memory() -> Self {
        let share = Share::Alone(Alone::without_others());
        Self::make_by(share, in_memory(), "allow_loop_devices = true", spawn)
    }

    /// A daemon for which somebody else listens on its Unix socket, and on `tcp`, as systemd does.
    pub(crate) fn start_activated(lines: &str, tcp: TcpListener) -> Self {
        Self::make_by(Share::Together(Together::with_others()), on_disk(), lines, |dir| {
            let unix = UnixListener::bind(dir.join("agent.sock")).expect("socket");
            // The shell has the process id that the daemon will have.
            let script = "exec 3<&0 4<&1 </dev/null >/dev/null; LISTEN_PID=$$ LISTEN_FDS=2 exec \"$0\" --config \"$1\"";
            let mut command = Command::new("sh");
            command.args(["-c", script, env!("CARGO_BIN_EXE_bms-agent")]).arg(dir.join("config.toml"));
            command.stdin(OwnedFd::from(unix)).stdout(OwnedFd::from(tcp)).stderr(log_file(dir));
            spawn_ready(command, &dir.join("notify"))
        })
    }

    /// The same whose allocator keeps nothing: what stays resident is what the daemon itself keeps.
    pub(crate) fn start_sparing(lines: &str) -> Self {
        Self::make_by(Share::Together(Together::with_others()), on_disk(), lines, |dir| {
            let mut command = agent(dir);
            command.env("MALLOC_ARENA_MAX", "1").env("MALLOC_TRIM_THRESHOLD_", "65536");
            command.env("MALLOC_MMAP_THRESHOLD_", "65536");
            spawn_ready(command, &dir.join("notify"))
        })
    }

    /// The same with no more descriptors than that.
    pub(crate) fn start_with_descriptors(most: u32, lines: &str) -> Self {
        Self::make_by(Share::Together(Together::with_others()), on_disk(), lines, |dir| {
            // What the tests have inherited is not the daemon's. Not every shell can close a descriptor above 9.
            let mut command = Command::new("bash");
            let script = format!(
                "for fd in /proc/self/fd/*; do n=${{fd##*/}}; [ \"$n\" -le 2 ] || eval \"exec $n>&-\"; done; \
                 ulimit -n {most}; exec \"$0\" --config \"$1\""
            );
            command.args(["-c", &script, env!("CARGO_BIN_EXE_bms-agent")]).arg(dir.join("config.toml"));
            command.stderr(log_file(dir));
            spawn_ready(command, &dir.join("notify"))
        })
    }

    fn make(share: Share, lines: &str) -> Self {
        Self::make_by(share, on_disk(), lines, spawn)
    }

    fn make_by(share: Share, dir: TempDir, lines: &str, spawn: impl FnOnce(&Path) -> Child) -> Self {
        let (socket, state) = (dir.path().join("agent.sock"), dir.path().join("state"));
        let config =
            format!("socket = {socket:?}\nstate_dir = {state:?}\nlog = \"debug,h2=warn,tower=warn\"\n{lines}\n");
        fs::write(dir.path().join("config.toml"), config).expect("configuration");
        Self { child: spawn(dir.path()), dir: Some(dir), _share: share }
    }

    fn dir(&self) -> &Path {
        self.dir.as_ref().expect("until it is dropped").path()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir().join("agent.sock")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir().join("log")).expect("log")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir().join("state")
    }

    /// Entries of its journal: all operations that it will know after a restart.
    pub(crate) fn noted(&self) -> Vec<(PathBuf, Value)> {
        let entries = fs::read_dir(self.state().join("operations")).expect("journal");
        let paths = entries.map(|entry| entry.expect("entry").path());
        let entries = paths.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
        // One that is forgotten meanwhile cannot be read any more.
        let read = entries.filter_map(|path| Some((fs::read(&path).ok()?, path)));
        read.map(|(content, path)| (path, serde_json::from_slice(&content).expect("JSON"))).collect()
    }

    /// Those of installs that go on after a restart.
    pub(crate) fn pending(&self) -> Vec<PathBuf> {
        let pending = self.noted().into_iter().filter(|(_, entry)| entry["end"].is_null() && !entry["pull"].is_null());
        pending.map(|(path, _)| path).collect()
    }

    /// Names of its threads.
    pub(crate) fn threads(&self) -> Vec<String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("threads");
        // One that ends meanwhile has no name any more.
        let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).ok();
        tasks.filter_map(|task| name(task.expect("thread"))).map(|name| name.trim().to_owned()).collect()
    }

    /// Kills it as the kernel's memory killer does: at any instruction, without a word.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }

    /// A new process on the same state, after a kill.
    pub(crate) fn restart(&mut self) {
        self.child = spawn(self.dir());
    }

    /// How many descriptors it has open.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("it is alive").count()
    }

    /// Processes that it has started and that are still there.
    pub(crate) fn children(&self) -> Vec<String> {
        let own = self.child.id().to_string();
        let processes = fs::read_dir("/proc").expect("processes").filter_map(|entry| {
            // One that ends meanwhile has no line any more.
            let stat = fs::read_to_string(entry.expect("process").path().join("stat")).ok()?;
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?;
            (parent == own).then_some(stat)
        });
        processes.collect()
    }

    /// Asks it to read its certificates again.
    pub(crate) fn hang_up(&self) {
        run("kill", &["-HUP", &self.child.id().to_string()]);
    }

    /// Asks it to stop, and does not wait.
    pub(crate) fn ask_to_stop(&self) {
        run("kill", &["-TERM", &self.child.id().to_string()]);
    }

    /// Waits for its end.
    pub(crate) fn stopped(&mut self) -> ExitStatus {
        let (done, watch) = channel::<()>();
        let pid = self.child.id().to_string();
        let watchdog = std::thread::spawn(move || {
            if watch.recv_timeout(STOPPED_WITHIN) == Err(RecvTimeoutError::Timeout) {
                run("kill", &["-KILL", &pid]);
            }
        });
        let status = self.child.wait().expect("wait");
        drop(done);
        watchdog.join().expect("watchdog");
        status
    }

    /// Most memory that was ever resident.
    pub(crate) fn peak_resident_bytes(&self) -> u64 {
        self.status_bytes("VmHWM:")
    }

    /// Lets the peak begin anew, with what is resident now.
    pub(crate) fn forget_peak(&self) {
        fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").expect("clear_refs");
    }

    /// Memory that is its own, resident or swapped: pages of the program's file come and go with the page cache.
    pub(crate) fn anonymous_bytes(&self) -> u64 {
        self.status_bytes("RssAnon:") + self.status_bytes("VmSwap:")
    }

    /// Memory that is resident now.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.status_bytes("VmRSS:")
    }

    fn status_bytes(&self, key: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("status");
        let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("a known line");
        line.trim().strip_suffix(" kB").and_then(|kib| kib.parse::<u64>().ok()).expect("a number of KiB") << 10
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself; both calls then say so, and nothing is lost.
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("the daemon's last words:\n{}", tail(&self.log(), 40));
        }
        if std::env::var_os("KEEP_TEST_DEVICES").is_some() {
            self.dir.take().map(TempDir::keep);
        }
    }
}

fn on_disk() -> TempDir {
    tempfile::tempdir().expect("temporary directory")
}

fn in_memory() -> TempDir {
    TempDir::new_in("/dev/shm").expect("temporary directory")
}

/// Starts the daemon whose files are in `dir`, and waits until it says that it is ready.
fn spawn(dir: &Path) -> Child {
    spawn_ready(agent(dir), &dir.join("notify"))
}

fn agent(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bms-agent"));
    command.arg("--config").arg(dir.join("config.toml")).stderr(log_file(dir));
    command
}

fn log_file(dir: &Path) -> File {
    File::options().create(true).append(true).open(dir.join("log")).expect("log")
}

/// Starts a command, and waits until it says to `notify`, as to systemd, that it is ready.
pub(crate) fn spawn_ready(mut command: Command, notify: &Path) -> Child {
    drop(fs::remove_file(notify));
    let socket = UnixDatagram::bind(notify).expect("notify socket");
    socket.set_read_timeout(Some(READY_WITHIN)).expect("timeout");
    // Children inherit it: memory in steps of 2 MiB says nothing about what is kept.
    rustix::thread::disable_transparent_huge_pages(true).expect("huge pages");
    let mut child = command.env("NOTIFY_SOCKET", notify).spawn().expect("spawn");
    let mut message = [0; 256];
    let len = socket.recv(&mut message).unwrap_or_else(|error| {
        drop(child.kill());
        panic!("the daemon is not ready within {READY_WITHIN:?} ({error}); it ended: {:?}", child.wait())
    });
    assert_eq!(String::from_utf8_lossy(&message[..len]).trim(), "READY=1");
    child
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
