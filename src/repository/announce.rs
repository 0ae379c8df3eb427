//! What writers and the collector tell each other, and the clock that they share: the store's.
//!
//! An announcement is an empty object with a name of its own. Whoever announces then looks for the announcements of the
//! others, so of two at the same time at least one sees the other. docs/decisions/0010 has the whole protocol.

use std::time::{Duration, SystemTime};

use object_store::path::Path;
use tokio::time::Instant;
use uuid::Uuid;

use super::store::Listed;
use super::{Repository, RepositoryError, StoreError, key};

/// How often a writer looks whether collectors still delete.
const SWEEP_POLL: Duration = Duration::from_millis(500);
/// After how long a collector that says nothing has died.
pub(super) const SWEEP_DIES: Duration = Duration::from_secs(15 * 60);
/// How often a collector says that it lives, and looks for writers: as long as a writer may have to wait for it.
const RENEW: Duration = Duration::from_secs(20);
/// After how long a collector that could not say that it lives stops by itself, well before others take it for dead.
const SWEEP_STOPS: Duration = Duration::from_secs(7 * 60);

impl Repository {
    /// Now, by the store's clock.
    pub(super) async fn now(&self) -> Result<SystemTime, StoreError> {
        let probe = key::probe();
        let now = self.store.stamp(&probe).await?;
        self.store.delete(&probe).await?;
        Ok(now)
    }

    /// Announces that a writer uses what is condemned; returns when no collector may delete it any more.
    pub(super) async fn announce_rescue(&self, writer: Uuid) -> Result<(), RepositoryError> {
        let announced = self.store.stamp(&key::rescue(writer)).await?;
        let begun = Instant::now();
        loop {
            let waited = begun.elapsed();
            let sweeps = self.store.list(&Path::from(key::SWEEPS)).await?;
            if sweeps.iter().all(|sweep| age(sweep, announced + waited) >= SWEEP_DIES) {
                return Ok(());
            }
            if waited >= SWEEP_DIES {
                let location = self.location().to_owned();
                return Err(RepositoryError::Sweeping { location, seconds: waited.as_secs() });
            }
            tokio::time::sleep(SWEEP_POLL).await;
        }
    }

    /// Says that a writer has ended.
    pub(super) async fn withdraw_rescue(&self, writer: Uuid) -> Result<(), StoreError> {
        self.store.delete(&key::rescue(writer)).await
    }

    /// Whether a writer that lives uses what is condemned.
    pub(super) async fn is_rescuing(&self, now: SystemTime) -> Result<bool, StoreError> {
        let rescues = self.store.list(&Path::from(key::RESCUES)).await?;
        Ok(rescues.iter().any(|rescue| age(rescue, now) < self.format().upload_over()))
    }

    /// Deletes the announcements of those who have died.
    async fn bury(&self, dir: &str, now: SystemTime, dies: Duration) -> Result<(), StoreError> {
        for object in self.store.list(&Path::from(dir)).await? {
            if age(&object, now) >= dies {
                self.store.delete(&object.path).await?;
            }
        }
        Ok(())
    }
}

/// The word of a collector. One announcement keeps other collectors away as long as it works; the other one, which tells
/// writers that condemned things may be deleted, goes as soon as a writer needs them.
#[derive(Debug)]
pub(super) struct Sweep<'r> {
    repository: &'r Repository,
    collector: Uuid,
    began: SystemTime,
    renewed: SystemTime,
    /// When it was renewed by our own clock, or a little earlier.
    looked: Instant,
    may_delete: bool,
}

impl<'r> Sweep<'r> {
    /// Announces a collector.
    pub(super) async fn begin(repository: &'r Repository) -> Result<Self, RepositoryError> {
        let collector = Uuid::new_v4();
        let looked = Instant::now();
        let began = repository.store.stamp(&key::collector(collector)).await?;
        let mut sweep = Self { repository, collector, began, renewed: began, looked, may_delete: true };
        sweep.be_alone().await?;
        repository.bury(key::COLLECTORS, began, SWEEP_DIES).await?;
        repository.bury(key::SWEEPS, began, SWEEP_DIES).await?;
        repository.bury(key::RESCUES, began, repository.format().upload_over()).await?;
        sweep.look(began).await?;
        Ok(sweep)
    }

    /// When it began, by the store's clock.
    pub(super) const fn began(&self) -> SystemTime {
        self.began
    }

    /// Whether no writer has needed what is condemned since it began.
    pub(super) const fn may_delete(&self) -> bool {
        self.may_delete
    }

    /// Until when deletes may be on their way.
    pub(super) fn deadline(&self) -> Instant {
        self.looked + SWEEP_STOPS
    }

