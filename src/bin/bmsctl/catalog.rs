//! `bmsctl image list | show | verify | delete`: the images of a repository.

use std::io;

use bms_agent::repository::{ImageName, Repository, StoredImage};

use crate::cli::{DeleteArgs, ImageArgs, RepositoryArgs};
use crate::error::CtlError;
use crate::exit::Exit;
use crate::format::bytes;
use crate::import::stamp;
use crate::output::{Output, interactive};
use crate::repository::{block_on, check_table, verdict, work_on};
use crate::settings::resolve;
use crate::table::{Fields, table};
use crate::view::{CheckView, DeletedView, ImageView, ImagesView, ManifestView};

/// Digits of an id in a table. It is named by all of them, or by its name.
const SHORT_ID: usize = 12;

/// Lists the images.
pub(crate) fn list(args: &RepositoryArgs, output: &Output) -> Result<Exit, CtlError> {
    let settings = resolve(args)?;
    let images = block_on(async { Ok(Repository::open(&settings).await?.images().await?) })?;
    output.result(&ImagesView::from(images), |view| list_table(&view.images))?;
    Ok(Exit::Done)
}

fn list_table(images: &[ImageView]) -> String {
    let header = ["name", "version", "owner", "kind", "size", "data", "stored", "created", "id"];
    let rows = images.iter().map(|image| {
        let summary = &image.summary;
        [
            summary.name.clone(),
            summary.version.clone(),
            summary.owner.clone(),
            summary.kind.name().to_owned(),
            bytes(summary.size_bytes),
            bytes(summary.data_bytes),
            bytes(summary.stored_bytes),
            stamp(summary.created_at),
            image.image_id.chars().take(SHORT_ID).collect(),
        ]
    });
    table(header, rows)
}

/// Shows an image.
pub(crate) fn show(args: &ImageArgs, output: &Output) -> Result<Exit, CtlError> {
    let settings = resolve(&args.repository)?;
    let image = block_on(async { Ok(Repository::open(&settings).await?.find(&args.image).await?) })?;
    // A manifest that was read is JSON.
    let manifest = serde_json::to_value(&image.manifest).unwrap_or_default();
    let view = ManifestView { image_id: image.id.to_string(), manifest };
    output.result(&view, |_view| show_table(&image))?;
    Ok(Exit::Done)
}

fn show_table(image: &StoredImage) -> String {
    let manifest = &image.manifest;
    let labels: Vec<_> = manifest.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let exact = |length: u64| format!("{} ({length} bytes)", bytes(length));
    let capture = manifest.capture.as_ref().map(|capture| {
        format!("{}, {} free; {}", capture.mode.name(), bytes(capture.free_bytes), capture.notes.join("; "))
    });
    Fields::new()
        .field("image", &full_name(image))
        .field("id", &image.id.to_string())
        .field("kind", manifest.kind.name())
        .maybe("description", text(&manifest.description).as_deref())
        .maybe("labels", text(&labels.join(", ")).as_deref())
        .field("root", &manifest.content.root.0.to_string())
        .field("size", &exact(manifest.disk.size_bytes))
        .field("data", &exact(manifest.content.data_bytes))
        .field("stored", &exact(manifest.content.stored_bytes))
        .field("groups", &bytes(manifest.content.group_size_bytes))
        .field("block size", &manifest.disk.logical_block_size.to_string())
        .field("table", manifest.disk.partition_table.name())
        .field("firmware", manifest.disk.firmware.name())
        .maybe("hardware model", manifest.source_hardware_model.as_deref())
        .maybe("captured", capture.as_deref())
        .field("created", &stamp(manifest.created_at))
        .maybe("not after", manifest.not_after.map(stamp).as_deref())
        .into_text()
}

fn full_name(image: &StoredImage) -> String {
    format!("{}/{}:{}", image.manifest.owner, image.manifest.name, image.manifest.version)
}

/// Reads all of an image.
pub(crate) fn verify(args: &ImageArgs, output: &Output) -> Result<Exit, CtlError> {
    let report = work_on(&args.repository, output, "verify", |repository, work| async move {
        let image = repository.find(&args.image).await?;
        repository.verify_image(&image, &work).await
    })?;
    output.result(&CheckView::from(&report), check_table)?;
    Ok(verdict(&report))
}

/// Deletes images: all of them, or none if one is not there or not agreed to.
pub(crate) fn delete(args: &DeleteArgs, output: &Output) -> Result<Exit, CtlError> {
    let settings = resolve(&args.repository)?;
    let deleted = block_on(async {
        let repository = Repository::open(&settings).await?;
        let mut images = Vec::new();
        for name in &args.images {
            images.push(named(&repository, name).await?);
        }
        agree(&images, args.yes, output)?;
        for image in &images {
            repository.delete_image(image).await?;
        }
        Ok(images.iter().map(full_name).collect())
    })?;
    output.result(&DeletedView { deleted }, |view| format!("deleted {}", view.deleted.join(", ")))?;
    Ok(Exit::Done)
}

/// The image of a name. "The newest" is not good enough for what cannot be undone.
async fn named(repository: &Repository, name: &ImageName) -> Result<StoredImage, CtlError> {
    if let ImageName::Name { version: None, .. } = name {
        return Err(CtlError::NoVersion { image: name.to_string() });
    }
    Ok(repository.find(name).await?)
}

fn agree(images: &[StoredImage], yes: bool, output: &Output) -> Result<(), CtlError> {
    if yes {
        return Ok(());
    }
    if !interactive() {
        return Err(CtlError::NoTerminal);
    }
    for image in images {
        output.note(&format!("{}  {}", full_name(image), bytes(image.manifest.disk.size_bytes)));
    }
    output.ask("Type `delete` to delete these images:");
    let mut line = String::new();
    io::stdin().read_line(&mut line).map_err(|source| CtlError::Stdio { source })?;
    if line.trim() == "delete" { Ok(()) } else { Err(CtlError::NotConfirmed) }
}
