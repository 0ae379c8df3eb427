//! A call whose handler panics is answered with INTERNAL, and is the only one that notices.
//!
//! Without this layer its stream would be reset without a word. What panics on a thread for blocking calls is caught there,
//! by `blocking`; what panics in the thread of an operation ends that operation. An answer that is streamed has left the
//! handler: a panic there resets its stream.

use std::panic::AssertUnwindSafe;
use std::task::{Context, Poll};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tonic::body::Body;
use tower::{Layer, Service};

use super::{CallError, refuse};

/// Catches the panics of a service.
#[derive(Debug, Clone, Copy)]
pub(super) struct PanicLayer;

impl<S> Layer<S> for PanicLayer {
    type Service = Caught<S>;

    fn layer(&self, inner: S) -> Caught<S> {
        Caught { inner }
    }
}

/// A service that answers whatever happens in it.
#[derive(Debug, Clone)]
pub(super) struct Caught<S> {
    inner: S,
}

impl<S> Service<http::Request<Body>> for Caught<S>
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
        // Handlers share nothing but what is behind locks, and those are taken whatever happened to whoever held them.
        let answer = AssertUnwindSafe(self.inner.call(request)).catch_unwind();
        // The hook of panics has said where and why, on standard error.
        Box::pin(async { answer.await.unwrap_or_else(|_panic| Ok(refuse(&CallError::Lost).into_http())) })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tonic::body::Body;
    use tonic::{Code, Status};
    use tower::{Layer as _, Service as _, service_fn};

    use super::PanicLayer;
    use crate::rpc::{CallError, blocking};

    #[tokio::test]
    async fn a_handler_that_panics_is_an_internal_error_and_the_next_call_is_answered() {
        let handler = service_fn(|request: http::Request<Body>| async move {
            assert_eq!(request.uri().path(), "/good", "a defect");
            Ok::<_, Infallible>(http::Response::new(Body::empty()))
        });
        let mut service = PanicLayer.layer(handler);
        let mut call = async |path| {
            let request = http::Request::post(path).body(Body::empty()).expect("a request");
            let answer = service.call(request).await.expect("an answer");
            Status::from_header_map(answer.headers()).map(|status| status.code())
        };
        assert_eq!(call("/bad").await, Some(Code::Internal));
        assert_eq!(call("/good").await, None);
    }

    #[tokio::test]
    async fn blocking_work_that_panics_is_an_internal_error() {
        let status = blocking(|| -> Result<(), CallError> { panic!("a defect") }).await.expect_err("lost");
        assert_eq!(status.code(), Code::Internal);
    }
}
