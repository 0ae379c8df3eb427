//! Who may call: on the Unix socket, root and the user that runs the agent, by what the kernel says of the peer.

use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Status};

use super::refuse;
use crate::reason::{DomainError, Reason};

#[derive(Debug, thiserror::Error)]
enum PeerError {
    #[error("user {uid} may not call the agent")]
    User { uid: u32 },
    #[error("the kernel does not say who is calling")]
    Unknown,
}

impl DomainError for PeerError {
    fn reason(&self) -> Reason {
        Reason::PeerNotAllowed
    }

    fn metadata(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::User { uid } => vec![("uid", uid.to_string())],
            Self::Unknown => Vec::new(),
        }
    }
}

/// Lets a call pass, or not.
pub(super) fn check_peer(request: Request<()>) -> Result<Request<()>, Status> {
    let peer = request.extensions().get::<UdsConnectInfo>().and_then(|info| info.peer_cred);
    match peer.map(|peer| peer.uid()) {
        Some(uid) if may_call(uid, nix::unistd::geteuid().as_raw()) => Ok(request),
        Some(uid) => Err(refuse(&PeerError::User { uid })),
        None => Err(refuse(&PeerError::Unknown)),
    }
}

/// Who calls, for logs and for what is said of overrides.
pub(super) fn caller<T>(request: &Request<T>) -> String {
    let peer = request.extensions().get::<UdsConnectInfo>().and_then(|info| info.peer_cred);
    peer.map_or_else(|| "unknown".to_owned(), |peer| format!("user {}", peer.uid()))
}

const fn may_call(uid: u32, own: u32) -> bool {
    uid == 0 || uid == own
}

#[cfg(test)]
mod tests {
    use super::{check_peer, may_call};

    #[test]
    fn root_and_the_own_user_may_call() {
        assert!(may_call(0, 0) && may_call(0, 990) && may_call(990, 990));
        assert!(!may_call(1000, 0) && !may_call(1000, 990));
    }

    #[test]
    fn a_caller_that_the_kernel_does_not_vouch_for_may_not() {
        let status = check_peer(tonic::Request::new(())).expect_err("no peer");
        assert_eq!(status.code(), tonic::Code::PermissionDenied);
    }
}
