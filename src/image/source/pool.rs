//! A bounded pool of equal buffers, which blocks when all are in use.
//!
//! A buffer goes out as `Bytes` and comes back when the last part of it is dropped. Reuse is for speed as much as for
//! the bound: fresh pages for each 4 MiB cost the kernel more to map and to zero than BLAKE3 costs to hash them.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// The pool. Clones are the same pool.
#[derive(Debug, Clone)]
pub(in crate::image) struct BufferPool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    buffer_bytes: usize,
    state: Mutex<State>,
    returned: Condvar,
}

#[derive(Debug)]
struct State {
    free: Vec<Box<[u8]>>,
    /// Buffers that may still be made.
    unmade: usize,
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock can leave the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BufferPool {
    /// A pool of at most `buffers` buffers of `buffer_bytes` each, made when first needed.
    pub(in crate::image) fn new(buffers: NonZeroUsize, buffer_bytes: usize) -> Self {
        let state = State { free: Vec::new(), unmade: buffers.get(), closed: false };
        Self { shared: Arc::new(Shared { buffer_bytes, state: Mutex::new(state), returned: Condvar::new() }) }
    }

    /// A buffer, with any content; waits for one to come back. None once the pool is closed.
    pub(in crate::image) fn take(&self) -> Option<Buffer> {
        let mut state = self.shared.lock();
        while !state.closed && state.free.is_empty() && state.unmade == 0 {
            state = self.shared.returned.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return None;
        }
        let data = state.free.pop().unwrap_or_else(|| {
            state.unmade -= 1;
            vec![0; self.shared.buffer_bytes].into_boxed_slice()
        });
        Some(Buffer { data, shared: Arc::clone(&self.shared) })
    }

    /// Ends the pool: nobody waits for a buffer any more, and none is given out.
    pub(in crate::image) fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.returned.notify_all();
    }

    /// Whether the pool was closed.
    pub(in crate::image) fn is_closed(&self) -> bool {
        self.shared.lock().closed
    }
}

/// A buffer of the pool, which returns when dropped.
pub(in crate::image) struct Buffer {
    data: Box<[u8]>,
    shared: Arc<Shared>,
}

impl Buffer {
    /// The first `len` bytes as shared content; the buffer returns after the last part is dropped.
    pub(in crate::image) fn into_bytes(self, len: usize) -> Bytes {
        let mut bytes = Bytes::from_owner(self);
        bytes.truncate(len);
        bytes
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.data
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer").field("len", &self.data.len()).finish_non_exhaustive()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let data = std::mem::take(&mut self.data);
        self.shared.lock().free.push(data);
        self.shared.returned.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::BufferPool;

    #[test]
    fn the_same_buffer_comes_back_when_its_last_part_is_dropped() {
        let pool = BufferPool::new(NonZeroUsize::MIN, 8);
        let bytes = pool.take().expect("open").into_bytes(6);
        let (address, part) = (bytes.as_ptr(), bytes.slice(2..4));
        drop(bytes);
        let waiting = std::thread::spawn({
            let pool = pool.clone();
            move || pool.take().expect("open").into_bytes(8).as_ptr().addr()
        });
        drop(part);
        assert_eq!(waiting.join().expect("no panic"), address.addr());
    }

    #[test]
    fn closing_wakes_whoever_waits() {
        let pool = BufferPool::new(NonZeroUsize::MIN, 8);
        let held = pool.take().expect("open");
        let waiting = std::thread::spawn({
            let pool = pool.clone();
            move || pool.take().is_none()
        });
        pool.close();
        assert!(waiting.join().expect("no panic"));
        drop(held);
        assert!(pool.take().is_none());
    }
}
