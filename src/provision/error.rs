//! What can go wrong while an operation runs.

use std::error::Error;
use std::fmt;

use super::record::RecordError;
use crate::compatibility::Incompatible;
use crate::disk::device::DeviceError;
use crate::reason::{DomainError, Reason};

/// What an image was fetched from, or captured to, failed, in its own words. What kinds there are is not known here.
#[derive(Debug)]
pub struct SourceFailure(Box<dyn DomainError>);

impl SourceFailure {
    /// Keeps the error of a source, or of where an image goes.
    pub fn new(error: impl DomainError) -> Self {
        Self(Box::new(error))
    }
}

impl fmt::Display for SourceFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for SourceFailure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// Why an operation failed. Every variant leaves an install's disk without a boot region.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// What the image is fetched from, or captured to, failed.
    #[error(transparent)]
    Source(SourceFailure),
    /// A group's bytes are not what was offered.
    #[error(
        "group {group} (byte {offset} of the image) does not match its chaining value; nothing of it was written to disk {disk}"
    )]
    GroupDigest {
        /// Kernel name of the disk.
        disk: String,
        /// The group.
        group: u64,
        /// Its first byte.
        offset: u64,
    },
    /// Data came for a group that is no offered data.
    #[error("data came for group {group}, which was not offered as data")]
    NotOffered {
        /// The group.
        group: u64,
    },
    /// A payload is not the bytes of its groups.
    #[error("the payload for {count} groups from group {first} is not {expected} bytes in its encoding")]
    Payload {
        /// First group.
        first: u64,
        /// Number of groups.
        count: u64,
        /// Bytes there should be.
        expected: u64,
    },
    /// A group was offered twice, differently.
    #[error("group {group} was offered twice with different content")]
    OfferConflict {
        /// The group.
        group: u64,
    },
    /// Groups beyond the image were offered.
    #[error("groups {first} to {last} were named, but the image has {groups}")]
    BeyondImage {
        /// First group named.
        first: u64,
        /// Last group named.
        last: u64,
        /// Groups of the image.
        groups: u64,
    },
    /// The source told something that makes no sense.
    #[error("the source broke the protocol: {detail}")]
    Protocol {
        /// What was wrong.
        detail: &'static str,
    },
    /// What was offered is not what arrived.
    #[error("the offers that arrived have the digest {actual}, not {expected} as sent")]
    OffersDigest {
        /// What the source says, in hex.
        expected: String,
        /// What arrived, in hex.
        actual: String,
    },
    /// The content is not the pinned one.
    #[error("the image has the root {actual}, not {expected} as pinned")]
    Root {
        /// The pinned root, in hex.
        expected: String,
        /// Root of what arrived, in hex.
        actual: String,
    },
    /// The source finished too early.
    #[error("the source finished, but {missing} groups are missing, the first of them group {first}")]
    Incomplete {
        /// Number of groups that are not there.
        missing: u64,
        /// The first of them.
        first: u64,
    },
    /// The source went away.
    #[error(
        "the source went away after {received_bytes} bytes; disk {disk} keeps what was written, and has no boot region"
    )]
    Interrupted {
        /// Kernel name of the disk.
        disk: String,
        /// Bytes that had arrived.
        received_bytes: u64,
    },
    /// The source is there, but says nothing.
    #[error(
        "nothing came from the source for {seconds} s, and nothing was left to do; disk {disk} keeps what was written, and has no boot region"
    )]
    Stalled {
        /// Kernel name of the disk.
        disk: String,
        /// For how long.
        seconds: u64,
    },
    /// Read-back found something else than was written.
    #[error("disk {disk} does not hold at byte {offset} what was written there")]
    ReadBack {
        /// Kernel name of the disk.
        disk: String,
        /// First byte of the group or block.
        offset: u64,
    },
    /// A block of the disk cannot be read.
    #[error(
        "block {lba} of disk {disk}, at byte {offset}, cannot be read: its content is lost, and nothing else may stand for it"
    )]
    Unreadable {
        /// Kernel name of the disk.
        disk: String,
        /// First byte of the block.
        offset: u64,
        /// Number of the block, in logical blocks.
        lba: u64,
        /// What the kernel answered.
        source: std::io::Error,
    },
    /// The image lacks what a server cannot do without.
    #[error("the image cannot live on such a server, and disk {disk} has no boot region: {detail}")]
    Unfit {
        /// Kernel name of the disk.
        disk: String,
        /// What it lacks, for people.
        detail: String,
        /// Ids of the checks that failed, with commas between them.
        findings: String,
    },
    /// Of something that a server cannot do without it is not known whether the image has it.
    #[error("whether the image can live on such a server is not known, and disk {disk} has no boot region: {detail}")]
    Uninspected {
        /// Kernel name of the disk.
        disk: String,
        /// What is not known, for people.
        detail: String,
        /// Ids of the checks, with commas between them; empty if nothing could be checked.
        findings: String,
    },
    /// The image does not fit the server, or that is not known.
    #[error("disk {disk} has no boot region: {why}")]
    Incompatible {
        /// Kernel name of the disk.
        disk: String,
        /// What does not fit.
        why: Incompatible,
    },
    /// A verification found something else than expected.
    #[error("disk {disk} does not hold the image: {detail}")]
    Mismatch {
        /// Kernel name of the disk.
        disk: String,
        /// First bytes of the groups that differ, the first of them; empty if only the root is known.
        offsets: Vec<u64>,
        /// Number of groups that differ; 0 if only the root is known.
        groups: u64,
        /// What was seen, for people.
        detail: String,
    },
    /// A caller cancelled it.
    #[error("the operation on disk {disk} was cancelled")]
    Cancelled {
        /// Kernel name of the disk.
        disk: String,
    },
    /// The record of what is on the disk cannot be kept or read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A thread of the operation ended without a result.
    #[error("a worker thread of the operation on disk {disk} ended without a result")]
    Worker {
        /// Kernel name of the disk.
        disk: String,
    },
}

