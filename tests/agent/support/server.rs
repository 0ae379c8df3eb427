//! Servers of others as child processes: started, ready, killed without warning, started again.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

const READY_WITHIN: Duration = Duration::from_secs(60);

/// An address and port that stay free until a server takes them, also while it is dead between two lives.
///
/// Nobody connects from an address of 127.0.0.0/8 but 127.0.0.1 without being told to. So each server has an address
/// of its own, made of this process and a count: no connection's port can be in its way.
pub(crate) fn free_address() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let address = Ipv4Addr::new(127, 64 | high & 0x3f, low, NEXT.fetch_add(1, Ordering::Relaxed));
    let listener = TcpListener::bind((address, 0)).expect("an address of this machine");
    listener.local_addr().expect("bound")
}

/// A server that accepts connections. Dropping it, also in a panic, kills it.
#[derive(Debug)]
pub(crate) struct Server {
    command: Command,
    child: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl Server {
    /// Starts a server of one process that listens at `address`; what it says is appended to `log`.
    pub(crate) fn start(mut command: Command, address: SocketAddr, log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log).expect("log");
        command.stdout(file.try_clone().expect("log")).stderr(file);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut server = Self { command, child, address, log: log.to_owned() };
        server.await_ready();
        server
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Kills it at any instruction. Who connects is refused until `restart`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }

    /// A new process at the same address on the same files, after a kill.
    pub(crate) fn restart(&mut self) {
        self.child = self.command.spawn().expect("spawn");
        self.await_ready();
    }

    /// It says to nobody that it is ready; it is when it accepts.
    fn await_ready(&mut self) {
        let begin = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            let ended = self.child.try_wait().expect("wait");
            assert!(ended.is_none(), "{:?} ended ({ended:?}):\n{}", self.command, self.said());
            assert!(begin.elapsed() < READY_WITHIN, "{:?} is not ready:\n{}", self.command, self.said());
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A test may have killed it before.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
