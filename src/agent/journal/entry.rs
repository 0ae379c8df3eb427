//! What is noted of one operation: the data of a file of the journal, apart from any file.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::agent::pull::Pulled;
use crate::compatibility::Admission;
use crate::disk::discovery::Disk;
use crate::image::group::{GroupSize, Layout};
use crate::image::manifest::{Digest, ImageId};
use crate::inspect::policy::Choice;
use crate::operation::{Call, Caller, Captured, Failure, Operation, OperationKind, Outcome, Request, Snapshot};
use crate::provision::plan::{ImageSpec, Options};
use crate::provision::progress::{Progress, Stage};
use crate::reason::Reason;

/// Form of the entries. One with a higher number is of a later version of the agent, and not guessed at.
pub(super) const SCHEMA: u32 = 1;
/// Sequence numbers of an operation's states begin anew so far above those before a restart; no operation has as many.
const SEQUENCES: u64 = 1 << 32;

/// An operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::agent) struct Entry {
    pub(super) schema: u32,
    pub(in crate::agent) operation: Uuid,
    pub(in crate::agent) kind: OperationKind,
    request_id: Uuid,
    request_digest: Digest,
    caller: Caller,
    started_at_ms: u64,
    /// The disk as it was seen.
    pub(in crate::agent) disk: Disk,
    /// How often the agent was restarted since.
    restarts: u32,
    /// What it takes to go on, if it can.
    pub(in crate::agent) pull: Option<Pending>,
    /// Whether a user has cancelled it.
    pub(in crate::agent) cancelled: bool,
    /// How it ended, if it has.
    pub(super) end: Option<End>,
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct End {
    at_ms: u64,
    sequence: u64,
    stage: Stage,
    progress: Progress,
    cancel_requested: bool,
    result: Ended,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ended {
    Done { disk: Box<Disk>, root: Digest, size_bytes: u64, warnings: Vec<String>, captured: Option<CapturedImage> },
    Failed { reason: Reason, message: String, metadata: Vec<(String, String)> },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct CapturedImage {
    image: Option<Digest>,
    data_bytes: u64,
    new_bytes: u64,
    present_bytes: u64,
    stored_bytes: u64,
}

/// An install that fetches its image: what an agent that was restarted needs to go on with it. It proves nothing: the disk is
/// compared with the image, group by group. Across a reboot nothing goes on by itself, for disks may have been exchanged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::agent) struct Pending {
    /// Of the kernel that knew the disk by what is in the selector.
    pub(in crate::agent) boot_id: Option<String>,
    /// The disk, as text: see [`Selector`](crate::disk::selector::Selector).
    pub(in crate::agent) disk: String,
    size_bytes: u64,
    group_size_bytes: u64,
    root: Option<Digest>,
    logical_block_size: Option<u32>,
    wipe_rest: bool,
    /// BLAKE3 of the disk's first block before the install, if it could be read.
    first_block: Option<Digest>,
    pub(in crate::agent) inspection: Choice,
    pub(in crate::agent) admission: Admission,
    pub(in crate::agent) source: Pulled,
}

impl Entry {
    /// An operation that is about to begin on a disk.
    pub(in crate::agent) fn new(operation: &Operation, disk: &Disk, pull: Option<Pending>) -> Self {
        Self {
            schema: SCHEMA,
            operation: operation.id,
            kind: operation.kind,
            request_id: operation.request.id,
            request_digest: Digest(blake3::Hash::from_bytes(operation.request.digest)),
            caller: operation.request.caller.clone(),
            started_at_ms: millis(operation.started_at),
            disk: disk.clone(),
            restarts: 0,
            pull,
            cancelled: false,
            end: None,
        }
    }

    /// The same after one more restart.
    pub(super) fn restarted(self) -> Self {
        Self { restarts: self.restarts.saturating_add(1), ..self }
    }

    /// The same after a user has cancelled it.
    pub(super) fn given_up(self) -> Self {
        Self { pull: None, cancelled: true, ..self }
    }

    /// The same, ended.
    pub(super) fn ended(self, at: SystemTime, snapshot: &Snapshot, result: &Result<Outcome, Failure>) -> Self {
        let end = End {
            at_ms: millis(at),
            // The state that tells of the end is the next one.
            sequence: snapshot.sequence + 1,
            stage: snapshot.stage,
            progress: snapshot.progress,
            cancel_requested: snapshot.cancel_requested,
            result: Ended::from(result),
        };
        Self { pull: None, end: Some(end), ..self }
    }

    /// The same with nothing in it that may be long and that no program depends on.
    pub(super) fn shortened(mut self) -> Self {
        match self.end.as_mut().map(|end| &mut end.result) {
            Some(Ended::Done { warnings, .. }) => *warnings = vec!["too many warnings to be kept".to_owned()],
            Some(Ended::Failed { message, metadata, .. }) => {
                *message = message.chars().take(1024).collect();
                metadata.retain(|(_, value)| value.len() <= 256);
            }
            None => {}
        }
        self
    }

    /// When it began, in milliseconds since 1970.
    pub(super) const fn started_at_ms(&self) -> u64 {
        self.started_at_ms
    }

    /// Whether it has ended.
    pub(in crate::agent) const fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// The operation, for those who ask for it after a restart.
    pub(in crate::agent) fn revive(&self) -> Operation {
        let request = Request {
            id: self.request_id,
            digest: *self.request_digest.0.as_bytes(),
            caller: self.caller.clone(),
            method: "",
            call: Call::default(),
        };
        let operation =
            Operation::new(self.operation, self.kind, request, self.disk.name.clone(), time(self.started_at_ms))
                .after(u64::from(self.restarts) * SEQUENCES);
        if let Some(end) = &self.end {
            operation.ended_before(Snapshot {
                sequence: end.sequence,
                stage: end.stage,
                progress: end.progress,
                rate: 0,
                eta: None,
                cancel_requested: end.cancel_requested,
                end: Some((time(end.at_ms), end.result.clone().into())),
            });
        }
        operation
    }
}

impl Pending {
    pub(in crate::agent) fn new(image: &ImageSpec, options: Options, source: Pulled) -> Self {
        Self {
            boot_id: None,
            disk: String::new(),
            size_bytes: image.layout.len_bytes(),
            group_size_bytes: image.layout.group_size().bytes(),
            root: image.root.map(|root| Digest(blake3::Hash::from_bytes(root))),
            logical_block_size: image.logical_block_size,
            wipe_rest: options.wipe_rest,
            first_block: None,
            inspection: Choice::default(),
            admission: Admission::default(),
            source,
        }
    }

    /// How the image is looked into.
    pub(in crate::agent) fn inspected(self, inspection: Choice) -> Self {
        Self { inspection, ..self }
    }

    /// What the image asks of the server, and what was overridden.
    pub(in crate::agent) fn admitted(self, admission: Admission) -> Self {
        Self { admission, ..self }
    }

    /// On which disk, as this kernel knows it, and what its first block was.
    pub(in crate::agent) fn on(self, disk: String, boot_id: Option<String>, first_block: Option<blake3::Hash>) -> Self {
        Self { disk, boot_id, first_block: first_block.map(Digest), ..self }
    }

    /// BLAKE3 of the disk's first block before the install, if it could be read.
    pub(in crate::agent) fn first_block(&self) -> Option<blake3::Hash> {
        self.first_block.as_ref().map(|digest| digest.0)
    }

    /// The image; none if the entry makes no sense.
    pub(in crate::agent) fn image(&self) -> Option<ImageSpec> {
        Some(ImageSpec {
            layout: Layout::new(self.size_bytes, GroupSize::new(self.group_size_bytes).ok()?),
            root: self.root.map(|root| *root.0.as_bytes()),
            logical_block_size: self.logical_block_size,
        })
    }

    /// What is on the disk already stays.
    pub(in crate::agent) const fn options(&self) -> Options {
        Options { in_place: true, wipe_rest: self.wipe_rest }
    }
}

impl From<&Result<Outcome, Failure>> for Ended {
    fn from(result: &Result<Outcome, Failure>) -> Self {
        match result {
            Ok(outcome) => Self::Done {
                disk: Box::new(outcome.disk.clone()),
                root: Digest(blake3::Hash::from_bytes(outcome.root)),
                size_bytes: outcome.len_bytes,
                warnings: outcome.warnings.clone(),
                captured: outcome.captured.map(|captured| CapturedImage {
                    image: captured.image.map(|id| Digest(id.0)),
                    data_bytes: captured.data_bytes,
                    new_bytes: captured.new_bytes,
                    present_bytes: captured.present_bytes,
                    stored_bytes: captured.stored_bytes,
                }),
            },
            Err(failure) => Self::Failed {
                reason: failure.reason,
                message: failure.message.clone(),
                metadata: failure.metadata.iter().map(|(key, value)| (key.to_string(), value.clone())).collect(),
            },
        }
    }
}

impl From<Ended> for Result<Outcome, Failure> {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Done { disk, root, size_bytes, warnings, captured } => Ok(Outcome {
                disk: *disk,
                root: *root.0.as_bytes(),
                len_bytes: size_bytes,
                warnings,
                captured: captured.map(|captured| Captured {
                    image: captured.image.map(|digest| ImageId(digest.0)),
                    data_bytes: captured.data_bytes,
                    new_bytes: captured.new_bytes,
                    present_bytes: captured.present_bytes,
                    stored_bytes: captured.stored_bytes,
                }),
            }),
            Ended::Failed { reason, message, metadata } => Err(Failure {
                reason,
                message,
                metadata: metadata.into_iter().map(|(key, value)| (Cow::Owned(key), value)).collect(),
            }),
        }
    }
}

/// Milliseconds since 1970; 0 for a clock that was never set.
fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The time so many milliseconds after 1970; that itself for one that no clock can show.
fn time(millis: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_millis(millis)).unwrap_or(UNIX_EPOCH)
}
