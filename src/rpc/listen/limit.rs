//! How many connections each peer has.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts by key.
#[derive(Debug)]
pub(super) struct Limit<K>(Arc<Mutex<HashMap<K, usize>>>);

impl<K> Clone for Limit<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K> Default for Limit<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Hash + Eq + Clone> Limit<K> {
    /// One more of a key, unless it has `most` already. It counts until the slot is dropped.
    pub(super) fn take(&self, key: K, most: usize) -> Option<Slot<K>> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.get(&key).copied().unwrap_or_default();
        if count >= most {
            return None;
        }
        counts.insert(key.clone(), count + 1);
        Some(Slot { key, limit: self.clone() })
    }
}

/// A connection that counts.
#[derive(Debug)]
pub(super) struct Slot<K: Hash + Eq> {
    key: K,
    limit: Limit<K>,
}

impl<K: Hash + Eq> Drop for Slot<K> {
    fn drop(&mut self) {
        let mut counts = self.limit.0.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get_mut(&self.key) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(counts.remove(&self.key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Limit;

    #[test]
    fn each_key_has_its_own_limit_and_nothing_is_kept_of_those_that_are_gone() {
        let limit = Limit::default();
        let (first, second) = (limit.take("a", 2).expect("one"), limit.take("a", 2).expect("two"));
        assert!(limit.take("a", 2).is_none());
        let other = limit.take("b", 2).expect("another key");
        drop(first);
        let third = limit.take("a", 2).expect("room again");
        drop((second, third, other));
        assert!(limit.0.lock().expect("lock").is_empty());
    }
}
