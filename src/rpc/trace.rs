//! A span for each call, so that its log lines say which call, of whom, they belong to; and its place in the metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tonic::body::Body;
use tower::{Layer, Service};
use tracing::Instrument as _;

use super::auth;
use super::measure::Call;

/// Calls since the start.
static CALLS: AtomicU64 = AtomicU64::new(0);

/// Gives each call its span, and measures it.
#[derive(Debug, Clone, Copy)]
pub(super) struct TraceLayer;

impl<S> Layer<S> for TraceLayer {
    type Service = Trace<S>;

    fn layer(&self, inner: S) -> Trace<S> {
        Trace { inner }
    }
}

/// A service whose calls have spans.
#[derive(Debug, Clone)]
pub(super) struct Trace<S> {
    inner: S,
}

impl<S, B> Service<http::Request<B>> for Trace<S>
where
    S: Service<http::Request<B>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let span = span(&request);
        let call = Call::begin(request.uri().path());
        // What is refused at once is refused here, before there is anything to poll.
        let future = span.in_scope(|| self.inner.call(request));
        Box::pin(async move { future.await.map(|response| call.follow(response)) }.instrument(span))
    }
}

fn span<B>(request: &http::Request<B>) -> tracing::Span {
    let mut known = tonic::Request::new(());
    *known.extensions_mut() = request.extensions().clone();
    let call = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
    // A path is what a stranger wrote; those of the agent's own methods are short.
    let method: String = request.uri().path().trim_start_matches('/').chars().take(96).collect();
    tracing::info_span!("call", call, method = crate::text::printable(&method), caller = %auth::caller(&known))
}
