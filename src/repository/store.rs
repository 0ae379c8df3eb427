//! An object store as the repository sees it: whole objects and ranges of them, every request bounded in size and time,
//! made again where that may help, and every failure one of a few kinds.

use std::error::Error;
use std::future::Future;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use object_store::path::Path;
use object_store::{
    Error as ObjectError, GetOptions, GetRange, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload,
};

use super::retry::{Attempts, Policy};

/// A request to the store failed for good.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such object.
    #[error("{location} has no object {object}")]
    NotFound {
        /// Where the repository is.
        location: String,
        /// The object.
        object: String,
    },
    /// The store does not let us.
    #[error("{location} refuses access to {object}")]
    Denied {
        /// Where the repository is.
        location: String,
        /// The object.
        object: String,
        /// What it answered.
        source: Box<ObjectError>,
    },
    /// The store cannot do this, as a web server that is only read.
    #[error("{location} is only read: {object} cannot be written or listed")]
    ReadOnly {
        /// Where the repository is.
        location: String,
        /// The object.
        object: String,
        /// What it answered.
        source: Box<ObjectError>,
    },
    /// There is no room.
    #[error("{location} has no room for {object}")]
    Full {
        /// Where the repository is.
        location: String,
        /// The object.
        object: String,
        /// What it answered.
        source: Box<ObjectError>,
    },
    /// The server is not who it should be.
    #[error("the TLS certificate of {location} is not trusted")]
    Untrusted {
        /// Where the repository is.
        location: String,
        /// Why.
        source: Box<ObjectError>,
    },
    /// An object is not what its name says, however often it is asked for.
    #[error("object {object} of {location} is damaged: {problem}")]
    Damaged {
        /// Where the repository is.
        location: String,
        /// The object.
        object: String,
        /// What is wrong with it.
        problem: String,
    },
    /// It does not answer, or answers with errors.
    #[error("{location} is not available, after {retries} retries for {object}")]
    Unavailable {
        /// Where the repository is.
        location: String,
        /// The object.
        object: String,
        /// Attempts after the first.
        retries: u32,
        /// The last answer; none if there was none in time.
        source: Option<Box<ObjectError>>,
    },
}

/// How often an object that is not what it should be is asked for again: a proxy may have mixed something up.
const WRONG_ANSWERS: u32 = 3;

/// An object of a list.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    pub(super) path: Path,
    pub(super) size_bytes: u64,
    pub(super) modified: SystemTime,
}

/// The store of a repository.
#[derive(Debug)]
pub(super) struct Store {
    inner: Arc<dyn ObjectStore>,
    location: String,
    policy: Policy,
    lists: bool,
    retries: AtomicU64,
    fetched_bytes: AtomicU64,
}

impl Store {
    /// `lists`: whether the store can tell what objects there are.
    pub(super) fn new(inner: Arc<dyn ObjectStore>, location: String, policy: Policy, lists: bool) -> Self {
        Self { inner, location, policy, lists, retries: AtomicU64::new(0), fetched_bytes: AtomicU64::new(0) }
    }

    /// Whether it can tell what objects there are.
    pub(super) const fn lists(&self) -> bool {
        self.lists
    }

    /// Fails where nothing can be written or listed, before a server is asked for what it cannot do.
    pub(super) fn check_writable(&self, path: &Path) -> Result<(), StoreError> {
        if self.lists {
            return Ok(());
        }
        let (location, object) = (self.location.clone(), path.to_string());
        let (operation, implementer) = ("writing and listing".to_owned(), "a web server".to_owned());
        let source = Box::new(ObjectError::NotImplemented { operation, implementer });
        Err(StoreError::ReadOnly { location, object, source })
    }

    /// The same store, which tries nothing twice.
    pub(super) fn once(&self) -> Self {
        Self::new(self.inner.clone(), self.location.clone(), Policy { retry_for: Duration::ZERO }, self.lists)
    }

    pub(super) fn location(&self) -> &str {
        &self.location
    }

    pub(super) fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    pub(super) fn fetched_bytes(&self) -> u64 {
        self.fetched_bytes.load(Ordering::Relaxed)
    }

    /// A whole object of at most `limit` bytes, as `check` reads it. What `check` refuses is asked for again a few times.
    pub(super) async fn get<T>(
        &self,
        path: &Path,
        limit: u64,
        check: impl Fn(Bytes) -> Result<T, String>,
    ) -> Result<T, StoreError> {
        self.get_checked(path, None, limit, check).await
    }

