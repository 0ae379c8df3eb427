//! Spans of calls and operations, on their way to an OpenTelemetry collector.
//!
//! They wait in a bounded queue and leave in batches, from a thread of their own. Nobody waits for the collector: what does
//! not fit the queue is lost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{ExporterBuildError, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, SpanData, SpanExporter};
use tracing::{Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use super::OtelTable;

/// Most spans that wait.
const MAX_WAITING: usize = 2048;
/// Most spans of one request.
const MAX_BATCH: usize = 256;
/// How often spans leave.
const EVERY: Duration = Duration::from_secs(2);
/// How long the collector may take for a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the agent waits for the last ones when it ends.
const LAST: Duration = Duration::from_secs(2);
/// Most log lines that a span has with it, and most fields of each.
const MAX_EVENTS: u32 = 32;
const MAX_FIELDS: u32 = 32;

/// The way to the collector.
#[derive(Debug)]
pub(super) struct Spans(SdkTracerProvider);

impl Spans {
    /// Starts the thread.
    ///
    /// # Errors
    /// If no client can be made of the table. Whether there is a collector, its thread finds out.
    pub(super) fn start(table: &OtelTable) -> Result<Self, ExporterBuildError> {
        // Nobody has chosen yet: logs are the first thing that is set up.
        if rustls::crypto::ring::default_provider().install_default().is_err() {
            tracing::debug!("TLS has a provider already");
        }
        let endpoint = format!("{}/v1/traces", table.endpoint.as_str().trim_end_matches('/'));
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_endpoint(endpoint)
            .with_timeout(REQUEST_TIMEOUT)
            .build()?;
        let queue = BatchConfigBuilder::default()
            .with_max_queue_size(MAX_WAITING)
            .with_max_export_batch_size(MAX_BATCH)
            .with_scheduled_delay(EVERY);
        let exporter = Watched { inner: exporter, is_failing: AtomicBool::new(false) };
        let processor = BatchSpanProcessor::builder(exporter).with_batch_config(queue.build()).build();
        let resource = Resource::builder_empty()
            .with_service_name("bms-agent")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
        let provider = SdkTracerProvider::builder()
            .with_span_processor(processor)
            .with_resource(resource.build())
            .with_max_events_per_span(MAX_EVENTS)
            .with_max_attributes_per_event(MAX_FIELDS);
        Ok(Self(provider.build()))
    }

    /// What takes spans, whatever is logged: those of the agent alone, for the client that sends them has spans as well.
    pub(super) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let own = |metadata: &tracing::Metadata<'_>| {
            metadata.target().starts_with("bms_agent") && *metadata.level() <= Level::INFO
        };
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer("bms-agent"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_error_events_to_status(true)
            .with_filter(filter_fn(own))
    }

    /// Sends what waits, for a short time.
    pub(super) fn finish(self) {
        if let Err(error) = self.0.shutdown_with_timeout(LAST) {
            tracing::warn!(%error, "the last spans did not reach the collector");
        }
    }
}

/// An exporter that says once that the collector does not take spans, and once that it does again.
#[derive(Debug)]
struct Watched {
    inner: opentelemetry_otlp::SpanExporter,
    is_failing: AtomicBool,
}

impl Watched {
    fn tell(&self, result: &OTelSdkResult) {
        match (result, self.is_failing.swap(result.is_err(), Ordering::Relaxed)) {
            (Err(error), false) => tracing::warn!(%error, "the collector takes no spans; they are lost until it does"),
            (Ok(()), true) => tracing::info!("the collector takes spans again"),
            (Err(_), true) | (Ok(()), false) => {}
        }
    }
}

impl SpanExporter for Watched {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let result = self.inner.export(batch).await;
        self.tell(&result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Instant;

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::{OtelTable, Spans};
    use crate::clock::SystemClock;
    use crate::disk::fixture::Fixture;
    use crate::operation::registry::{Begun, Registry};
    use crate::operation::{Call, Caller, Failure, OperationKind, Request};
    use crate::reason::Reason;

    /// A collector that takes one request; gives where it is, and the path and body of the request.
    fn collector() -> (OtelTable, Receiver<(String, Vec<u8>)>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("address")).parse().expect("a URL");
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            let mut stream = BufReader::new(listener.accept().expect("a connection").0);
            let (mut head, mut len) = (Vec::new(), 0);
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).expect("a line");
                if line.trim().is_empty() {
                    break;
                }
                let lower = line.to_lowercase();
                len = lower.strip_prefix("content-length:").map_or(len, |text| text.trim().parse().expect("a length"));
                head.push(line);
            }
            let mut body = vec![0; len];
            stream.read_exact(&mut body).expect("the body");
            stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").expect("an answer");
            drop(sender.send((head.remove(0), body)));
        });
        (OtelTable { endpoint }, receiver)
    }

    /// An operation that fails, in a call.
    fn fail_an_operation() -> String {
        let registry = Arc::new(Registry::new(Arc::new(SystemClock)));
        let fixture = Fixture::new();
        fixture.nvme("nvme0n1", "259:0", "S");
        let request = Request {
            id: uuid::Uuid::from_u128(7),
            digest: [7; 32],
            caller: Caller::default(),
            method: "a.B/C",
            call: Call::default(),
        };
        let begun = registry.begin(&request, OperationKind::Install, &fixture.scan()[0]).expect("begun");
        let Begun::New(running) = begun else { panic!("it is new") };
        let operation = running.operation().clone();
        let _call = tracing::info_span!("call", method = "a.B/C", caller = "user 7").entered();
        operation.span().in_scope(|| tracing::error!(reason = "DISK_IO", "failed"));
        running.finish(Err(Failure { reason: Reason::DiskIo, message: String::new(), metadata: Vec::new() }));
        operation.id.to_string()
    }

    fn has(body: &[u8], text: &str) -> bool {
        body.windows(text.len()).any(|window| window == text.as_bytes())
    }

    #[test]
    fn a_collector_receives_the_spans_of_an_operation_and_its_call() {
        let (table, received) = collector();
        let spans = Spans::start(&table).expect("started");
        let subscriber = tracing_subscriber::registry().with(spans.layer());
        let id = tracing::subscriber::with_default(subscriber, || {
            tracing::info_span!(target: "hyper", "not-ours").in_scope(|| ());
            fail_an_operation()
        });
        spans.finish();
        let (request, body) = received.recv().expect("a request");
        assert!(request.starts_with("POST /v1/traces "), "{request}");
        for text in ["bms-agent", "call", "operation", "Install", "nvme0n1", "user 7", "a.B/C", "DISK_IO", &id] {
            assert!(has(&body, text), "{text}");
        }
        assert!(!has(&body, "not-ours"));
    }

    #[test]
    fn a_collector_that_is_not_there_costs_no_more_than_the_last_wait() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("address")).parse().expect("a URL");
        // It listens and says nothing.
        let spans = Spans::start(&OtelTable { endpoint }).expect("started");
        let subscriber = tracing_subscriber::registry().with(spans.layer());
        let begin = Instant::now();
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..3 * super::MAX_WAITING {
                tracing::info_span!("call").in_scope(|| ());
            }
        });
        assert!(begin.elapsed() < super::LAST, "nobody waits for it: {:?}", begin.elapsed());
        spans.finish();
        assert!(begin.elapsed() < 3 * super::LAST, "{:?}", begin.elapsed());
    }
}
