//! The writing side of an import: pieces of the scan go into the repository, and in the end they become an image.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bms_agent::image::group::{GroupSize, Layout};
use bms_agent::image::scan::{Piece, scan_once};
use bms_agent::image::source::Input;
use bms_agent::image::tree::Tree;
use bms_agent::inspect::check::Checks;
use bms_agent::inspect::child::Inspector;
use bms_agent::inspect::examine::{Examination, Request};
use bms_agent::inspect::profile::Profile;
use bms_agent::repository::upload::{Upload, UploadCounters};
use bms_agent::repository::{ImageReader, ImageWriter, LookError, Repository, StoredImage};
use bms_agent::text::chain;
use tokio_util::sync::CancellationToken;

use super::describe::{Shape, manifest};
use super::{Opened, open};
use crate::cli::ImportArgs;
use crate::error::CtlError;
use crate::exit::Exit;
use crate::format::bytes;
use crate::meter::{self, Reading};
use crate::output::Output;
use crate::push::workers;
use crate::settings::resolve;
use crate::table::Fields;
use crate::view::ImportView;

/// First bytes of an image that hold its partition table.
const HEAD_BYTES: usize = 64 << 10;

/// Imports an image.
pub(crate) fn run(args: &ImportArgs, output: &Output) -> Result<Exit, CtlError> {
    let settings = resolve(&args.repository)?;
    let Opened { input, name, format } = open(&args.input, output).map_err(|source| CtlError::Input { source })?;
    let group_size = args.input.source.group_size.unwrap_or_else(|| input.group_size());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| CtlError::Runtime { source })?;
    let (image, upload) = runtime.block_on(async {
        let repository = Arc::new(Repository::open(&settings).await?);
        if !repository.format().conditional_puts {
            output.note(
                "this repository's store knows no conditional puts: names and numbers of private images are only \
                 as sure as no two writers come at the same moment",
            );
        }
        let upload = Arc::new(Upload::begin(repository, args.level).await?);
        let read = Arc::new(AtomicU64::new(0));
        let shown = meter::show(output, "import", {
            let (read, counters, total) = (read.clone(), upload.counters().clone(), input.len_bytes());
            move || reading(count(&read), &counters, total)
        });
        let writing = upload.clone();
        let written = tokio::task::spawn_blocking(move || write(input, group_size, &writing, &read)).await;
        drop(shown);
        let (tree, shape) = written.map_err(|source| CtlError::ReaderLost { source })??;
        let mut manifest = manifest(&args.describe, shape, args.block_size, &tree);
        match look(&upload, &tree, manifest.disk.logical_block_size).await? {
            Ok(found) => found.describe(&mut manifest),
            Err(error) => output.note(&format!("what is in the image is not known: {}", chain(&error))),
        }
        Ok::<_, CtlError>((upload.commit(manifest, &tree).await?, upload))
    })?;
    output.result(&view(&image, &upload, name, format), table)?;
    Ok(Exit::Done)
}

/// Looks into the image, once all of it is stored. For which servers it is, its manifest does not say: so the report is
/// about what holds for all.
async fn look(
    upload: &Arc<Upload>,
    tree: &Tree,
    logical_block_size: u32,
) -> Result<Result<Examination, LookError>, CtlError> {
    upload.flush().await?;
    let checks = Arc::new(Checks::built_in().map_err(|source| CtlError::Checks { source })?);
    let request = Request {
        logical_block_size: Some(logical_block_size),
        profile: Profile::default(),
        checks,
        devices: Vec::new(),
    };
    let (upload, tree) = (upload.clone(), tree.clone());
    let looking = move || {
        ImageReader::of_upload(&upload, tree).examine(&Inspector::default(), &request, &CancellationToken::new())
    };
    tokio::task::spawn_blocking(looking).await.map_err(|source| CtlError::ReaderLost { source })
}

/// Reads the image once and writes what the repository does not have.
fn write(input: Input, group_size: GroupSize, upload: &Upload, read: &AtomicU64) -> Result<(Tree, Shape), CtlError> {
    let writer = ImageWriter::new(upload, Layout::new(input.len_bytes().unwrap_or(u64::MAX >> 1), group_size));
    let head = Mutex::new(Vec::new());
    let failure = Mutex::new(None);
    let sink = |piece: Piece| {
        read.fetch_add(len_bytes(&piece, group_size), Ordering::Relaxed);
        if let Piece::Data { first: 0, content, .. } = &piece {
            *lock(&head) = content[..content.len().min(HEAD_BYTES)].to_vec();
        }
        match writer.take(&piece) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                lock(&failure).get_or_insert(error);
                ControlFlow::Break(())
            }
        }
    };
    let scanned = scan_once(input, group_size, workers(), &sink);
    if let Some(error) = lock(&failure).take() {
        return Err(error.into());
    }
    let layout = scanned.map_err(|source| CtlError::ReadImage { source })?;
    let tree = writer.finish(layout)?;
    let shape = Shape::of(&lock(&head), layout.len_bytes());
    Ok((tree, shape))
}

/// Length of a piece; of one at the end of the image perhaps a little more.
fn len_bytes(piece: &Piece, group_size: GroupSize) -> u64 {
    match piece {
        Piece::Hole { count, .. } => count.saturating_mul(group_size.bytes()),
        Piece::Data { content, .. } => content.len() as u64,
    }
}

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn reading(done: u64, upload: &UploadCounters, total: Option<u64>) -> Reading {
    let of = total.map(|total| format!(" of {}", bytes(total))).unwrap_or_default();
    let [new, present, stored] =
        [&upload.new_bytes, &upload.present_bytes, &upload.stored_bytes].map(|counter| bytes(count(counter)));
    let message = format!("{}{of} read, {new} new, stored as {stored}, {present} there already", bytes(done));
    Reading { done, total, message }
}

/// A worker that panics takes the whole scan with it.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn view(image: &StoredImage, upload: &Upload, file: String, format: &str) -> ImportView {
    let counters = upload.counters();
    let manifest = &image.manifest;
    ImportView {
        file,
        format: format.to_owned(),
        image_id: image.id.to_string(),
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        owner: manifest.owner.clone(),
        root: manifest.content.root.0.to_string(),
        size_bytes: manifest.disk.size_bytes,
        data_bytes: manifest.content.data_bytes,
        new_bytes: count(&counters.new_bytes),
        present_bytes: count(&counters.present_bytes),
        stored_bytes: count(&counters.stored_bytes),
    }
}

fn table(view: &ImportView) -> String {
    Fields::new()
        .field("image", &format!("{}/{}:{}", view.owner, view.name, view.version))
        .field("id", &view.image_id)
        .field("root", &view.root)
        .field("size", &format!("{} ({} bytes)", bytes(view.size_bytes), view.size_bytes))
        .field("data", &bytes(view.data_bytes))
        .field("new", &format!("{}, stored as {}", bytes(view.new_bytes), bytes(view.stored_bytes)))
        .field("there already", &bytes(view.present_bytes))
        .field("format", &view.format)
        .into_text()
}