    /// Asks a few times for an object that must be there: a proxy may remember that it was not.
    pub(super) async fn insist<T, F>(&self, get: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut attempts = self.policy.begin();
        let mut missing = 0;
        loop {
            match get().await {
                Err(StoreError::NotFound { .. }) if missing < WRONG_ANSWERS && attempts.pause().await => {
                    missing += 1;
                    self.retries.fetch_add(1, Ordering::Relaxed);
                }
                answer => return answer,
            }
        }
    }

    /// A part of an object, as `check` reads it.
    pub(super) async fn get_range<T>(
        &self,
        path: &Path,
        range: Range<u64>,
        check: impl Fn(Bytes) -> Result<T, String>,
    ) -> Result<T, StoreError> {
        let expected = range.end - range.start;
        self.get_checked(path, Some(GetRange::Bounded(range)), expected, |part| match part.len() as u64 {
            len if len == expected => check(part),
            len => Err(format!("{len} bytes came for a range of {expected}")),
        })
        .await
    }

    async fn get_checked<T>(
        &self,
        path: &Path,
        range: Option<GetRange>,
        limit: u64,
        check: impl Fn(Bytes) -> Result<T, String>,
    ) -> Result<T, StoreError> {
        let options = GetOptions { range, ..GetOptions::default() };
        let mut attempts = self.policy.begin();
        let mut wrong = 0;
        loop {
            let got = self.attempt(path, || self.fetch(path, options.clone(), limit), &mut attempts).await?;
            let problem = match got.and_then(&check) {
                Ok(right) => return Ok(right),
                Err(problem) => problem,
            };
            wrong += 1;
            if wrong > WRONG_ANSWERS || !attempts.pause().await {
                return Err(StoreError::Damaged { location: self.location.clone(), object: path.to_string(), problem });
            }
            self.retries.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(object = %path, problem, "asking again for an object that is damaged");
        }
    }

    /// One attempt to get an object. The body is only read if the length that the server names is possible.
    async fn fetch(&self, path: &Path, options: GetOptions, limit: u64) -> Result<Result<Bytes, String>, ObjectError> {
        let answer = self.inner.get_opts(path, options).await.map_err(no_answer_to_a_read)?;
        let len = answer.range.end.saturating_sub(answer.range.start);
        if len > limit {
            return Ok(Err(format!("it has {len} bytes, where at most {limit} make sense")));
        }
        let bytes = answer.bytes().await?;
        self.fetched_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(if bytes.len() as u64 == len { Ok(bytes) } else { Err(format!("{} of {len} bytes came", bytes.len())) })
    }

