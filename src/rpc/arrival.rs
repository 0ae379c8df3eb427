//! The bodies of requests, which have to arrive: half a message that never becomes whole would hold its call, and what came of
//! it, for as long as the connection lives.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame};
use tokio::time::Sleep;
use tonic::Status;
use tonic::body::Body;

use super::method::Method;
use super::{CallError, refuse};

/// How long a request may take to arrive whose method takes one message.
pub(super) const LIMIT: Duration = Duration::from_secs(10);

/// The request, which fails if its body takes too long. Streams of callers have limits of their own.
pub(super) fn limited(request: http::Request<Body>) -> http::Request<Body> {
    match Method::of(request.uri().path()) {
        Some(Method::ProvisioningServicePushImage | Method::ServerReflectionServerReflectionInfo) => request,
        _ => request.map(|body| Body::new(Arriving { body, limit: Box::pin(tokio::time::sleep(LIMIT)) })),
    }
}

/// A body, and when it has to be there.
struct Arriving {
    body: Body,
    limit: Pin<Box<Sleep>>,
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        match self.limit.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Some(Err(refuse(&CallError::Slow)))),
            Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::{BodyExt as _, StreamBody};
    use hyper::body::Frame;
    use tokio_stream::StreamExt as _;
    use tonic::Code;
    use tonic::body::Body;

    use super::{LIMIT, limited};
    use crate::rpc::method::Method;

    fn half(method: Method) -> http::Request<Body> {
        let first = tokio_stream::once(Ok::<_, tonic::Status>(Frame::data(Bytes::from_static(b"\0\0\0\0\x0a"))));
        let body = Body::new(StreamBody::new(first.chain(tokio_stream::pending())));
        http::Request::post(method.path()).body(body).expect("a request")
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_message_is_not_waited_for_longer_than_the_limit() {
        let start = tokio::time::Instant::now();
        let body = limited(half(Method::HostServiceGetHost)).into_body();
        let error = body.collect().await.expect_err("it never becomes whole");
        assert_eq!((error.code(), start.elapsed()), (Code::Unavailable, LIMIT));
    }

    #[tokio::test(start_paused = true)]
    async fn a_push_may_take_hours() {
        let body = limited(half(Method::ProvisioningServicePushImage)).into_body();
        tokio::time::timeout(LIMIT * 1000, body.collect()).await.expect_err("it goes on");
    }
}
