//! The list of chunks that nothing referred to when the collector looked last.
//!
//! A writer takes such a chunk for missing, for it may be deleted any time: see [`Upload`](super::upload::Upload) and
//! docs/decisions/0010.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::chunk::ChunkKey;
use super::{Repository, StoreError, key};

/// Longest list, in bytes: three million chunks.
const MAX_BYTES: u64 = 256 << 20;

/// Chunks that are to be deleted, and since when.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Condemned {
    /// By name: when the collector first found that nothing refers to it, in seconds since 1970 by the store's clock.
    since: BTreeMap<String, u64>,
}

impl Condemned {
    pub(super) fn contains(&self, key: ChunkKey) -> bool {
        self.since.contains_key(&key.to_string())
    }

    /// Since when a chunk is condemned.
    pub(super) fn since(&self, key: ChunkKey) -> Option<SystemTime> {
        self.since.get(&key.to_string()).map(|&seconds| UNIX_EPOCH + Duration::from_secs(seconds))
    }

    /// Condemns a chunk. Whole seconds, rounded up: no chunk is deleted early.
    pub(super) fn insert(&mut self, key: ChunkKey, at: SystemTime) {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.since.insert(key.to_string(), since.as_secs() + 1);
    }

    pub(super) fn len(&self) -> usize {
        self.since.len()
    }
}

impl Repository {
    pub(super) async fn condemned(&self) -> Result<Condemned, StoreError> {
        let decode = |bytes: Bytes| serde_json::from_slice(&bytes).map_err(|error| error.to_string());
        match self.store.get(&key::condemned(), MAX_BYTES, decode).await {
            Err(StoreError::NotFound { .. }) => Ok(Condemned::default()),
            other => other,
        }
    }

    pub(super) async fn put_condemned(&self, list: &Condemned) -> Result<(), StoreError> {
        // A map of texts and numbers is always JSON.
        self.store.put(&key::condemned(), serde_json::to_vec(list).unwrap_or_default().into()).await
    }
}
