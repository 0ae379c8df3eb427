//! `bmsctl image`: the root of an image, found without an agent.

use std::path::Path;

use bms_agent::image::hash::tree_of;
use bms_agent::image::source::{Format, OpenOptions, Source, open};
use bms_agent::image::tree::Group;

use crate::cli::{ImageCommand, InputArgs};
use crate::connect::Agent;
use crate::error::CtlError;
use crate::exit::Exit;
use crate::format::bytes;
use crate::import::{self, Opened};
use crate::output::Output;
use crate::push::workers;
use crate::table::Fields;
use crate::view::ImageHashView;
use crate::{catalog, check, compat, export};

/// Runs a command on images that needs no agent; none if it needs one.
pub(crate) fn run_here(command: &ImageCommand, output: &Output) -> Option<Result<Exit, CtlError>> {
    Some(match command {
        ImageCommand::Hash(args) => show_hash(args, output),
        ImageCommand::Import(args) => import::run(args, output),
        ImageCommand::List(args) => catalog::list(args, output),
        ImageCommand::Show(args) => catalog::show(args, output),
        ImageCommand::Verify(args) => catalog::verify(args, output),
        ImageCommand::Export(args) => export::run(args, output),
        ImageCommand::Delete(args) => catalog::delete(args, output),
        ImageCommand::Check(args) => check::run_here(args, args.image.as_deref()?, output),
        ImageCommand::Compat(args) => compat::run_here(args, args.host_facts.as_deref()?, output),
    })
}

/// Runs a command on what an agent has.
pub(crate) async fn run_there(command: &ImageCommand, agent: &Agent, output: &Output) -> Result<Exit, CtlError> {
    match command {
        ImageCommand::Check(args) => check::run_there(args, agent, output).await,
        ImageCommand::Compat(args) => compat::run_there(args, agent, output).await,
        ImageCommand::Hash(_)
        | ImageCommand::Import(_)
        | ImageCommand::List(_)
        | ImageCommand::Show(_)
        | ImageCommand::Verify(_)
        | ImageCommand::Export(_)
        | ImageCommand::Delete(_) => run_here(command, output).unwrap_or(Ok(Exit::Done)),
    }
}

/// Opens an image file.
pub(crate) fn open_image(path: &Path, format: Option<Format>, size: Option<u64>) -> Result<Source, CtlError> {
    open(path, &OpenOptions { format, len_bytes: size }).map_err(|source| CtlError::OpenImage { source })
}

fn show_hash(args: &InputArgs, output: &Output) -> Result<Exit, CtlError> {
    let Opened { input, name, format } = import::open(args, output).map_err(|source| CtlError::Input { source })?;
    let group_size = args.source.group_size.unwrap_or_else(|| input.group_size());
    let tree = tree_of(input, group_size, workers()).map_err(|source| CtlError::ReadImage { source })?;
    let layout = tree.layout();
    let data_bytes = tree.data_bytes();
    let view = ImageHashView {
        file: name,
        format: format.to_owned(),
        size_bytes: layout.len_bytes(),
        root: tree.root().to_string(),
        group_size_bytes: layout.group_size().bytes(),
        data_bytes,
        hole_bytes: layout.len_bytes() - data_bytes,
        hole_groups: tree.groups().iter().filter(|group| **group == Group::Hole).count() as u64,
    };
    output.result(&view, table)?;
    Ok(Exit::Done)
}

fn table(view: &ImageHashView) -> String {
    Fields::new()
        .field("root", &view.root)
        .field("size", &format!("{} ({} bytes)", bytes(view.size_bytes), view.size_bytes))
        .field("data", &bytes(view.data_bytes))
        .field("holes", &format!("{} in {} groups", bytes(view.hole_bytes), view.hole_groups))
        .field("group size", &bytes(view.group_size_bytes))
        .field("format", &view.format)
        .into_text()
}
