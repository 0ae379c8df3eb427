//! What a source tells the workers, and what they ask of it: the one bounded channel between async and blocking work.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::error::ProvisionError;
use crate::image::group::ChainingValue;

/// What some contiguous groups are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Offered {
    /// So many holes.
    Holes(u64),
    /// Data, one chaining value a group.
    Data(Vec<ChainingValue>),
}

impl Offered {
    /// Number of groups.
    pub const fn count(&self) -> u64 {
        match self {
            Self::Holes(count) => *count,
            Self::Data(values) => values.len() as u64,
        }
    }
}

/// How a payload is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// The bytes themselves.
    Raw,
    /// One zstd frame.
    Zstd,
}

/// The content of some contiguous groups.
pub struct Part {
    /// First group.
    pub first: u64,
    /// Number of groups, at least 1.
    pub count: u64,
    /// How the payload is encoded.
    pub encoding: Encoding,
    /// The content. Untrusted until it is hashed.
    pub payload: Bytes,
    /// Its share of the memory budget, given back when the part is dropped.
    pub budget: Option<OwnedSemaphorePermit>,
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Part({} groups from {}, {:?}, {} bytes)", self.count, self.first, self.encoding, self.payload.len())
    }
}

/// Memory for content on its way to the workers. Clones share it.
#[derive(Debug, Clone)]
pub struct Budget {
    units: Arc<Semaphore>,
    all: u32,
}

/// A semaphore counts in 32 bits, so memory is counted in KiB.
const BUDGET_UNIT_BYTES: u64 = 1024;

impl Budget {
    /// A budget of so many bytes.
    pub fn new(bytes: u64) -> Self {
        let all = u32::try_from(bytes / BUDGET_UNIT_BYTES).unwrap_or(u32::MAX >> 3).max(1);
        Self { units: Arc::new(Semaphore::new(all as usize)), all }
    }

    /// Waits until there is memory for a payload. One that is larger than the whole budget gets all of it.
    pub async fn reserve(&self, payload_bytes: usize) -> Option<OwnedSemaphorePermit> {
        let units = (payload_bytes as u64).div_ceil(BUDGET_UNIT_BYTES);
        let units = u32::try_from(units).unwrap_or(u32::MAX).min(self.all);
        self.units.clone().acquire_many_owned(units).await.ok()
    }

    /// Splits what a payload needs off what was reserved for all of them.
    pub fn split(reserved: &mut OwnedSemaphorePermit, payload_bytes: usize) -> Option<OwnedSemaphorePermit> {
        let units = payload_bytes.div_ceil(usize::try_from(BUDGET_UNIT_BYTES).unwrap_or(usize::MAX));
        reserved.split(units.min(reserved.num_permits()))
    }
}

/// From the source to the workers.
#[derive(Debug)]
pub enum FeedEvent {
    /// What some groups are.
    Offer {
        /// First group.
        first: u64,
        /// What they are.
        groups: Offered,
    },
    /// Content of groups that were wanted.
    Data(Part),
    /// The source told something that makes no sense.
    Broken(ProvisionError),
    /// Everything was offered, and everything wanted was sent.
    Finish {
        /// Digest over all offers; see [`OffersDigest`](crate::image::tree::OffersDigest).
        offers_digest: [u8; 32],
    },
}

/// From the workers to the source: answers offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// First group that was looked at.
    pub first: u64,
    /// Number of groups that were looked at.
    pub count: u64,
    /// One bit a group, least significant first, set if the group must be sent. `None`: all of them.
    pub bitmap: Option<Vec<u8>>,
}

impl Want {
    /// Whether a group must be sent.
    pub fn includes(&self, group: u64) -> bool {
        let Some(bit) = group.checked_sub(self.first).filter(|&bit| bit < self.count) else { return false };
        let Some(bitmap) = &self.bitmap else { return true };
        let byte = usize::try_from(bit / 8).ok().and_then(|at| bitmap.get(at));
        byte.is_some_and(|byte| byte >> (bit % 8) & 1 == 1)
    }
}

/// The workers' end of the channel. The source's end going away before [`FeedEvent::Finish`] is an interruption.
#[derive(Debug)]
pub struct Feed {
    /// What the source tells.
    pub events: mpsc::Receiver<FeedEvent>,
    /// What it is asked for. A source that has gone away needs no answers.
    pub wants: mpsc::Sender<Want>,
}
