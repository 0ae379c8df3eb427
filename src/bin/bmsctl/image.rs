//! `bmsctl image`: the root of an image file, found on this machine alone.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::{ops::ControlFlow, thread};

use blake3::hazmat::{Mode, merge_subtrees_non_root, merge_subtrees_root};
use bms_agent::image::group::{ChainingValue, Layout};
use bms_agent::image::scan::{Piece, scan};
use bms_agent::image::source::{Format, OpenOptions, Source, open};

use crate::cli::{HashArgs, ImageCommand};
use crate::error::CtlError;
use crate::exit::Exit;
use crate::format::bytes;
use crate::output::Output;
use crate::push::workers;
use crate::table::Fields;
use crate::view::ImageHashView;

/// Groups of zeroes that a thread hashes in one go.
const HOLE_GROUPS: usize = 16;

/// Runs a command on image files.
pub(crate) fn run(command: &ImageCommand, output: &Output) -> Result<Exit, CtlError> {
    match command {
        ImageCommand::Hash(args) => show_hash(args, output),
    }
}

/// Opens an image file.
pub(crate) fn open_image(path: &Path, format: Option<Format>, size: Option<u64>) -> Result<Source, CtlError> {
    open(path, &OpenOptions { format, len_bytes: size }).map_err(|source| CtlError::OpenImage { source })
}

fn show_hash(args: &HashArgs, output: &Output) -> Result<Exit, CtlError> {
    let source = open_image(&args.file, args.source.format, args.source.size)?;
    let layout = Layout::new(source.len_bytes(), args.source.group_size);
    let hash = ImageHash::of(&source, layout)?;
    let view = ImageHashView {
        file: args.file.display().to_string(),
        format: source.format().to_string(),
        size_bytes: layout.len_bytes(),
        root: hash.root.to_string(),
        group_size_bytes: layout.group_size().bytes(),
        data_bytes: layout.len_bytes() - hash.hole_bytes,
        hole_bytes: hash.hole_bytes,
        hole_groups: hash.hole_groups,
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

/// What the content of an image is.
#[derive(Debug)]
pub(crate) struct ImageHash {
    /// BLAKE3 of the raw content.
    pub(crate) root: blake3::Hash,
    hole_bytes: u64,
    hole_groups: u64,
}

impl ImageHash {
    /// Reads all of `source`.
    pub(crate) fn of(source: &Source, layout: Layout) -> Result<Self, CtlError> {
        let mut values = values(source, layout)?;
        let holes = (0..).zip(&values).filter(|(_, value)| value.is_none());
        let (hole_groups, hole_bytes) = holes.fold((0, 0), |(groups, bytes), (group, _)| {
            let range = layout.byte_range(group, 1);
            (groups + 1, bytes + (range.end - range.start))
        });
        fill_holes(&mut values, layout);
        let values: Vec<ChainingValue> = values.into_iter().flatten().collect();
        Ok(Self { root: root(&values), hole_bytes, hole_groups })
    }
}

/// The chaining value of each group that is no hole.
fn values(source: &Source, layout: Layout) -> Result<Vec<Option<ChainingValue>>, CtlError> {
    let groups = usize::try_from(layout.groups()).unwrap_or(usize::MAX);
    let values = Mutex::new(vec![None; groups]);
    let enter = |piece| {
        if let Piece::Data { first, chaining_values, .. } = piece {
            let mut values = values.lock().unwrap_or_else(PoisonError::into_inner);
            let start = usize::try_from(first).unwrap_or(usize::MAX);
            for (slot, value) in values.iter_mut().skip(start).zip(chaining_values) {
                *slot = Some(value);
            }
        }
        ControlFlow::Continue(())
    };
    scan(source, layout, workers(), &enter).map_err(|source| CtlError::ReadImage { source })?;
    Ok(values.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Hashes the zeroes of all holes, on all cores: a hole's value depends on its offset.
fn fill_holes(values: &mut [Option<ChainingValue>], layout: Layout) {
    let zeroes = vec![0; layout.group_size().len()];
    let parts = Mutex::new((0_u64..).step_by(HOLE_GROUPS).zip(values.chunks_mut(HOLE_GROUPS)));
    let next = || parts.lock().unwrap_or_else(PoisonError::into_inner).next();
    thread::scope(|scope| {
        for _ in 0..workers().get() {
            scope.spawn(|| {
                while let Some((first, part)) = next() {
                    for (group, value) in (first..).zip(part) {
                        let len = layout.group_len(group);
                        value.get_or_insert_with(|| layout.chaining_value(group, &zeroes[..len]));
                    }
                }
            });
        }
    });
}

/// The root that the values of all groups merge to. A single one is the root itself.
fn root(values: &[ChainingValue]) -> blake3::Hash {
    match values {
        [] => blake3::hash(&[]),
        [only] => blake3::Hash::from_bytes(only.0),
        _ => {
            let (left, right) = values.split_at(left_len(values.len()));
            merge_subtrees_root(&subtree(left), &subtree(right), Mode::Hash)
        }
    }
}

fn subtree(values: &[ChainingValue]) -> [u8; 32] {
    if let [only] = values {
        return only.0;
    }
    let (left, right) = values.split_at(left_len(values.len()));
    merge_subtrees_non_root(&subtree(left), &subtree(right), Mode::Hash)
}

/// The largest power of two below `len`, which is at least 2: the left side of a BLAKE3 tree is always full.
fn left_len(len: usize) -> usize {
    len.next_power_of_two() / 2
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, SeekFrom, Write as _};

    use bms_agent::image::group::{GroupSize, Layout};

    use super::{ImageHash, open_image};

    #[test]
    fn the_root_is_the_plain_hash_of_the_content_for_every_length() {
        const GROUP: usize = 64 << 10;
        let mut content = vec![0; 9 * GROUP + 77];
        for group in [0, 3, 8] {
            blake3::Hasher::new().finalize_xof().fill(&mut content[group * GROUP..][..GROUP]);
        }
        for len in [0, 1, GROUP - 1, GROUP, GROUP + 1, 2 * GROUP, 3 * GROUP + 5, 8 * GROUP, 9 * GROUP, 9 * GROUP + 77] {
            let mut file = tempfile::NamedTempFile::new().expect("temporary file");
            file.write_all(&content[..len]).expect("written");
            let source = open_image(file.path(), None, None).expect("raw");
            let layout = Layout::new(source.len_bytes(), GroupSize::new(64 << 10).expect("valid"));
            let hash = ImageHash::of(&source, layout).expect("readable");
            assert_eq!(hash.root, blake3::hash(&content[..len]), "{len} bytes");
        }
    }

    #[test]
    fn holes_are_counted_to_the_byte() {
        let mut file = tempfile::NamedTempFile::new().expect("temporary file");
        file.seek(SeekFrom::Start(1 << 20)).expect("sought");
        file.write_all(&[7]).expect("written");
        file.as_file().set_len((2 << 20) + 9).expect("grown");
        let source = open_image(file.path(), None, None).expect("raw");
        let hash = ImageHash::of(&source, Layout::new(source.len_bytes(), GroupSize::default())).expect("readable");
        assert_eq!((hash.hole_groups, hash.hole_bytes), (8, (2 << 20) + 9 - (256 << 10)));
    }
}
