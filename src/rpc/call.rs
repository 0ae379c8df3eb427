//! What every call passes through: it gets a span, so that its log lines say which call, of whom, they belong to; it is
//! measured; it is let in, or not; it has to arrive; and it is answered whatever happens in its handler.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tonic::body::Body;
use tower::{Layer, Service};
use tracing::Instrument as _;

use super::arrival::limited;
use super::auth::{self, Entry};
use super::measure::Measure;
use super::{CallError, refuse};

/// Calls since the start.
static CALLS: AtomicU64 = AtomicU64::new(0);

/// The one layer around all services.
#[derive(Debug, Clone, Copy)]
pub(super) struct CallLayer;

impl<S> Layer<S> for CallLayer {
    type Service = Calls<S>;

    fn layer(&self, inner: S) -> Calls<S> {
        Calls { inner }
    }
}

/// A service behind the layer.
#[derive(Debug, Clone)]
pub(super) struct Calls<S> {
    inner: S,
}

impl<S> Service<http::Request<Body>> for Calls<S>
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
        let span = span(&request);
        let measure = Measure::begin(request.uri().path());
        match span.in_scope(|| auth::enter(&request)) {
            Entry::Refused(answer) => Box::pin(std::future::ready(Ok(measure.follow(answer)))),
            Entry::Passed(permit) => {
                let answer = answer(span.in_scope(|| self.inner.call(limited(request))));
                Box::pin(
                    async move {
                        let answer = answer.await;
                        drop(permit);
                        answer.map(|answer| measure.follow(answer))
                    }
                    .instrument(span),
                )
            }
        }
    }
}

/// What a handler answers, or INTERNAL if it panics: without this its stream would be reset without a word. What panics on a
/// thread for blocking calls is caught there, by `blocking`; what panics in the thread of an operation ends that operation.
/// An answer that is streamed has left the handler: a panic there resets its stream.
async fn answer<E>(handler: impl Future<Output = Result<http::Response<Body>, E>>) -> Result<http::Response<Body>, E> {
    // Handlers share nothing but what is behind locks, and those are taken whatever happened to whoever held them. The hook
    // of panics has said where and why, on standard error.
    AssertUnwindSafe(handler).catch_unwind().await.unwrap_or_else(|_panic| Ok(refuse(&CallError::Lost).into_http()))
}

fn span(request: &http::Request<Body>) -> tracing::Span {
    let call = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
    // A path is what a stranger wrote; those of the agent's own methods are short.
    let method: String = request.uri().path().trim_start_matches('/').chars().take(96).collect();
    let caller = auth::caller_of(request.extensions());
    tracing::info_span!("call", call, method = crate::text::printable(&method), %caller)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tonic::body::Body;
    use tonic::{Code, Status};
    use tower::{Layer as _, Service as _, service_fn};

    use super::CallLayer;
    use crate::rpc::peer::{Peer, Who};
    use crate::rpc::role::Role;
    use crate::rpc::{CallError, blocking};

    #[tokio::test]
    async fn a_handler_that_panics_is_an_internal_error_and_the_next_call_is_answered() {
        let handler = service_fn(|request: http::Request<Body>| async move {
            assert_eq!(request.uri().path(), "/good", "a defect");
            Ok::<_, Infallible>(http::Response::new(Body::empty()))
        });
        let mut service = CallLayer.layer(handler);
        let peer = Peer::new(Who::User(0), Some(Role::Admin));
        let mut call = async |path, peer: Option<&Peer>| {
            let mut request = http::Request::post(path).header("content-type", "application/grpc").body(Body::empty());
            let request = request.as_mut().expect("a request");
            peer.map(|peer| request.extensions_mut().insert(peer.clone()));
            let answer = service.call(std::mem::take(request)).await.expect("an answer");
            Status::from_header_map(answer.headers()).map(|status| status.code())
        };
        assert_eq!(call("/bad", Some(&peer)).await, Some(Code::Internal));
        assert_eq!(call("/good", Some(&peer)).await, None);
        assert_eq!(call("/good", None).await, Some(Code::PermissionDenied), "whoever is not known passes nowhere");
    }

    #[tokio::test]
    async fn blocking_work_that_panics_is_an_internal_error() {
        let status = blocking(|| -> Result<(), CallError> { panic!("a defect") }).await.expect_err("lost");
        assert_eq!(status.code(), Code::Internal);
    }
}
