//! Installs that fetch their image and have not ended: what an agent that was restarted needs to go on with them.
//!
//! One small file for each in the state directory, made durable before the disk is written and removed when the install
//! ends. It proves nothing: the disk is compared with the image, group by group. Across a reboot nothing goes on by
//! itself, for disks may have been exchanged; then the disk's marker says what was interrupted.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::compatibility::Admission;
use crate::image::group::{GroupSize, Layout};
use crate::image::manifest::Digest;
use crate::inspect::policy::Choice;
use crate::operation::registry::Request;
use crate::provision::plan::{ImageSpec, Options};
use crate::reason::{DomainError, Reason};

use super::pull::Pulled;

/// Longest entry, in bytes.
const MAX_BYTES: u64 = 64 << 10;

/// The journal cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the journal {}", .path.display())]
pub struct JournalError {
    /// The file or directory.
    path: PathBuf,
    /// Why.
    source: io::Error,
}

impl DomainError for JournalError {
    fn reason(&self) -> Reason {
        Reason::StateUnavailable
    }

    fn metadata(&self) -> Vec<(&'static str, String)> {
        vec![("path", self.path.display().to_string())]
    }
}

/// An install that has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pending {
    pub(super) operation: Uuid,
    request_id: Uuid,
    request_digest: Digest,
    /// Of the kernel that knew the disk by what is in the selector.
    pub(super) boot_id: Option<String>,
    /// The disk, as text: see [`Selector`](crate::disk::selector::Selector).
    pub(super) disk: String,
    size_bytes: u64,
    group_size_bytes: u64,
    root: Option<Digest>,
    logical_block_size: Option<u32>,
    wipe_rest: bool,
    #[serde(default)]
    pub(super) inspection: Choice,
    #[serde(default)]
    pub(super) admission: Admission,
    pub(super) source: Pulled,
}

impl Pending {
    pub(super) fn new(operation: Uuid, request: &Request, image: &ImageSpec, options: Options, source: Pulled) -> Self {
        Self {
            operation,
            request_id: request.id,
            request_digest: Digest(blake3::Hash::from_bytes(request.digest)),
            boot_id: None,
            disk: String::new(),
            size_bytes: image.layout.len_bytes(),
            group_size_bytes: image.layout.group_size().bytes(),
            root: image.root.map(|root| Digest(blake3::Hash::from_bytes(root))),
            logical_block_size: image.logical_block_size,
            wipe_rest: options.wipe_rest,
            inspection: Choice::default(),
            admission: Admission::default(),
            source,
        }
    }

    /// How the image is looked into.
    pub(super) fn inspected(self, inspection: Choice) -> Self {
        Self { inspection, ..self }
    }

    /// What the image asks of the server, and what was overridden.
    pub(super) fn admitted(self, admission: Admission) -> Self {
        Self { admission, ..self }
    }

    /// On which disk, as this kernel knows it.
    pub(super) fn on(self, disk: String, boot_id: Option<String>) -> Self {
        Self { disk, boot_id, ..self }
    }

    pub(super) fn request(&self) -> Request {
        Request { id: self.request_id, digest: *self.request_digest.0.as_bytes() }
    }

    /// The image; none if the entry makes no sense.
    pub(super) fn image(&self) -> Option<ImageSpec> {
        Some(ImageSpec {
            layout: Layout::new(self.size_bytes, GroupSize::new(self.group_size_bytes).ok()?),
            root: self.root.map(|root| *root.0.as_bytes()),
            logical_block_size: self.logical_block_size,
        })
    }

    /// What is on the disk already stays.
    pub(super) const fn options(&self) -> Options {
        Options { in_place: true, wipe_rest: self.wipe_rest }
    }
}

/// All installs that have begun.
#[derive(Debug, Clone)]
pub struct Journal {
    dir: PathBuf,
}

impl Journal {
    /// The journal below the agent's state directory, which must exist.
    ///
    /// # Errors
    /// If its directory cannot be made.
    pub fn open(state_dir: &Path) -> Result<Self, JournalError> {
        let dir = state_dir.join("pending");
        fs::create_dir_all(&dir).map_err(at(&dir))?;
        Ok(Self { dir })
    }

