//! How a call ends, and how long it took: for metrics.
//!
//! A call ends when its last byte is on its way, not when its handler returns: a push is one call of hours.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::StatusCode;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tonic::body::Body;
use tonic::{Code, Status};

use super::method::Method;
use crate::metrics;

/// What methods that there are not are called, whatever they are called.
const OTHER: &str = "other";
/// The code of answers that have none, for they are no gRPC.
const NOT_GRPC: &str = "NOT_GRPC";

/// The measure of a call. Whoever drops it before it has a code has gone away.
#[derive(Debug)]
pub(super) struct Measure {
    method: &'static str,
    begin: Instant,
    code: &'static str,
}

impl Measure {
    /// Of a path, from now on.
    pub(super) fn begin(path: &str) -> Self {
        let method = Method::of(path).map_or(OTHER, |method| method.path().trim_start_matches('/'));
        Self { method, begin: Instant::now(), code: name(Code::Cancelled) }
    }

    fn end(mut self, code: &'static str) {
        self.code = code;
    }

    /// Stays with an answer until its end.
    pub(super) fn follow(self, response: http::Response<Body>) -> http::Response<Body> {
        if let Some(code) = code(response.headers()) {
            self.end(name(code));
            response
        } else if response.status() == StatusCode::OK {
            response.map(|body| Body::new(Measured { body, measure: Some(self) }))
        } else {
            self.end(NOT_GRPC);
            response
        }
    }
}

impl Drop for Measure {
    fn drop(&mut self) {
        metrics::call_ended(self.method, self.code, self.begin.elapsed());
    }
}

fn code(headers: &http::HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|status| Code::from_bytes(status.as_bytes()))
}

/// The code, as it is written.
const fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// The body of an answer, whose trailers say how the call ended.
struct Measured {
    body: Body,
    measure: Option<Measure>,
}

impl Measured {
    fn note(&mut self, frame: &Result<Frame<Bytes>, Status>) {
        let code = match frame {
            Ok(frame) => frame.trailers_ref().and_then(code),
            Err(status) => Some(status.code()),
        };
        if let Some(code) = code
            && let Some(measure) = self.measure.take()
        {
            measure.end(name(code));
        }
    }
}

impl HttpBody for Measured {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(frame)) = &polled {
            self.note(frame);
        }
        polled
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::{BodyExt as _, Full};
    use tonic::body::Body;

    use super::{Measure, NOT_GRPC, OTHER, code, name};
    use crate::rpc::method::Method;

    #[test]
    fn methods_that_there_are_not_share_one_name() {
        for path in ["/", "/no/such", "/grpc.health.v1.Health/check"] {
            assert_eq!(Measure::begin(path).method, OTHER);
        }
        for method in Method::ALL {
            assert_eq!(format!("/{}", Measure::begin(method.path()).method), method.path());
        }
    }

    #[test]
    fn an_answer_that_is_no_grpc_has_a_code_of_its_own() {
        let mut response = http::Response::new(Body::empty());
        *response.status_mut() = http::StatusCode::METHOD_NOT_ALLOWED;
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        ::metrics::with_local_recorder(&recorder, || drop(Measure::begin("/no/such").follow(response)));
        assert!(recorder.handle().render().contains(&format!("code=\"{NOT_GRPC}\"")));
    }

    #[test]
    fn a_call_ends_with_its_trailers_or_with_whoever_goes_away() {
        let answer = |code: Option<&'static str>| {
            let trailers = async move {
                code.map(|code| {
                    Ok(http::HeaderMap::from_iter([(
                        "grpc-status".parse().expect("name"),
                        code.parse().expect("value"),
                    )]))
                })
            };
            http::Response::new(Body::new(Full::new(Bytes::from_static(b"message")).with_trailers(trailers)))
        };
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        ::metrics::with_local_recorder(&recorder, || {
            let whole = Measure::begin("/grpc.health.v1.Health/Check").follow(answer(Some("9")));
            let body = runtime.block_on(whole.into_body().collect()).expect("a body");
            assert_eq!(code(body.trailers().expect("trailers")).map(name), Some("FAILED_PRECONDITION"));
            drop(Measure::begin("/grpc.health.v1.Health/Watch").follow(answer(Some("0"))));
        });
        let page = recorder.handle().render();
        for (method, code) in [("Check", "FAILED_PRECONDITION"), ("Watch", "CANCELLED")] {
            let line = format!("calls_total{{method=\"grpc.health.v1.Health/{method}\",code=\"{code}\"}} 1");
            assert!(page.contains(&line), "{line} is not in\n{page}");
        }
    }
}
