//! The list of what nothing referred to when the collector looked last, and since when.
//!
//! A writer takes a chunk of it for missing, for it may be deleted any time; docs/decisions/0010 has the whole protocol.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use super::chunk::ChunkKey;
use super::{Repository, StoreError, key};

/// Longest list, in bytes.
const MAX_BYTES: u64 = 256 << 20;
/// Most chunks of a list: what fits at 82 bytes each.
const MAX_CHUNKS: usize = 3_000_000;
/// Most other objects of a list: what fits beside the chunks at 600 bytes each.
const MAX_LEFTOVERS: usize = 30_000;

/// Seconds since 1970 by the store's clock; none until it is known that everybody sees the list.
type Since = Option<u64>;

/// What is to be deleted, and since when.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Condemned {
    chunks: HashMap<ChunkKey, Since>,
    /// Objects of images that are not there, by their whole names.
    leftovers: HashMap<String, Since>,
}

/// Something that can be condemned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Thing {
    Chunk(ChunkKey),
    Leftover(Path),
}

impl Thing {
    pub(super) fn path(&self) -> Path {
        match self {
            Self::Chunk(key) => key.path(),
            Self::Leftover(path) => path.clone(),
        }
    }
}

/// How a thing stands in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It does not.
    Free,
    /// It does, but perhaps not for everybody yet.
    Pending,
    /// Everybody who reads the list after this moment finds it there.
    Since(SystemTime),
}

impl Condemned {
    pub(super) fn contains(&self, key: ChunkKey) -> bool {
        self.chunks.contains_key(&key)
    }

    /// Whether any of these objects is in the list, as a leftover of an image that was not there.
    pub(super) fn contains_any(&self, leftovers: &[Path]) -> bool {
        leftovers.iter().any(|path| self.leftovers.contains_key(path.as_ref()))
    }

    pub(super) fn standing(&self, thing: &Thing) -> Standing {
        let since = match thing {
            Thing::Chunk(key) => self.chunks.get(key),
            Thing::Leftover(path) => self.leftovers.get(path.as_ref()),
        };
        let at = |seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        match since {
            None => Standing::Free,
            Some(since) => since.and_then(at).map_or(Standing::Pending, Standing::Since),
        }
    }

    /// Takes over how a thing stands in another list.
    pub(super) fn keep(&mut self, thing: &Thing, other: &Self) {
        match thing {
            Thing::Chunk(key) => {
                let since = other.chunks.get(key);
                self.chunks.extend(since.map(|since| (*key, *since)));
            }
            Thing::Leftover(path) => {
                let since = other.leftovers.get_key_value(path.as_ref());
                self.leftovers.extend(since.map(|(path, since)| (path.clone(), *since)));
            }
        }
    }

    /// Condemns a thing, from a moment on that [`stamp`](Self::stamp) sets; false if the list is full.
    pub(super) fn condemn(&mut self, thing: &Thing) -> bool {
        match thing {
            Thing::Chunk(key) if self.chunks.len() < MAX_CHUNKS => self.chunks.insert(*key, None),
            Thing::Leftover(path) if self.leftovers.len() < MAX_LEFTOVERS => {
                self.leftovers.insert(path.to_string(), None)
            }
            Thing::Chunk(_) | Thing::Leftover(_) => return false,
        };
        true
    }

    /// Whether something has no moment yet.
    pub(super) fn is_pending(&self) -> bool {
        self.chunks.values().chain(self.leftovers.values()).any(Option::is_none)
    }

    /// Sets the moment of everything that has none: everybody sees it now. Whole seconds, rounded up, so that nothing is
    /// deleted early.
    pub(super) fn stamp(&mut self, now: SystemTime) {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() + 1;
        for pending in self.chunks.values_mut().chain(self.leftovers.values_mut()).filter(|since| since.is_none()) {
            *pending = Some(since);
        }
    }

    /// Moves all moments into the past.
    #[cfg(test)]
    pub(super) fn age(&mut self, by: Duration) {
        for since in self.chunks.values_mut().chain(self.leftovers.values_mut()).flatten() {
            *since -= by.as_secs();
        }
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
        // Maps of texts and numbers are always JSON.
        self.store.put(&key::condemned(), serde_json::to_vec(list).unwrap_or_default().into()).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use object_store::path::Path;

    use super::{Condemned, MAX_BYTES, MAX_CHUNKS, MAX_LEFTOVERS, Standing, Thing};
    use crate::image::group::{ChainingValue, GroupSize};
    use crate::repository::chunk::ChunkKey;

    fn chunk(byte: u8) -> Thing {
        Thing::Chunk(ChunkKey { value: ChainingValue([byte; 32]), group_size: GroupSize::default() })
    }

    #[test]
    fn a_thing_is_pending_until_the_list_is_stamped_and_then_rounded_up() {
        let (first, second) = (chunk(1), Thing::Leftover(Path::from("images/a/tree")));
        let mut list = Condemned::default();
        assert!(list.condemn(&first) && list.is_pending());
        list.stamp(UNIX_EPOCH + Duration::from_millis(5_999));
        assert!(list.condemn(&second));
        assert_eq!(list.standing(&first), Standing::Since(UNIX_EPOCH + Duration::from_secs(6)));
        assert_eq!((list.standing(&second), list.standing(&chunk(2))), (Standing::Pending, Standing::Free));
        let read: Condemned = serde_json::from_slice(&serde_json::to_vec(&list).expect("JSON")).expect("a list");
        assert_eq!(read, list);
        let mut next = Condemned::default();
        for thing in [&first, &second, &chunk(2)] {
            next.keep(thing, &list);
        }
        assert_eq!(next, list);
    }

    #[test]
    fn moments_that_no_clock_shows_are_none() {
        let text = format!(r#"{{"chunks":{{"{}.18":{}}},"leftovers":{{}}}}"#, "01".repeat(32), u64::MAX);
        let list: Condemned = serde_json::from_str(&text).expect("a list");
        assert_eq!(list.standing(&chunk(1)), Standing::Pending);
    }

    #[test]
    fn a_full_list_can_still_be_read() {
        let one = |thing: &Thing| {
            let mut list = Condemned::default();
            let empty = serde_json::to_vec(&list).expect("JSON").len();
            assert!(list.condemn(thing));
            list.stamp(UNIX_EPOCH + Duration::from_secs(1 << 33));
            // And a comma.
            serde_json::to_vec(&list).expect("JSON").len() - empty + 1
        };
        let name = "n".repeat(128);
        let longest = Thing::Leftover(Path::from(format!("projects/{name}/names/{name}/{name}")));
        let bytes = one(&chunk(1)) * MAX_CHUNKS + one(&longest) * MAX_LEFTOVERS;
        assert!((bytes as u64) < MAX_BYTES, "{bytes}");
    }
}
