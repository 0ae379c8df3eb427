//! `bmsctl image export`: an image as a file, every group of it proven, holes as holes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bms_agent::image::group::Layout;
use bms_agent::repository::{ProvenGroup, Repository, RepositoryError, StoredImage, Work, chunks_at_once};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::cli::{ExportArgs, ExportFormat};
use crate::error::CtlError;
use crate::exit::Exit;
use crate::format::bytes;
use crate::new_file::{NewFile, NewFileError};
use crate::output::Output;
use crate::repository::work_on;
use crate::table::Fields;
use crate::view::ExportView;

/// The file cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExportError {
    #[error(transparent)]
    File(#[from] NewFileError),
    #[error("qemu-img, which makes qcow2, cannot be started; it is in the Debian package qemu-utils")]
    NoQemu { source: io::Error },
    #[error("qemu-img failed: {said}")]
    Qemu { said: String },
}

/// Exports an image.
pub(crate) fn run(args: &ExportArgs, output: &Output) -> Result<Exit, CtlError> {
    let raw = NewFile::create(&args.file).map_err(failed)?;
    if args.format == ExportFormat::Qcow2 {
        // Before anything is fetched.
        qemu(&["--version"], &[]).map_err(failed)?;
    }
    let content = raw.content().try_clone().map_err(|source| raw.failed(source)).map_err(failed)?;
    let content = Arc::new(content);
    let image = work_on(&args.image.repository, output, "export", |repository, work| async move {
        let image = repository.find(&args.image.image).await?;
        fetch(&repository, &image, &content, &work).await.map(|()| image)
    })?;
    finish(raw, args.format).map_err(failed)?;
    let manifest = &image.manifest;
    let view = ExportView {
        image_id: image.id.to_string(),
        file: args.file.display().to_string(),
        format: args.format.name(),
        size_bytes: manifest.disk.size_bytes,
        root: manifest.content.root.0.to_string(),
    };
    output.result(&view, view_table)?;
    Ok(Exit::Done)
}

/// Fetches all chunks, several at a time, and puts their groups where they belong. The tree merges to the root, and each
/// group is the tree's: nothing else needs to be compared.
async fn fetch(
    repository: &Repository,
    image: &StoredImage,
    file: &Arc<File>,
    work: &Work,
) -> Result<(), RepositoryError> {
    let tree = repository.tree(image).await?;
    let chunks = image.chunk_layout()?;
    work.find(chunks.chunks());
    let local = |source| RepositoryError::Process { location: repository.location().to_owned(), source };
    file.set_len(tree.layout().len_bytes()).map_err(local)?;
    let (tree, layout) = (&tree, tree.layout());
    let one = |chunk| async move {
        let groups = repository.chunk_content(image, tree, chunk).await?;
        let content = groups.iter().map(|group| group.content.len() as u64).sum();
        let file = file.clone();
        let written = tokio::task::spawn_blocking(move || put(&file, layout, &groups)).await;
        written.map_err(|lost| local(io::Error::other(lost)))?.map_err(local)?;
        work.step(content);
        Ok(())
    };
    stream::iter(0..chunks.chunks()).map(one).buffer_unordered(chunks_at_once(&chunks)).try_collect().await
}

fn put(file: &File, layout: Layout, groups: &[ProvenGroup]) -> io::Result<()> {
    groups.iter().try_for_each(|group| file.write_all_at(&group.content, layout.byte_range(group.group, 1).start))
}

/// Gives the complete file its name, in its format.
fn finish(raw: NewFile, format: ExportFormat) -> Result<(), ExportError> {
    match format {
        ExportFormat::Raw => raw.finish()?,
        ExportFormat::Qcow2 => {
            let qcow2 = raw.another()?;
            qemu(&["convert", "-f", "raw", "-O", "qcow2", "-c"], &[raw.beside(), &qcow2])?;
            raw.finish_with(qcow2)?;
        }
    }
    Ok(())
}

fn qemu(arguments: &[&str], files: &[&Path]) -> Result<(), ExportError> {
    let done = Command::new("qemu-img").args(arguments).args(files).output();
    let done = done.map_err(|source| ExportError::NoQemu { source })?;
    if done.status.success() {
        return Ok(());
    }
    Err(ExportError::Qemu { said: String::from_utf8_lossy(&done.stderr).trim().to_owned() })
}

fn failed(source: impl Into<ExportError>) -> CtlError {
    CtlError::Export { source: source.into() }
}

fn view_table(view: &ExportView) -> String {
    Fields::new()
        .field("file", &view.file)
        .field("format", view.format)
        .field("size", &format!("{} ({} bytes)", bytes(view.size_bytes), view.size_bytes))
        .field("root", &view.root)
        .into_text()
}
