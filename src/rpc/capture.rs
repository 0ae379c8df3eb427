//! Carries a capture to its caller. Nothing is hashed or compressed here; payloads are handed on as they came.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::proto::v1::{self, stream_capture_response::Message};
use super::{status, view};
use crate::agent::{CaptureBegun, CaptureEvent, CapturedGroups, Streamed};
use crate::image::manifest::CaptureMode;
use crate::operation::Operation;
use crate::provision::feed::{Encoding, Offered};

type Answer = Result<v1::StreamCaptureResponse, Status>;

/// Hands on what is captured until the capture ends, or the caller goes away or reads nothing for `stall`, which ends it.
pub(super) fn carry(streamed: Streamed, stall: Duration) -> ReceiverStream<Answer> {
    let Streamed { operation, events } = streamed;
    // What waits for the network is bounded by the other channel.
    let (answer, answers) = mpsc::channel(1);
    tokio::spawn(async move {
        // A caller that does not read must not hold up what is cancelled.
        operation.cancel.run_until_cancelled(pump(&answer, events, &operation, stall)).await;
        if let Some((_, Err(failure))) = &operation.ended().await.end {
            // If the caller is gone, nobody wants to know.
            answer.send(Err(status::failure_status(failure))).await.ok();
        }
    });
    ReceiverStream::new(answers)
}

async fn pump(
    answer: &mpsc::Sender<Answer>,
    mut events: mpsc::Receiver<CaptureEvent>,
    operation: &Operation,
    stall: Duration,
) {
    while let Some(event) = events.recv().await {
        let message = match event {
            CaptureEvent::Begun(begun) => Message::Begun(self::begun(operation, *begun)),
            CaptureEvent::Groups(groups) => Message::Groups(self::groups(groups)),
            CaptureEvent::Finished { root, offers_digest } => Message::Finished(v1::CaptureFinished {
                root: root.as_bytes().to_vec(),
                offers_digest: offers_digest.to_vec(),
            }),
        };
        let message = v1::StreamCaptureResponse { message: Some(message) };
        match answer.send_timeout(Ok(message), stall).await {
            Ok(()) => {}
            Err(SendTimeoutError::Closed(_)) => return,
            Err(SendTimeoutError::Timeout(_)) => {
                let (operation, seconds) = (operation.name(), stall.as_secs());
                return tracing::warn!(operation, seconds, "the caller of a capture reads nothing: it is given up");
            }
        }
    }
}

fn begun(operation: &Operation, begun: CaptureBegun) -> v1::CaptureBegun {
    v1::CaptureBegun {
        operation: operation.name(),
        disk: Some(view::disk(&begun.disk)),
        size_bytes: begun.layout.len_bytes(),
        group_size_bytes: begun.layout.group_size().bytes(),
        bit_exact: begun.mode == CaptureMode::BitExact,
        free_bytes: begun.free_bytes,
        notes: begun.notes,
    }
}

fn groups(captured: CapturedGroups) -> v1::CapturedGroups {
    let CapturedGroups { first, groups, encoding, payload } = captured;
    let encoding = match encoding {
        Encoding::Raw => v1::Encoding::Raw,
        Encoding::Zstd => v1::Encoding::Zstd,
    };
    let group_count = groups.count();
    let chaining_values = match groups {
        Offered::Holes(_) => Vec::new(),
        Offered::Data(values) => values.iter().flat_map(|value| value.0).collect(),
    };
    v1::CapturedGroups { first_group: first, group_count, chaining_values, encoding: encoding.into(), payload }
}
