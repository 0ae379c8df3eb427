//! A capture into a repository. The thread of the operation runs the connections; the disk is read on others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Runtime;

use super::Subject;
use crate::disk::probe;
use crate::disk::table::TableKind;
use crate::image::manifest::{Capture, Content, Kind, Manifest, PartitionTable};
use crate::image::tree::Tree;
use crate::inspect::child::{InspectError, Inspector};
use crate::inspect::examine::{Examination, Request};
use crate::operation::{Captured, Operation, Outcome};
use crate::provision::error::{ProvisionError, SourceFailure};
use crate::provision::progress::{Counters, Stage};
use crate::repository::upload::{Upload, UploadCounters};
use crate::repository::{ImageName, ImageReader, ImageWriter, LookError, Repository, RepositoryError, Settings};

/// Level of zstd: what an import uses.
const ZSTD_LEVEL: i32 = 3;

/// Where the image goes, and what is said of it.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) settings: Settings,
    /// As far as it is known before the disk was read.
    pub(super) manifest: Manifest,
    /// Who looks into it.
    pub(super) inspector: Inspector,
    /// For what.
    pub(super) request: Request,
}

impl Store {
    /// Captures the disk. Blocks until the image is in the repository, or is not to be.
    pub(super) fn run(
        self,
        runtime: Runtime,
        operation: Arc<Operation>,
        subject: Subject,
    ) -> Result<Outcome, ProvisionError> {
        let outcome = runtime.block_on(self.write(operation, Arc::new(subject)));
        // Writes that are stuck in a file system hold nobody up.
        runtime.shutdown_timeout(Duration::ZERO);
        outcome
    }

    async fn write(self, operation: Arc<Operation>, subject: Arc<Subject>) -> Result<Outcome, ProvisionError> {
        let disk = || subject.target.disk.name.clone();
        let begun = operation.cancel.run_until_cancelled(self.begin()).await;
        let upload = Arc::new(begun.ok_or_else(|| ProvisionError::Cancelled { disk: disk() })?.map_err(failed)?);
        let reading = {
            let (operation, subject, upload) = (operation.clone(), subject.clone(), upload.clone());
            tokio::task::spawn_blocking(move || read(&operation, &subject, &upload))
        };
        let tree = reading.await.map_err(|_panicked| ProvisionError::Worker { disk: disk() })??;
        operation.counters.enter(Stage::Store);
        let mut manifest = self.describe(&subject, &tree);
        let mut warnings = self.warnings(&subject, upload.repository());
        match self.look(&upload, &tree, &operation).await? {
            Ok(found) => found.describe(&mut manifest),
            Err(LookError::Inspect(InspectError::Cancelled)) => {
                return Err(ProvisionError::Cancelled { disk: disk() });
            }
            Err(error) => {
                warnings.push(format!("what is in the image is not known: {}", crate::text::chain(&error)));
            }
        }
        let image = upload.commit(manifest, &tree).await.map_err(failed)?;
        count(&operation.counters, upload.counters());
        operation.counters.enter(Stage::Done);
        let captured = Captured {
            image: Some(image.id),
            data_bytes: image.manifest.content.data_bytes,
            new_bytes: value(&upload.counters().new_bytes),
            present_bytes: value(&upload.counters().present_bytes),
            stored_bytes: value(&upload.counters().stored_bytes),
        };
        Ok(Outcome {
            disk: subject.target.disk.clone(),
            root: *tree.root().as_bytes(),
            len_bytes: tree.layout().len_bytes(),
            warnings,
            captured: Some(captured),
        })
    }

    /// Opens the repository. A name that is taken is found out before the disk is read for hours.
    async fn begin(&self) -> Result<Upload, RepositoryError> {
        let repository = Arc::new(Repository::open(&self.settings).await?);
        let Manifest { owner, name, version, .. } = self.manifest.clone();
        let image = ImageName::Name { owner: Some(owner.clone()), name: name.clone(), version: Some(version.clone()) };
        match repository.find(&image).await {
            Err(RepositoryError::NoImage { .. }) => Upload::begin(repository, ZSTD_LEVEL).await,
            Err(error) => Err(error),
            Ok(_) => {
                let location = repository.location().to_owned();
                Err(RepositoryError::NameTaken { location, owner, name, version })
            }
        }
    }

    /// Looks into the image for what its manifest says.
    async fn look(
        &self,
        upload: &Arc<Upload>,
        tree: &Tree,
        operation: &Arc<Operation>,
    ) -> Result<Result<Examination, LookError>, ProvisionError> {
        upload.flush().await.map_err(failed)?;
        let (upload, tree, cancel) = (upload.clone(), tree.clone(), operation.cancel.clone());
        let (inspector, request) = (self.inspector.clone(), self.request.clone());
        let looking = move || ImageReader::of_upload(&upload, tree).examine(&inspector, &request, &cancel);
        let looked = tokio::task::spawn_blocking(looking).await;
        looked.map_err(|_panicked| ProvisionError::Worker { disk: operation.disk.clone() })
    }

    /// What was found of the file systems, and what the repository cannot promise.
    fn warnings(&self, subject: &Subject, repository: &Repository) -> Vec<String> {
        let mut warnings = subject.notes.clone();
        if self.manifest.kind == Kind::Private && !repository.format().conditional_puts {
            warnings.push(format!(
                "the store of {} knows no conditional puts: how many private images a project has is not enforced between \
                 writers at the same moment",
                repository.location()
            ));
        }
        warnings
    }

    /// The manifest with what the disk has told.
    fn describe(&self, subject: &Subject, tree: &Tree) -> Manifest {
        let mut manifest = self.manifest.clone();
        // The disk was read by now, so that this can be read as well.
        let kind = probe::look(&subject.device).map_or(TableKind::None, |content| content.table.kind);
        manifest.disk.partition_table = match kind {
            TableKind::None => PartitionTable::None,
            TableKind::Gpt => PartitionTable::Gpt,
            TableKind::Mbr => PartitionTable::Mbr,
        };
        manifest.content = Content::of(tree);
        manifest.capture = Some(Capture {
            mode: subject.target.mode,
            disk_model: subject.target.disk.model.clone(),
            free_bytes: subject.free.bytes(),
            notes: subject.notes.clone(),
        });
        manifest
    }
}

/// Reads the disk into the repository.
fn read(operation: &Operation, subject: &Subject, upload: &Upload) -> Result<Tree, ProvisionError> {
    let writer = ImageWriter::new(upload, subject.target.layout);
    subject.read(operation, &|piece| {
        writer.take(piece).map_err(failed)?;
        count(&operation.counters, upload.counters());
        Ok(())
    })?;
    writer.finish(subject.target.layout).map_err(failed)
}

/// Shows what the upload did.
fn count(counters: &Counters, upload: &UploadCounters) {
    counters.uploaded.raise_to(value(&upload.new_bytes));
    counters.present.raise_to(value(&upload.present_bytes));
    counters.wire.raise_to(value(&upload.stored_bytes));
}

fn value(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn failed(error: RepositoryError) -> ProvisionError {
    ProvisionError::Source(SourceFailure::new(error))
}