    /// Says that it lives and looks for writers, if it did not a moment ago. Not while deletes are on their way.
    pub(super) async fn renew(&mut self) -> Result<(), RepositoryError> {
        if self.looked.elapsed() >= RENEW {
            self.renew_now().await?;
        }
        Ok(())
    }

    /// Says that it lives and looks for writers; gives the time by the store's clock. Not while deletes are on their way.
    pub(super) async fn renew_now(&mut self) -> Result<SystemTime, RepositoryError> {
        let looked = Instant::now();
        let now = self.repository.store.stamp(&key::collector(self.collector)).await?;
        // A machine that slept may not know it.
        let silent = now.duration_since(self.renewed).unwrap_or_default();
        if silent >= SWEEP_STOPS {
            let location = self.repository.location().to_owned();
            return Err(RepositoryError::CollectorStalled { location, seconds: silent.as_secs() });
        }
        (self.renewed, self.looked) = (now, looked);
        if self.may_delete {
            self.look(now).await?;
        }
        Ok(now)
    }

    /// Takes the announcements back.
    pub(super) async fn end(self) -> Result<(), StoreError> {
        self.repository.store.delete(&key::sweep(self.collector)).await?;
        self.repository.store.delete(&key::collector(self.collector)).await
    }

    /// Refuses to work beside another collector that lives. Two that begin at once both refuse.
    async fn be_alone(&self) -> Result<(), RepositoryError> {
        let own = key::collector(self.collector);
        let collectors = self.repository.store.list(&Path::from(key::COLLECTORS)).await?;
        let mut others = collectors.iter().filter(|other| other.path != own).map(|other| age(other, self.began));
        let Some(silent) = others.find(|silent| *silent < SWEEP_DIES) else { return Ok(()) };
        self.repository.store.delete(&own).await?;
        let (location, dies) = (self.repository.location().to_owned(), SWEEP_DIES.as_secs());
        Err(RepositoryError::Collecting { location, seconds: silent.as_secs(), dies })
    }

    /// Tells writers that condemned things may be deleted, unless one needs them: then nothing is, as long as this
    /// collector works, for what it knows of the repository is older than what that writer does.
    async fn look(&mut self, now: SystemTime) -> Result<(), StoreError> {
        let announcement = key::sweep(self.collector);
        self.repository.store.stamp(&announcement).await?;
        if self.repository.is_rescuing(now).await? {
            self.may_delete = false;
            self.repository.store.delete(&announcement).await?;
        }
        Ok(())
    }
}

/// How long ago an object was written.
fn age(object: &Listed, now: SystemTime) -> Duration {
    now.duration_since(object.modified).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::{SWEEP_STOPS, Sweep};
    use crate::repository::tests::{objects, repository};
    use crate::repository::{Format, RepositoryError};

    #[tokio::test]
    async fn the_clock_of_the_store_goes_on_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().expect("directory");
        let repository = repository(dir.path(), Format::default()).await;
        let before = objects(dir.path());
        let first = repository.now().await.expect("a time");
        assert!(repository.now().await.expect("a time") >= first);
        assert_eq!(objects(dir.path()), before);
    }

    #[tokio::test]
    async fn a_collector_that_was_suspended_stops() {
        let dir = tempfile::tempdir().expect("directory");
        let repository = repository(dir.path(), Format::default()).await;
        let mut sweep = Sweep::begin(&repository).await.expect("alone");
        sweep.renew_now().await.expect("it lives");
        sweep.renewed -= SWEEP_STOPS;
        let error = sweep.renew_now().await.expect_err("silent for too long");
        assert!(matches!(error, RepositoryError::CollectorStalled { seconds: 420.., .. }), "{error}");
    }

    #[tokio::test]
    async fn a_sweep_ends_as_soon_as_a_writer_announces_itself_and_does_not_begin_again() {
        let dir = tempfile::tempdir().expect("directory");
        let repository = repository(dir.path(), Format::default()).await;
        let mut sweep = Sweep::begin(&repository).await.expect("alone");
        assert!(sweep.may_delete() && sweep.deadline() > tokio::time::Instant::now() + Duration::from_secs(60));
        let writer = Uuid::new_v4();
        let (waits, renewed) = tokio::join!(repository.announce_rescue(writer), async {
            while !repository.is_rescuing(sweep.began()).await.expect("listed") {
                tokio::task::yield_now().await;
            }
            sweep.renew_now().await
        });
        waits.expect("no sweep is left");
        renewed.expect("it lives");
        repository.withdraw_rescue(writer).await.expect("withdrawn");
        sweep.renew_now().await.expect("it lives");
        assert!(!sweep.may_delete(), "what it knows is older than what the writer did");
        sweep.end().await.expect("ended");
    }
}