impl DomainError for ProvisionError {
    fn reason(&self) -> Reason {
        match self {
            Self::Device(error) => error.reason(),
            Self::Source(SourceFailure(error)) => error.reason(),
            Self::GroupDigest { .. } => Reason::GroupDigestMismatch,
            Self::NotOffered { .. } => Reason::GroupNotOffered,
            Self::Payload { .. } => Reason::GroupDataMalformed,
            Self::OfferConflict { .. } => Reason::OfferConflict,
            Self::BeyondImage { .. } | Self::Protocol { .. } => Reason::PushProtocol,
            Self::OffersDigest { .. } => Reason::OffersDigestMismatch,
            Self::Root { .. } => Reason::RootMismatch,
            Self::Incomplete { .. } => Reason::PushIncomplete,
            Self::Interrupted { .. } | Self::Stalled { .. } => Reason::PushInterrupted,
            Self::ReadBack { .. } => Reason::ReadBackMismatch,
            Self::Unreadable { .. } => Reason::CaptureUnreadable,
            Self::Unfit { .. } => Reason::ImageUnfit,
            Self::Uninspected { .. } => Reason::ImageUninspected,
            Self::Incompatible { why, .. } => why.reason(),
            Self::Mismatch { .. } => Reason::DiskMismatch,
            Self::Cancelled { .. } => Reason::OperationCancelled,
            Self::Record(error) => error.reason(),
            Self::Worker { .. } => Reason::Internal,
        }
    }

    fn metadata(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Device(error) => error.metadata(),
            Self::Source(SourceFailure(error)) => error.metadata(),
            Self::Record(error) => error.metadata(),
            Self::GroupDigest { disk, group, offset } => {
                vec![("disk", disk.clone()), ("group", group.to_string()), ("offset", offset.to_string())]
            }
            Self::NotOffered { group } | Self::OfferConflict { group } => vec![("group", group.to_string())],
            Self::Payload { first, count, expected } => {
                vec![
                    ("firstGroup", first.to_string()),
                    ("groups", count.to_string()),
                    ("expected", expected.to_string()),
                ]
            }
            Self::BeyondImage { first, last, groups } => {
                vec![("firstGroup", first.to_string()), ("lastGroup", last.to_string()), ("groups", groups.to_string())]
            }
            Self::OffersDigest { expected, actual } | Self::Root { expected, actual } => {
                vec![("expected", expected.clone()), ("actual", actual.clone())]
            }
            Self::Protocol { detail } => vec![("detail", (*detail).to_owned())],
            Self::Incomplete { missing, first } => {
                vec![("missing", missing.to_string()), ("firstGroup", first.to_string())]
            }
            Self::Interrupted { disk, received_bytes } => {
                vec![("disk", disk.clone()), ("receivedBytes", received_bytes.to_string())]
            }
            Self::Stalled { disk, seconds } => vec![("disk", disk.clone()), ("seconds", seconds.to_string())],
            Self::ReadBack { disk, offset } => vec![("disk", disk.clone()), ("offset", offset.to_string())],
            Self::Unreadable { disk, offset, lba, .. } => {
                vec![("disk", disk.clone()), ("offset", offset.to_string()), ("lba", lba.to_string())]
            }
            Self::Mismatch { disk, offsets, groups, .. } => {
                let list: Vec<_> = offsets.iter().map(u64::to_string).collect();
                vec![("disk", disk.clone()), ("groups", groups.to_string()), ("offsets", list.join(","))]
            }
            Self::Unfit { disk, findings, .. } | Self::Uninspected { disk, findings, .. } => {
                vec![("disk", disk.clone()), ("findings", findings.clone())]
            }
            Self::Incompatible { disk, why } => why.metadata().into_iter().chain([("disk", disk.clone())]).collect(),
            Self::Cancelled { disk } | Self::Worker { disk } => vec![("disk", disk.clone())],
        }
    }
}