    /// Notes an install, durably.
    pub(super) fn begin(&self, pending: &Pending) -> Result<(), JournalError> {
        let path = self.path(pending.operation);
        let bytes = serde_json::to_vec_pretty(pending).map_err(|error| at(&path)(error.into()))?;
        let mut file = tempfile::NamedTempFile::new_in(&self.dir).map_err(at(&self.dir))?;
        file.write_all(&bytes).and_then(|()| file.as_file().sync_all()).map_err(at(&path))?;
        file.persist(&path).map_err(|error| at(&path)(error.error))?;
        self.sync_dir()
    }

    /// Forgets an install that has ended.
    pub(super) fn end(&self, operation: Uuid) -> Result<(), JournalError> {
        let path = self.path(operation);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(&path)(error)),
            _ => self.sync_dir(),
        }
    }

    /// The installs that an agent before this one began and did not end. What cannot be read is told and left out.
    pub(super) fn pending(&self) -> Result<Vec<Pending>, JournalError> {
        let entries = fs::read_dir(&self.dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut found = Vec::new();
        for entry in entries.map_err(at(&self.dir))? {
            let path = entry.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            match read(&path) {
                Ok(pending) => found.push(pending),
                Err(error) => {
                    tracing::error!(path = %path.display(), %error, "an entry of the journal cannot be read");
                }
            }
        }
        Ok(found)
    }

    fn path(&self, operation: Uuid) -> PathBuf {
        self.dir.join(format!("{operation}.json"))
    }

    fn sync_dir(&self) -> Result<(), JournalError> {
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(at(&self.dir))
    }
}

fn read(path: &Path) -> io::Result<Pending> {
    if fs::metadata(path)?.len() > MAX_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

fn at(path: &Path) -> impl Fn(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError { path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use uuid::Uuid;

    use super::{Journal, Pending};
    use crate::agent::pull::Pulled;
    use crate::image::group::{GroupSize, Layout};
    use crate::image::manifest::ImageId;
    use crate::operation::registry::Request;
    use crate::provision::plan::{ImageSpec, Options};

    fn pending() -> Pending {
        let image = ImageSpec {
            layout: Layout::new(5 << 20, GroupSize::default()),
            root: Some([7; 32]),
            logical_block_size: Some(4096),
        };
        let request = Request { id: Uuid::from_u128(2), digest: [3; 32] };
        let options = Options { in_place: false, wipe_rest: true };
        let source = Pulled::Repository { repository: "main".to_owned(), image: ImageId(blake3::hash(b"x")) };
        let pending = Pending::new(Uuid::from_u128(1), &request, &image, options, source);
        let pending = pending.on("serial=S1".to_owned(), Some("boot".to_owned()));
        assert_eq!((pending.image(), pending.request()), (Some(image), request));
        assert_eq!(pending.options(), Options { in_place: true, wipe_rest: true });
        pending
    }

    #[test]
    fn what_has_begun_is_found_again_until_it_has_ended() {
        let dir = tempfile::tempdir().expect("directory");
        let journal = Journal::open(dir.path()).expect("opened");
        let pending = pending();
        journal.begin(&pending).expect("noted");
        let journal = Journal::open(dir.path()).expect("opened again");
        assert_eq!(journal.pending().expect("read"), std::slice::from_ref(&pending));
        journal.end(pending.operation).expect("forgotten");
        journal.end(pending.operation).expect("twice is no harm");
        assert_eq!(journal.pending().expect("read"), []);
    }

    #[test]
    fn damaged_entries_are_left_out_and_others_are_not() {
        let dir = tempfile::tempdir().expect("directory");
        let journal = Journal::open(dir.path()).expect("opened");
        journal.begin(&pending()).expect("noted");
        fs::write(dir.path().join("pending/cut.json"), "{\"operation\":").expect("written");
        fs::File::create(dir.path().join("pending/huge.json")).and_then(|file| file.set_len(1 << 30)).expect("written");
        assert_eq!(journal.pending().expect("read").len(), 1);
    }

    #[test]
    fn a_journal_that_cannot_be_written_is_an_error() {
        let dir = tempfile::tempdir().expect("directory");
        let journal = Journal::open(dir.path()).expect("opened");
        fs::remove_dir_all(dir.path().join("pending")).expect("removed");
        journal.begin(&pending()).expect_err("nowhere to write");
    }
}
