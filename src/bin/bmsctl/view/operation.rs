//! `operation`, and the results of `install`, `verify` and `capture`

use std::time::Duration;

use bms_agent::rpc::proto::longrunning::{Operation, operation};
use bms_agent::rpc::proto::v1;
use prost::Message;
use prost_types::Any;
use serde::Serialize;

use super::{DiskView, ErrorView, enum_name, non_empty};
use crate::error::CtlError;
use crate::format::hex;

/// A long-running operation.
#[derive(Debug, Serialize)]
pub(crate) struct OperationView {
    pub(crate) name: String,
    /// `install`, `verify` or `capture`.
    pub(crate) kind: Option<String>,
    pub(crate) request_id: String,
    /// Kernel name of the disk.
    pub(crate) disk: String,
    /// `prepare`, `write`, `read_back`, `commit`, `read`, `store` or `done`.
    pub(crate) stage: Option<String>,
    pub(crate) done: bool,
    pub(crate) cancel_requested: bool,
    pub(crate) progress: ProgressView,
    pub(crate) rate_bytes_per_second: u64,
    pub(crate) eta_seconds: Option<u64>,
    pub(crate) started_at: Option<String>,
    pub(crate) ended_at: Option<String>,
    /// From begin to end, once done.
    pub(crate) duration_milliseconds: Option<u64>,
    /// How it failed, if it is done and has.
    pub(crate) error: Option<ErrorView>,
    /// What it did, if it is done and has not failed.
    pub(crate) result: Option<ResultView>,
}

/// Bytes by kind.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct ProgressView {
    pub(crate) total_bytes: u64,
    pub(crate) received_bytes: u64,
    pub(crate) wire_bytes: u64,
    pub(crate) present_bytes: u64,
    pub(crate) hole_bytes: u64,
    pub(crate) written_bytes: u64,
    pub(crate) verified_bytes: u64,
    pub(crate) read_bytes: u64,
    pub(crate) uploaded_bytes: u64,
}

/// What an operation proved.
#[derive(Debug, Serialize)]
pub(crate) struct ResultView {
    pub(crate) disk: DiskView,
    /// BLAKE3 of what is on the disk.
    pub(crate) root: String,
    /// Bytes that the root covers.
    pub(crate) size_bytes: u64,
    pub(crate) warnings: Vec<String>,
    /// What a capture made.
    pub(crate) captured: Option<CapturedView>,
}

/// What a capture made.
#[derive(Debug, Serialize)]
pub(crate) struct CapturedView {
    /// Null if it went to its caller.
    pub(crate) image_id: Option<String>,
    /// Bytes in groups that hold data.
    pub(crate) data_bytes: u64,
    /// Of them, those that the repository did not have.
    pub(crate) new_bytes: u64,
    /// Of them, those that it had.
    pub(crate) present_bytes: u64,
    /// Bytes of the objects that were written.
    pub(crate) stored_bytes: u64,
}

impl OperationView {
    /// The view of an operation.
    pub(crate) fn new(operation: Operation) -> Result<Self, CtlError> {
        let metadata = metadata(&operation)?;
        let (error, result) = match operation.result {
            Some(operation::Result::Error(status)) => (Some(ErrorView::of_operation(&operation.name, &status)), None),
            Some(operation::Result::Response(response)) => (None, Some(ResultView::new(&response)?)),
            None => (None, None),
        };
        Ok(Self {
            kind: enum_name(metadata.kind().as_str_name(), "OPERATION_KIND_"),
            stage: enum_name(metadata.stage().as_str_name(), "STAGE_"),
            eta_seconds: metadata.eta.and_then(|eta| u64::try_from(eta.seconds).ok()),
            duration_milliseconds: lasted(&metadata).and_then(|time| u64::try_from(time.as_millis()).ok()),
            started_at: metadata.started_at.map(|time| time.to_string()),
            ended_at: metadata.ended_at.map(|time| time.to_string()),
            name: operation.name,
            request_id: metadata.request_id,
            disk: metadata.disk,
            done: operation.done,
            cancel_requested: metadata.cancel_requested,
            progress: metadata.progress.map(ProgressView::from).unwrap_or_default(),
            rate_bytes_per_second: metadata.rate_bytes_per_second,
            error,
            result,
        })
    }
}

