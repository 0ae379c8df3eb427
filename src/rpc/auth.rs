//! Who may call what: the layer before all services. It knows the peer of the connection and the path of the method.

use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use tonic::body::Body;
use tonic::{Request, Status};
use tower::{Layer, Service};

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
    let nobody = || Caller { name: "unknown".to_owned(), ..Caller::default() };
    request.extensions().get::<Peer>().map_or_else(nobody, Peer::caller)
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

/// The layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct AccessLayer;

impl<S> Layer<S> for AccessLayer {
    type Service = Access<S>;

    fn layer(&self, inner: S) -> Access<S> {
        Access { inner }
    }
}

/// What stands before a service.
#[derive(Debug, Clone)]
pub(super) struct Access<S> {
    inner: S,
}

impl<S> Service<http::Request<Body>> for Access<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<http::Response<Body>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if let Some(status) = not_grpc(&request) {
            let mut answer = http::Response::new(Body::empty());
            *answer.status_mut() = status;
            return Box::pin(std::future::ready(Ok(answer)));
        }
        let peer = request.extensions().get::<Peer>();
        let call =
            check(peer, request.uri().path()).and_then(|()| peer.and_then(Peer::begin_call).ok_or(AccessError::Calls));
        match call {
            Ok(permit) => {
                let answer = self.inner.call(request);
                Box::pin(async move {
                    let answer = answer.await;
                    drop(permit);
                    answer
                })
            }
            Err(error) => Box::pin(std::future::ready(Ok(refuse(&error).into_http()))),
        }
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
