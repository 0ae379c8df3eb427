//! The Unix socket. The kernel says who connects; the mode of the file keeps others out where only root may call.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::limit::Limit;
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
        let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let each = Limit::default();
        loop {
            // Who comes when there is no room waits in the kernel's queue.
            let Ok(room) = connections.clone().acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = sender.closed() => return,
            };
            match accepted.and_then(|(stream, _)| Ok((stream.peer_cred()?.uid(), stream))) {
                Ok((uid, stream)) => {
                    let role = self.roles.of(uid);
                    let most = if role == Some(Role::Admin) { MAX_CONNECTIONS } else { MAX_CONNECTIONS_EACH };
                    match each.take(uid, most) {
                        Some(slot) => {
                            let held = (room, slot, OpenConnection::new(Listener::Unix));
                            let begun = Connection::begin(stream, Peer::new(Who::User(uid), role), held);
                            tokio::spawn(hand_on(begun, sender.clone(), Listener::Unix));
                        }
                        None => {
                            Cause::TooMany.count(Listener::Unix);
                            tracing::warn!(uid, "closed a connection: the user has too many");
                        }
                    }
                }
                Err(error) => after_failure(&error).await,
            }
        }
    }
}