    /// Length of an object in bytes; none if there is no such object.
    pub(super) async fn len_bytes(&self, path: &Path) -> Result<Option<u64>, StoreError> {
        match self.request(path, || self.inner.head(path)).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes an empty object, and tells when that was by the store's clock.
    pub(super) async fn stamp(&self, path: &Path) -> Result<SystemTime, StoreError> {
        self.put(path, Bytes::new()).await?;
        let meta = self.request(path, || self.inner.head(path)).await?;
        Ok(meta.last_modified.into())
    }

    /// Writes an object, in the place of one of that name if there is one.
    pub(super) async fn put(&self, path: &Path, bytes: Bytes) -> Result<(), StoreError> {
        let payload = PutPayload::from_bytes(bytes);
        self.request(path, || self.inner.put(path, payload.clone())).await.map(drop)
    }

    /// Writes an object if there is none of that name; tells whether it did. Only where the store can: see
    /// [`Format::conditional_puts`](super::Format).
    pub(super) async fn put_new(&self, path: &Path, bytes: Bytes) -> Result<bool, StoreError> {
        let payload = PutPayload::from_bytes(bytes.clone());
        let options = PutOptions::from(PutMode::Create);
        let put = || async {
            match self.inner.put_opts(path, payload.clone(), options.clone()).await {
                Ok(_) => Ok(true),
                Err(ObjectError::AlreadyExists { .. } | ObjectError::Precondition { .. }) => Ok(false),
                Err(error) => Err(error),
            }
        };
        let mut attempts = self.policy.begin();
        let created = self.attempt(path, put, &mut attempts).await?;
        if created || attempts.retries() == 0 {
            return Ok(created);
        }
        // The first attempt may have written it, and its answer was lost.
        Ok(self.get(path, bytes.len() as u64, Ok).await.is_ok_and(|there| there == bytes))
    }

    /// Deletes an object, if there is one.
    pub(super) async fn delete(&self, path: &Path) -> Result<(), StoreError> {
        match self.request(path, || self.inner.delete(path)).await {
            Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// All objects below a prefix, in no order.
    pub(super) async fn list(&self, prefix: &Path) -> Result<Vec<Listed>, StoreError> {
        let all = || self.inner.list(Some(prefix)).try_collect::<Vec<_>>();
        let listed = self.request(prefix, all).await?;
        let view = |meta: object_store::ObjectMeta| Listed {
            path: meta.location,
            size_bytes: meta.size,
            modified: meta.last_modified.into(),
        };
        Ok(listed.into_iter().map(view).collect())
    }

    /// Names of the directories right below a prefix, in no order.
    pub(super) async fn list_dirs(&self, prefix: &Path) -> Result<Vec<String>, StoreError> {
        let listed = self.request(prefix, || self.inner.list_with_delimiter(Some(prefix))).await?;
        Ok(listed.common_prefixes.iter().filter_map(|path| path.filename().map(str::to_owned)).collect())
    }

    async fn request<T, F>(&self, path: &Path, attempt: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, ObjectError>>,
    {
        self.attempt(path, attempt, &mut self.policy.begin()).await
    }

    async fn attempt<T, F>(
        &self,
        path: &Path,
        attempt: impl Fn() -> F,
        attempts: &mut Attempts,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, ObjectError>>,
    {
        loop {
            let failure = match tokio::time::timeout(attempts.longest(), attempt()).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => Some(Box::new(error)),
                Err(_elapsed) => None,
            };
            let final_failure = self.classify(path, failure, attempts.retries());
            let may_pass = matches!(final_failure, StoreError::Unavailable { .. });
            if !may_pass || !attempts.pause().await {
                return Err(final_failure);
            }
            self.retries.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(object = %path, error = %crate::text::chain(&final_failure), "trying again");
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the kinds are another crate's, and may become more")]
    fn classify(&self, path: &Path, failure: Option<Box<ObjectError>>, retries: u32) -> StoreError {
        let (location, object) = (self.location.clone(), path.to_string());
        let Some(source) = failure else {
            return StoreError::Unavailable { location, object, retries, source: None };
        };
        match &*source {
            ObjectError::NotFound { .. } => StoreError::NotFound { location, object },
            ObjectError::PermissionDenied { .. } | ObjectError::Unauthenticated { .. } => {
                StoreError::Denied { location, object, source }
            }
            ObjectError::NotSupported { .. } | ObjectError::NotImplemented { .. } => {
                StoreError::ReadOnly { location, object, source }
            }
            other => match cause(other) {
                Some(Cause::Full) => StoreError::Full { location, object, source },
                Some(Cause::Denied) => StoreError::Denied { location, object, source },
                Some(Cause::Untrusted) => StoreError::Untrusted { location, source },
                None => StoreError::Unavailable { location, object, retries, source: Some(source) },
            },
        }
    }
}

/// What is not supported of a read is a part of an object: it came as a whole, or a page in its place, perhaps from
/// somebody in between. That may pass, and does not mean that the store cannot be written.
fn no_answer_to_a_read(error: ObjectError) -> ObjectError {
    if let ObjectError::NotSupported { source } = error {
        return ObjectError::Generic { store: "HTTP", source };
    }
    error
}

/// Why a request failed, where that does not pass by itself.
enum Cause {
    Full,
    Denied,
    Untrusted,
}

/// Looks through the sources of an error.
#[expect(clippy::wildcard_enum_match_arm, reason = "the kinds are the standard library's, and may become more")]
fn cause(error: &(dyn Error + 'static)) -> Option<Cause> {
    let mut next = Some(error);
    while let Some(error) = next {
        if is_stranger(error) {
            return Some(Cause::Untrusted);
        }
        if let Some(io) = error.downcast_ref::<io::Error>() {
            match io.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                    return Some(Cause::Full);
                }
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => return Some(Cause::Denied),
                _ => {}
            }
            // An I/O error that wraps another error does not name it as its source, but that error's source.
            if let Some(wrapped) = io.get_ref() {
                next = Some(wrapped);
                continue;
            }
        }
        next = error.source();
    }
    None
}

/// Whether TLS refused the server itself. Other errors of TLS are those of a network: a record that was changed on its
/// way, or a page in clear text from somebody in between.
fn is_stranger(error: &(dyn Error + 'static)) -> bool {
    let refused = |error: &rustls::Error| {
        matches!(error, rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented)
    };
    error.downcast_ref().is_some_and(refused)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::{Cause, cause};

    #[test]
    fn only_a_certificate_makes_a_stranger_and_other_errors_of_tls_may_pass() {
        // Wrapped twice, as it comes.
        let told = |error: rustls::Error| cause(&io::Error::other(io::Error::other(error)));
        let refused = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        assert!(matches!(told(refused), Some(Cause::Untrusted)));
        assert!(told(rustls::Error::DecryptError).is_none());
        assert!(told(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)).is_none());
    }
}