/// What the agent says of an operation beside its state.
pub(crate) fn metadata(operation: &Operation) -> Result<v1::OperationMetadata, CtlError> {
    let any = operation.metadata.as_ref().ok_or(CtlError::Answer { what: "an operation without metadata" })?;
    unpack(any, "bms.agent.v1.OperationMetadata")
}

impl ResultView {
    fn new(response: &Any) -> Result<Self, CtlError> {
        if is(response, "bms.agent.v1.VerifyDiskResult") {
            let result: v1::VerifyDiskResult = unpack(response, "bms.agent.v1.VerifyDiskResult")?;
            let disk = result.disk.unwrap_or_default().into();
            let (root, size_bytes) = (hex(&result.root), result.size_bytes);
            return Ok(Self { disk, root, size_bytes, warnings: Vec::new(), captured: None });
        }
        if is(response, "bms.agent.v1.CaptureImageResult") {
            return Ok(Self::of_capture(unpack(response, "bms.agent.v1.CaptureImageResult")?));
        }
        let result: v1::InstallResult = unpack(response, "bms.agent.v1.InstallResult")?;
        let disk = result.disk.unwrap_or_default().into();
        let (root, size_bytes) = (hex(&result.root), result.size_bytes);
        Ok(Self { disk, root, size_bytes, warnings: result.warnings, captured: None })
    }

    fn of_capture(result: v1::CaptureImageResult) -> Self {
        let captured = CapturedView {
            image_id: non_empty(&result.image_id),
            data_bytes: result.data_bytes,
            new_bytes: result.new_bytes,
            present_bytes: result.present_bytes,
            stored_bytes: result.stored_bytes,
        };
        Self {
            disk: result.disk.unwrap_or_default().into(),
            root: hex(&result.root),
            size_bytes: result.size_bytes,
            warnings: result.warnings,
            captured: Some(captured),
        }
    }
}

impl From<v1::Progress> for ProgressView {
    fn from(progress: v1::Progress) -> Self {
        Self {
            total_bytes: progress.total_bytes,
            received_bytes: progress.received_bytes,
            wire_bytes: progress.wire_bytes,
            present_bytes: progress.present_bytes,
            hole_bytes: progress.hole_bytes,
            written_bytes: progress.written_bytes,
            verified_bytes: progress.verified_bytes,
            read_bytes: progress.read_bytes,
            uploaded_bytes: progress.uploaded_bytes,
        }
    }
}

fn is(any: &Any, message: &str) -> bool {
    any.type_url.rsplit('/').next() == Some(message)
}

fn unpack<M: Message + Default>(any: &Any, message: &str) -> Result<M, CtlError> {
    let unknown = CtlError::Answer { what: "an operation with a message of another type" };
    if !is(any, message) {
        return Err(unknown);
    }
    M::decode(any.value.as_slice()).map_err(|_malformed| unknown)
}

fn lasted(metadata: &v1::OperationMetadata) -> Option<Duration> {
    let (begin, end) = (metadata.started_at.as_ref()?, metadata.ended_at.as_ref()?);
    let nanos = |time: &prost_types::Timestamp| i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos);
    u64::try_from(nanos(end) - nanos(begin)).ok().map(Duration::from_nanos)
}

#[cfg(test)]
pub(crate) mod tests {
    use bms_agent::rpc::proto::longrunning::{Operation, operation};
    use bms_agent::rpc::proto::v1;
    use prost::Message;
    use prost_types::{Any, Duration, Timestamp};
    use serde_json::json;

    use super::OperationView;
    use crate::exit::Exit;
    use crate::view::non_empty;

