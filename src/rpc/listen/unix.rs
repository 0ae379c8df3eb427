//! The Unix socket. The kernel says who connects; the mode of the file keeps others out where only root may call.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;

use tokio::net::unix::UCred;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::limit::{Limit, Slot};
use super::refused::Cause;
use super::{Connection, MAX_CONNECTIONS, MAX_CONNECTIONS_EACH, Sender, after_failure, hand_on};
use crate::metrics::{Listener, OpenConnection};
use crate::rpc::peer::{Peer, UnixRoles, Who};
use crate::rpc::role::Role;
use crate::rpc::server::ServeError;

/// A socket that listens, and who may do what on it.
#[derive(Debug)]
pub struct UnixSocket {
    listener: UnixListener,
    roles: UnixRoles,
}

/// Listens on a Unix socket that only its owner may use, or everybody if others have a role: the kernel's word on who calls
/// decides then. A socket that a dead process left behind is replaced.
///
/// # Errors
/// If the path cannot be used, or somebody listens there.
pub async fn listen_unix(path: &Path, roles: UnixRoles) -> Result<UnixSocket, ServeError> {
    let fail = |source| ServeError::Listen { path: path.to_owned(), source };
    if UnixStream::connect(path).await.is_ok() {
        return Err(ServeError::InUse { path: path.to_owned() });
    }
    match std::fs::symlink_metadata(path) {
        Ok(old) if old.file_type().is_socket() => std::fs::remove_file(path).map_err(fail)?,
        Ok(_) => return Err(fail(io::Error::new(io::ErrorKind::AlreadyExists, "it is no socket"))),
        Err(_) => {}
    }
    // Made under another name, so that nobody can connect before the mode is set.
    let hidden = path.with_extension(format!("new-{}", std::process::id()));
    let listener = UnixListener::bind(&hidden).map_err(fail)?;
    let mode = if roles.has_others() { 0o666 } else { 0o600 };
    std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(mode)).map_err(fail)?;
    std::fs::rename(&hidden, path).map_err(fail)?;
    Ok(UnixSocket { listener, roles })
}

impl UnixSocket {
    /// A socket that somebody else listens on for us, and has the mode that they gave it.
    pub const fn inherited(listener: UnixListener, roles: UnixRoles) -> Self {
        Self { listener, roles }
    }

    /// Accepts until the server is gone.
    pub(in crate::rpc) async fn accept(self, sender: Sender) {
        let rooms = Rooms::default();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = sender.closed() => return,
            };
            match accepted.and_then(|(stream, _)| Ok((stream.peer_cred()?, stream))) {
                Ok((caller, stream)) => {
                    let role = self.roles.of(caller.uid());
                    match rooms.take(caller, role) {
                        Ok(room) => {
                            let held = (room, OpenConnection::new(Listener::Unix));
                            let begun = Connection::begin(stream, Peer::new(Who::User(caller.uid()), role), held);
                            tokio::spawn(hand_on(begun, sender.clone(), Listener::Unix));
                        }
                        Err(cause) => {
                            cause.count(Listener::Unix);
                            tracing::warn!(uid = caller.uid(), "closed a connection: there are too many");
                        }
                    }
                }
                Err(error) => after_failure(&error).await,
            }
        }
    }
}

/// The room that there is for connections. Admins have their own: nobody else can keep them out. The agent's own calls need
/// none: whoever fills the rest must not make it look dead.
#[derive(Debug)]
struct Rooms {
    admins: Arc<Semaphore>,
    others: Arc<Semaphore>,
    each: Limit<u32>,
}

/// The room of one connection.
type Room = Option<(OwnedSemaphorePermit, Slot<u32>)>;

impl Default for Rooms {
    fn default() -> Self {
        let half = || Arc::new(Semaphore::new(MAX_CONNECTIONS / 2));
        Self { admins: half(), others: half(), each: Limit::default() }
    }
}

impl Rooms {
    fn take(&self, caller: UCred, role: Option<Role>) -> Result<Room, Cause> {
        if caller.pid().and_then(|pid| u32::try_from(pid).ok()) == Some(std::process::id()) {
            return Ok(None);
        }
        let (rooms, most) = match role {
            Some(Role::Admin) => (&self.admins, MAX_CONNECTIONS),
            Some(Role::Operator | Role::Observer) | None => (&self.others, MAX_CONNECTIONS_EACH),
        };
        let slot = self.each.take(caller.uid(), most).ok_or(Cause::TooMany)?;
        let permit = rooms.clone().try_acquire_owned().map_err(|_full| Cause::Full)?;
        Ok(Some((permit, slot)))
    }
}
