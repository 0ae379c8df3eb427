//! Who may call what, by the peer of the connection and the path of the method.

use http::header::CONTENT_TYPE;
use http::{Extensions, HeaderValue, StatusCode};
use tokio::sync::OwnedSemaphorePermit;
use tonic::body::Body;
use tonic::{Request, Status};

use super::peer::{Peer, Who};
use super::refuse;
use super::role::{Method, Role};
use crate::operation::{Caller, Operation};
use crate::reason::{DomainError, Reason};

#[derive(Debug, thiserror::Error)]
enum AccessError {
    #[error("user {uid} may not call the agent")]
    User { uid: u32 },
    #[error("it is not known who is calling")]
    Unknown,
    #[error("this needs the role {role}")]
    Role { role: Role },
    #[error("too many calls of this connection wait for their answer")]
    Calls,
}

impl DomainError for AccessError {
    fn reason(&self) -> Reason {
        match self {
            Self::User { .. } | Self::Unknown => Reason::PeerNotAllowed,
            Self::Role { .. } => Reason::RoleRequired,
            Self::Calls => Reason::CallLimit,
        }
    }

    fn metadata(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::User { uid } => vec![("uid", uid.to_string())],
            Self::Role { role } => vec![("role", role.to_string())],
            Self::Unknown | Self::Calls => Vec::new(),
        }
    }
}

/// Lets a call pass to a method, or not. A path that leads nowhere is told so only to whom has a role.
fn check(peer: Option<&Peer>, path: &str) -> Result<(), AccessError> {
    let Some(peer) = peer else { return Err(AccessError::Unknown) };
    let least = Method::of(path).map_or(Role::Observer, Role::least_for);
    match (peer.role, &peer.who) {
        (Some(role), _) if role >= least => Ok(()),
        (None, &Who::User(uid)) => Err(AccessError::User { uid }),
        (Some(_), _) | (None, Who::Certificate { .. }) => Err(AccessError::Role { role: least }),
    }
}

/// Who calls.
pub(super) fn caller<T>(request: &Request<T>) -> Caller {
    caller_of(request.extensions())
}

/// Who calls, by what the connection has told of them.
pub(super) fn caller_of(known: &Extensions) -> Caller {
    let nobody = || Caller { name: "unknown".to_owned(), ..Caller::default() };
    known.get::<Peer>().map_or_else(nobody, Peer::caller)
}

/// What the caller may do, for [`check_overrides`].
pub(super) fn role<T>(request: &Request<T>) -> Option<Role> {
    request.extensions().get::<Peer>().and_then(|peer| peer.role)
}

/// To say that a finding shall not count is for admins.
pub(super) fn check_overrides(role: Option<Role>, overrides: &[String]) -> Result<(), Status> {
    if overrides.is_empty() || role == Some(Role::Admin) {
        Ok(())
    } else {
        Err(refuse(&AccessError::Role { role: Role::Admin }))
    }
}

/// Whoever began an operation may end it and have it forgotten, and so may admins.
pub(super) fn check_owner<T>(request: &Request<T>, operation: &Operation) -> Result<(), Status> {
    if role(request) == Some(Role::Admin) || operation.request.caller.is(&caller(request)) {
        Ok(())
    } else {
        Err(refuse(&AccessError::Role { role: Role::Admin }))
    }
}

/// The status of HTTP for what is no gRPC. tonic looks at the path alone, and would run the method.
fn not_grpc<B>(request: &http::Request<B>) -> Option<StatusCode> {
    let content_type = request.headers().get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let is_grpc =
        content_type.strip_prefix(b"application/grpc").is_some_and(|rest| matches!(rest, [] | [b'+' | b';', ..]));
    if request.method() != http::Method::POST {
        Some(StatusCode::METHOD_NOT_ALLOWED)
    } else if is_grpc {
        None
    } else {
        Some(StatusCode::UNSUPPORTED_MEDIA_TYPE)
    }
}

/// Whether a call goes on to its method.
#[derive(Debug)]
pub(super) enum Entry {
    /// It does. It counts as one of its connection's for as long as this is kept.
    Passed(OwnedSemaphorePermit),
    /// This is its answer.
    Refused(http::Response<Body>),
}

/// Lets a call go on to its method, or refuses it.
pub(super) fn enter(request: &http::Request<Body>) -> Entry {
    if let Some(status) = not_grpc(request) {
        let mut answer = http::Response::new(Body::empty());
        *answer.status_mut() = status;
        return Entry::Refused(answer);
    }
    let peer = request.extensions().get::<Peer>();
    let passed = check(peer, request.uri().path());
    match passed.and_then(|()| peer.and_then(Peer::begin_call).ok_or(AccessError::Calls)) {
        Ok(permit) => Entry::Passed(permit),
        Err(error) => Entry::Refused(refuse(&error).into_http()),
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::{AccessError, check, check_overrides, not_grpc};
    use crate::reason::DomainError as _;
    use crate::rpc::peer::{Peer, Who};
    use crate::rpc::role::{Method, Role};

    #[test]
    fn each_role_passes_to_the_methods_that_need_no_more() {
        for &role in Role::ALL {
            let peer = Peer::new(Who::User(7), Some(role));
            for &method in Method::ALL {
                let passed = check(Some(&peer), method.path()).is_ok();
                assert_eq!(passed, role >= Role::least_for(method), "{role} {}", method.path());
            }
            assert!(check(Some(&peer), "/no/such").is_ok(), "the router says that there is no such method");
        }
    }

    #[test]
    fn who_has_no_role_or_is_not_known_passes_nowhere() {
        let nobody = Peer::new(Who::User(7), None);
        for path in Method::ALL.iter().map(|method| method.path()).chain(["/no/such"]) {
            assert!(matches!(check(Some(&nobody), path), Err(AccessError::User { uid: 7 })), "{path}");
            assert!(matches!(check(None, path), Err(AccessError::Unknown)), "{path}");
        }
    }

    #[test]
    fn what_is_no_grpc_is_told_so_by_http() {
        let of = |method: &str, content_type: &str| {
            let request = http::Request::builder().method(method).header("content-type", content_type).body(());
            not_grpc(&request.expect("a request")).map(|status| status.as_u16())
        };
        for content_type in ["application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8"] {
            assert_eq!(of("POST", content_type), None);
            assert_eq!(of("GET", content_type), Some(405));
        }
        for content_type in ["text/plain", "application/grpc-web", "application/json", ""] {
            assert_eq!(of("POST", content_type), Some(415), "{content_type}");
        }
    }

    #[test]
    fn overrides_are_for_admins() {
        let overrides = ["COMPAT-MODEL".to_owned()];
        for role in [None, Some(Role::Observer), Some(Role::Operator)] {
            let status = check_overrides(role, &overrides).expect_err("no admin");
            assert_eq!(status.code(), Code::PermissionDenied);
            check_overrides(role, &[]).expect("nothing is overridden");
        }
        check_overrides(Some(Role::Admin), &overrides).expect("an admin");
        assert_eq!(AccessError::Role { role: Role::Admin }.metadata(), [("role", "admin".to_owned())]);
    }
}