    fn any(name: &str, message: &impl Message) -> Any {
        Any { type_url: format!("type.googleapis.com/bms.agent.v1.{name}"), value: message.encode_to_vec() }
    }

    fn operation(result: Option<operation::Result>) -> Operation {
        let metadata = v1::OperationMetadata {
            kind: v1::OperationKind::Install.into(),
            request_id: "r".to_owned(),
            disk: "sda".to_owned(),
            stage: v1::Stage::ReadBack.into(),
            progress: Some(v1::Progress { total_bytes: 100, verified_bytes: 40, ..v1::Progress::default() }),
            rate_bytes_per_second: 10,
            eta: Some(Duration { seconds: 6, nanos: 0 }),
            started_at: Some(Timestamp { seconds: 10, nanos: 900_000_000 }),
            ended_at: result.is_some().then_some(Timestamp { seconds: 13, nanos: 400_000_000 }),
            cancel_requested: false,
        };
        Operation {
            name: "operations/1".to_owned(),
            metadata: Some(any("OperationMetadata", &metadata)),
            done: result.is_some(),
            result,
        }
    }

    /// A running install.
    pub(crate) fn view() -> OperationView {
        OperationView::new(operation(None)).expect("well-formed")
    }

    #[test]
    fn json_of_a_running_operation_has_all_keys() {
        let view = view();
        let expected = json!({
            "name": "operations/1",
            "kind": "install",
            "request_id": "r",
            "disk": "sda",
            "stage": "read_back",
            "done": false,
            "cancel_requested": false,
            "progress": {
                "total_bytes": 100,
                "received_bytes": 0,
                "wire_bytes": 0,
                "present_bytes": 0,
                "hole_bytes": 0,
                "written_bytes": 0,
                "verified_bytes": 40,
                "read_bytes": 0,
                "uploaded_bytes": 0,
            },
            "rate_bytes_per_second": 10,
            "eta_seconds": 6,
            "started_at": "1970-01-01T00:00:10.900Z",
            "ended_at": null,
            "duration_milliseconds": null,
            "error": null,
            "result": null,
        });
        assert_eq!(serde_json::to_value(view).expect("serializable"), expected);
    }

    #[test]
    fn a_done_operation_has_a_result_or_an_error() {
        let installed = v1::InstallResult { root: vec![0xab; 32], size_bytes: 7, ..v1::InstallResult::default() };
        let response = operation::Result::Response(any("InstallResult", &installed));
        let view = OperationView::new(operation(Some(response))).expect("well-formed");
        let result = view.result.expect("has a result");
        assert_eq!((result.root, result.size_bytes), ("ab".repeat(32), 7));
        assert_eq!(view.duration_milliseconds, Some(2_500));

        let status = tonic_types::Status { code: 1, message: "cancelled".to_owned(), details: Vec::new() };
        let view = OperationView::new(operation(Some(operation::Result::Error(status)))).expect("well-formed");
        let error = view.error.expect("has an error");
        assert_eq!((error.exit, error.operation), (Exit::Cancelled, non_empty("operations/1")));
    }

    #[test]
    fn a_capture_names_its_image_and_what_of_it_is_new() {
        let made =
            v1::CaptureImageResult { image_id: "ab".repeat(32), new_bytes: 5, ..v1::CaptureImageResult::default() };
        let response = operation::Result::Response(any("CaptureImageResult", &made));
        let view = OperationView::new(operation(Some(response))).expect("well-formed");
        let captured = view.result.and_then(|result| result.captured).expect("captured");
        assert_eq!((captured.image_id, captured.new_bytes), (Some("ab".repeat(32)), 5));
    }

    #[test]
    fn an_answer_of_another_type_is_no_result() {
        let response = operation::Result::Response(any("Disk", &v1::Disk::default()));
        assert_eq!(OperationView::new(operation(Some(response))).expect_err("malformed").exit(), Exit::Failed);
    }
}
