//! Writing an image: chunks first, then its tree, then the manifest, which makes it an image.
//!
//! Chunks that are there already are not written again. That is only safe if the collector does not delete them before
//! the manifest refers to them; docs/decisions/0010 says why it does not.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use object_store::path::Path;
use tokio::runtime::Handle;
use tokio::sync::{OnceCell, Semaphore};
use uuid::Uuid;

use super::chunk::{self, ChunkKey};
use super::condemned::Condemned;
use super::{Repository, RepositoryError, key};

/// Objects on their way to the store hold at most this, in KiB; one that is larger goes alone.
const IN_FLIGHT_KIB: u32 = 16 << 10;
/// What the smallest counts as, in KiB, so that no more than 32 are on their way.
const LEAST_KIB: u32 = 512;

/// What an upload did so far. Counts rise only.
#[derive(Debug, Default)]
pub struct UploadCounters {
    /// Content of chunks that were new, in bytes.
    pub new_bytes: AtomicU64,
    /// Content of chunks that were there already, in bytes.
    pub present_bytes: AtomicU64,
    /// Bytes of objects that were written.
    pub stored_bytes: AtomicU64,
    /// Bytes of all objects of the image, new or not.
    pub object_bytes: AtomicU64,
}

/// An image on its way into a repository. Its blocking half is called from threads that read and hash; what they give
/// is sent by the runtime that the upload was begun on.
#[derive(Debug)]
pub struct Upload {
    shared: Arc<Shared>,
    runtime: Handle,
    level: i32,
}

#[derive(Debug)]
struct Shared {
    repository: Arc<Repository>,
    writer: Uuid,
    /// When it was begun, by the store's clock: one that a suspended machine does not lose.
    begun: SystemTime,
    condemned: Condemned,
    /// Chunks that are known to be there, with the length of their objects.
    known: HashMap<ChunkKey, u64>,
    /// Whether collectors were told that condemned things are used.
    announced: AtomicBool,
    /// Whether collectors have understood.
    rescuing: OnceCell<()>,
    in_flight: Arc<Semaphore>,
    failure: Mutex<Option<RepositoryError>>,
    counters: Arc<UploadCounters>,
}

/// The content of one chunk, group by group; holes are `None`.
#[derive(Debug)]
pub struct Chunk<'a> {
    /// Its key.
    pub key: ChunkKey,
    /// Its groups.
    pub groups: &'a [Option<&'a [u8]>],
}

impl Upload {
    /// Begins to write an image. `level` is that of zstd.
    ///
    /// # Errors
    /// If the repository cannot be read or written.
    pub async fn begin(repository: Arc<Repository>, level: i32) -> Result<Self, RepositoryError> {
        repository.store.check_writable(&Path::from(key::IMAGES))?;
        // Before the list is read: what is condemned later than that stays for longer than this upload may take.
        let begun = repository.now().await?;
        let shared = Shared {
            condemned: repository.condemned().await?,
            repository,
            writer: Uuid::new_v4(),
            begun,
            known: HashMap::new(),
            announced: AtomicBool::new(false),
            rescuing: OnceCell::new(),
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT_KIB as usize)),
            failure: Mutex::new(None),
            counters: Arc::new(UploadCounters::default()),
        };
        Ok(Self { shared: Arc::new(shared), runtime: Handle::current(), level })
    }

    /// What was done so far.
    pub fn counters(&self) -> &Arc<UploadCounters> {
        &self.shared.counters
    }

    /// The repository.
    pub fn repository(&self) -> &Repository {
        &self.shared.repository
    }

    /// What moves its bytes.
    pub(super) const fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Writes a chunk, unless it is there. Compresses here; returns before the object is written, and waits while too
    /// many are.
    ///
    /// # Blocking
    /// Not to be called from the runtime.
    ///
    /// # Errors
    /// Whatever went wrong with this chunk, or with one before.
    pub fn store(&self, chunk: &Chunk<'_>) -> Result<(), RepositoryError> {
        self.shared.check()?;
        let content: usize = chunk.groups.iter().flatten().map(|group| group.len()).sum();
        if let Some(object) = self.runtime.block_on(self.shared.present(chunk.key))? {
            add(&self.shared.counters.present_bytes, content as u64);
            add(&self.shared.counters.object_bytes, object);
            return Ok(());
        }
        let object = self.compress(chunk)?;
        // The semaphore is never closed.
        let room = self.shared.in_flight.clone().acquire_many_owned(kib_in_flight(object.len()));
        let Ok(permit) = self.runtime.block_on(room) else { return Ok(()) };
        let (shared, key) = (self.shared.clone(), chunk.key);
        self.runtime.spawn(async move {
            let len = object.len() as u64;
            match shared.repository.store.put(&key.path(), object).await {
                Ok(()) => {
                    add(&shared.counters.new_bytes, content as u64);
                    add(&shared.counters.stored_bytes, len);
                    add(&shared.counters.object_bytes, len);
                }
                Err(error) => shared.fail(error.into()),
            }
            drop(permit);
        });
        Ok(())
    }

    fn compress(&self, chunk: &Chunk<'_>) -> Result<Bytes, RepositoryError> {
        let compress = |group: &Option<&[u8]>| group.map(|data| zstd::bulk::compress(data, self.level)).transpose();
        let frames: Result<Vec<_>, _> = chunk.groups.iter().map(compress).collect();
        let location = || self.shared.repository.location().to_owned();
        let frames = frames.map_err(|source| RepositoryError::Process { location: location(), source })?;
        Ok(chunk::encode(chunk.key, &frames))
    }

    /// Waits until all chunks are written.
    ///
    /// # Errors
    /// The first that could not be.
    pub async fn flush(&self) -> Result<(), RepositoryError> {
        // All permits: nobody else holds one then. The semaphore is never closed.
        drop(self.shared.in_flight.acquire_many(IN_FLIGHT_KIB).await);
        self.shared.check()
    }

    /// Whether an image of this age would still find its chunks as the collector left them.
    pub(super) async fn check_age(&self, limit: Duration) -> Result<(), RepositoryError> {
        let now = self.shared.repository.now().await?;
        let age = now.duration_since(self.shared.begun).unwrap_or_default();
        if age < limit {
            return Ok(());
        }
        let location = self.shared.repository.location().to_owned();
        Err(RepositoryError::TooSlow { location, seconds: age.as_secs(), limit: limit.as_secs() })
    }

    /// Keeps the collector from objects that are written over, if it was to delete them: those of an image that is
    /// written again after an attempt that came to nothing.
    pub(super) async fn keep(&self, objects: &[Path]) -> Result<(), RepositoryError> {
        if self.shared.condemned.contains_any(objects) { self.shared.rescue().await } else { Ok(()) }
    }

    /// Moves the beginning into the past.
    #[cfg(test)]
    pub(super) fn age(&mut self, by: Duration) {
        let shared = Arc::get_mut(&mut self.shared).expect("nothing on its way");
        shared.begun -= by;
    }

    /// Says that the image is written, or given up: the collector need not wait for it any more.
    pub(super) async fn end(&self) -> Result<(), RepositoryError> {
        if self.shared.announced.swap(false, Ordering::AcqRel) {
            self.shared.repository.withdraw_rescue(self.shared.writer).await?;
        }
        Ok(())
    }
}

