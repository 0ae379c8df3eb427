//! What is audited: plain data, and how much of it fits into a line.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::text::printable;

/// Longest text of an event, in bytes, after control characters were escaped. JSON may double it.
pub(super) const MAX_TEXT_BYTES: usize = 256;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The agent started.
    Start,
    /// The agent stops.
    Stop,
    /// An operation begins. Nothing of it was done before this line was durable.
    Begin,
    /// An operation has ended.
    End,
    /// A caller asked an operation to stop.
    Cancel,
    /// A caller overrode a finding.
    Override,
    /// A caller had an operation that has ended forgotten.
    Delete,
    /// A line that a crash had cut short was removed: the log's own event.
    Recovered,
}

impl Kind {
    /// Its name in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Begin => "begin",
            Self::End => "end",
            Self::Cancel => "cancel",
            Self::Override => "override",
            Self::Delete => "delete",
            Self::Recovered => "recovered",
        }
    }
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    /// As it was asked for, and proven.
    Done,
    /// With an error.
    Failed,
    /// A caller, or an agent that stopped, cancelled it.
    Cancelled,
    /// The agent was killed, or the server went down; written when the agent is back.
    Interrupted,
}

impl Ending {
    /// Its name in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
        }
    }
}

/// The disk that an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AuditedDisk {
    /// Kernel name, as `nvme0n1`.
    pub name: String,
    /// Serial number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// World-wide name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wwn: Option<String>,
    /// Capacity.
    pub size_bytes: u64,
    /// The kernel's number of this very device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diskseq: Option<u64>,
}

/// The image that an event is about, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AuditedImage {
    /// BLAKE3 of the raw content, in hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// Length of the raw content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// Its id or name in a repository, or where it came from. Never with a password or a signed query in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Bytes by kind, as [`Progress`](crate::provision::progress::Progress) counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Bytes {
    /// Content written to the disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written: Option<u64>,
    /// Holes that are zero on the disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holes: Option<u64>,
    /// Content that was there already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub present: Option<u64>,
    /// Bytes read back and found right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<u64>,
    /// Bytes read of a disk that is captured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read: Option<u64>,
    /// Of the log itself: bytes of a line that a crash had cut short.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut: Option<u64>,
}

/// One event. What does not belong to its kind, or is not known, is left out of the line.
///
/// Texts may come from anywhere: control characters in them are escaped, and they are cut to 256 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What happened.
    #[serde(rename = "event")]
    pub kind: Kind,
    /// Who called: a user, or the name in a certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// Of the caller's certificate, in hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// The caller's role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The call, as `/bms.agent.v1.ProvisioningService/PushImage`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The caller's id of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Uuid>,
    /// The operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<Uuid>,
    /// The disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<AuditedDisk>,
    /// The image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<AuditedImage>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Ending>,
    /// Why: the name of a [`Reason`](crate::reason::Reason), or what was overridden.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How much was moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Bytes>,
}

impl Event {
    /// An event of which only the kind is known.
    pub const fn new(kind: Kind) -> Self {
        Self {
            kind,
            caller: None,
            fingerprint: None,
            role: None,
            method: None,
            request_id: None,
            operation: None,
            disk: None,
            image: None,
            result: None,
            reason: None,
            bytes: None,
        }
    }

    /// The same with texts that are printable and not too long.
    pub(super) fn bounded(&self) -> Self {
        let text = |text: &Option<String>| text.as_deref().map(bounded);
        let disk = |disk: &AuditedDisk| AuditedDisk {
            name: bounded(&disk.name),
            serial: text(&disk.serial),
            wwn: text(&disk.wwn),
            size_bytes: disk.size_bytes,
            diskseq: disk.diskseq,
        };
        let image = |image: &AuditedImage| AuditedImage {
            root: text(&image.root),
            size_bytes: image.size_bytes,
            name: text(&image.name),
        };
        Self {
            kind: self.kind,
            caller: text(&self.caller),
            fingerprint: text(&self.fingerprint),
            role: text(&self.role),
            method: text(&self.method),
            request_id: self.request_id,
            operation: self.operation,
            disk: self.disk.as_ref().map(disk),
            image: self.image.as_ref().map(image),
            result: self.result,
            reason: text(&self.reason),
            bytes: self.bytes,
        }
    }
}

/// `text` without control characters, cut to what an event may hold.
pub(super) fn bounded(text: &str) -> String {
    // No more than can be left of it is escaped: a text may be megabytes.
    let first = &text[..text.floor_char_boundary(MAX_TEXT_BYTES)];
    let mut out = printable(first);
    out.truncate(out.floor_char_boundary(MAX_TEXT_BYTES));
    out
}
