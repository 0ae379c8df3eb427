//! A span for each call, so that its log lines say which call, of whom, they belong to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tower::{Layer, Service};
use tracing::instrument::{Instrument as _, Instrumented};

use super::auth;

/// Calls since the start.
static CALLS: AtomicU64 = AtomicU64::new(0);

/// Gives each call its span.
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
    S: Service<http::Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Instrumented<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let span = span(&request);
        // What is refused at once is refused here, before there is anything to poll.
        let future = span.in_scope(|| self.inner.call(request));
        future.instrument(span)
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