/// An upload that is given up takes its announcement back, as far as its runtime lives on: else the collector waits until
/// the announcement dies.
impl Drop for Upload {
    fn drop(&mut self) {
        let shared = self.shared.clone();
        if shared.announced.swap(false, Ordering::AcqRel) {
            self.runtime.spawn(async move {
                if let Err(error) = shared.repository.withdraw_rescue(shared.writer).await {
                    tracing::warn!(error = %crate::text::chain(&error), "cannot take back an announcement");
                }
            });
        }
    }
}

impl Shared {
    /// The length of a chunk's object, if it is there to stay.
    async fn present(&self, key: ChunkKey) -> Result<Option<u64>, RepositoryError> {
        if let Some(&len) = self.known.get(&key) {
            return Ok(Some(len));
        }
        if self.condemned.contains(key) {
            self.rescue().await?;
            return Ok(None);
        }
        Ok(self.repository.store.len_bytes(&key.path()).await?)
    }

    /// Returns when no collector may delete what is condemned, as long as this upload goes on.
    async fn rescue(&self) -> Result<(), RepositoryError> {
        let announce = || async {
            self.announced.store(true, Ordering::Release);
            self.repository.announce_rescue(self.writer).await
        };
        self.rescuing.get_or_try_init(announce).await?;
        Ok(())
    }

    fn fail(&self, error: RepositoryError) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    /// Gives the first failure, once.
    fn check(&self) -> Result<(), RepositoryError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }
}

/// What an object of so many bytes counts as, in KiB.
fn kib_in_flight(len_bytes: usize) -> u32 {
    u32::try_from(len_bytes.div_ceil(1024)).unwrap_or(IN_FLIGHT_KIB).clamp(LEAST_KIB, IN_FLIGHT_KIB)
}

fn add(counter: &AtomicU64, bytes: u64) {
    counter.fetch_add(bytes, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::{IN_FLIGHT_KIB, kib_in_flight};

    #[test]
    fn objects_on_their_way_are_bounded_in_number_and_in_bytes() {
        assert_eq!(IN_FLIGHT_KIB / kib_in_flight(1), 32);
        assert_eq!(IN_FLIGHT_KIB / kib_in_flight((1 << 20) + 1), 15);
        for huge in [16 << 20, 17 << 20, usize::MAX] {
            assert_eq!(kib_in_flight(huge), IN_FLIGHT_KIB, "{huge} bytes go alone");
        }
    }
}
