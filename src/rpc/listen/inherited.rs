//! Sockets that systemd listens on for the agent. They stay when it stops.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use nix::sys::socket::{AddressFamily, SockaddrLike as _, SockaddrStorage, getsockname};
use tokio::net::{TcpListener, UnixListener};

/// What the agent was started with. What each is for, its kind says: a name could be wrong.
#[derive(Debug, Default)]
pub struct Inherited {
    /// The Unix socket.
    pub unix: Option<UnixListener>,
    /// For TLS.
    pub tcp: Vec<TcpListener>,
}

impl Inherited {
    /// Takes them. To be called once, at start.
    ///
    /// # Errors
    /// If one of them is of another kind, or there are two Unix sockets.
    pub fn take() -> io::Result<Self> {
        let mut inherited = Self::default();
        for fd in sd_notify::listen_fds()? {
            inherited.add(owned(fd))?;
        }
        Ok(inherited)
    }

    fn add(&mut self, fd: OwnedFd) -> io::Result<()> {
        let wrong = |text| io::Error::new(io::ErrorKind::InvalidInput, text);
        match getsockname::<SockaddrStorage>(fd.as_raw_fd())?.family() {
            Some(AddressFamily::Unix) if self.unix.is_some() => Err(wrong("there are two Unix sockets")),
            Some(AddressFamily::Unix) => {
                let listener = std::os::unix::net::UnixListener::from(fd);
                listener.set_nonblocking(true)?;
                self.unix = Some(UnixListener::from_std(listener)?);
                Ok(())
            }
            Some(AddressFamily::Inet | AddressFamily::Inet6) => {
                let listener = std::net::TcpListener::from(fd);
                listener.set_nonblocking(true)?;
                self.tcp.push(TcpListener::from_std(listener)?);
                Ok(())
            }
            _ => Err(wrong("it is neither a Unix nor a TCP socket")),
        }
    }
}

#[expect(unsafe_code, reason = "descriptors that a process is started with have no other way in")]
fn owned(fd: i32) -> OwnedFd {
    // SAFETY: systemd gave this descriptor to this process alone (LISTEN_PID), so that nobody else owns it; it is open since the
    // start, and taken once.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
