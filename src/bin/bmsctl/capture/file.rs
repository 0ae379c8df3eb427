//! The file that a capture becomes: sparse, checked group by group and as a whole, and under its name only when it is
//! complete. Knows no connection.

use std::os::unix::fs::FileExt as _;
use std::path::Path;

use bms_agent::image::group::{ChainingValue, GroupSize, Layout};
use bms_agent::image::tree::{Group, OffersDigest, Tree};
use bms_agent::rpc::proto::v1::{CaptureBegun, CaptureFinished, CapturedGroups, Encoding};

use crate::exit::Exit;
use crate::format::hex;
use crate::new_file::{NewFile, NewFileError};
use crate::view::CaptureFileView;

/// Why there is no file. What had come is removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// It cannot be made.
    #[error(transparent)]
    File(#[from] NewFileError),
    /// A group is not what it is said to be.
    #[error("group {group} was damaged on its way")]
    Damaged { group: u64 },
    /// The whole is not what the agent read.
    #[error("what arrived has the root {actual}, and not {expected}")]
    Root { expected: String, actual: String },
    /// A message makes no sense.
    #[error("the agent's answer makes no sense: {what}")]
    Protocol { what: &'static str },
}

impl FileError {
    /// The exit code.
    pub(crate) const fn exit(&self) -> Exit {
        match self {
            Self::File(NewFileError::Exists { .. }) => Exit::Refused,
            Self::Damaged { .. } | Self::Root { .. } => Exit::Mismatch,
            Self::File(NewFileError::Write { .. }) | Self::Protocol { .. } => Exit::Failed,
        }
    }
}

/// A file that is to be. It is removed unless it is finished.
#[derive(Debug)]
pub(crate) struct CaptureFile(NewFile);

impl CaptureFile {
    /// Makes a file without that name, beside where it will be.
    pub(crate) fn create(path: &Path) -> Result<Self, FileError> {
        Ok(Self(NewFile::create(path)?))
    }

    /// Gives it its length.
    pub(crate) fn begin(self, begun: &CaptureBegun) -> Result<Part, FileError> {
        let wrong = FileError::Protocol { what: "a group size that is none" };
        let group_size = GroupSize::new(begun.group_size_bytes).map_err(|_invalid| wrong)?;
        let layout = Layout::new(begun.size_bytes, group_size);
        let too_many = FileError::Protocol { what: "more groups than there is memory for" };
        let groups = usize::try_from(layout.groups()).map_err(|_many| too_many)?;
        let part = Part {
            file: self.0,
            layout,
            groups: vec![None; groups],
            free_bytes: begun.free_bytes,
            notes: begun.notes.clone(),
        };
        part.file.content().set_len(begun.size_bytes).map_err(|source| part.file.failed(source))?;
        Ok(part)
    }
}

/// A file of which groups arrive.
#[derive(Debug)]
pub(crate) struct Part {
    file: NewFile,
    layout: Layout,
    /// What each group is, once it came.
    groups: Vec<Option<Group>>,
    free_bytes: u64,
    notes: Vec<String>,
}

impl Part {
    /// Takes some groups: checks each, and writes it where it belongs.
    pub(crate) fn take(&mut self, captured: &CapturedGroups) -> Result<(), FileError> {
        let (first, count) = (captured.first_group, captured.group_count);
        let protocol = |what| FileError::Protocol { what };
        let (values, rest) = captured.chaining_values.as_chunks::<32>();
        let holes = values.is_empty() && captured.payload.is_empty();
        if !rest.is_empty() || !(holes || values.len() as u64 == count) {
            return Err(protocol("groups without 32 bytes for each"));
        }
        self.note(first, count, values)?;
        if holes {
            return Ok(());
        }
        let bytes = self.layout.byte_range(first, count);
        let len = usize::try_from(bytes.end - bytes.start).unwrap_or(usize::MAX);
        let data = decode(captured, len).ok_or(FileError::Damaged { group: first })?;
        let groups = (first..).zip(values.iter().zip(data.chunks(self.layout.group_size().as_usize())));
        for (group, (value, data)) in groups {
            if self.layout.chaining_value(group, data) != ChainingValue(*value) {
                return Err(FileError::Damaged { group });
            }
        }
        self.file.content().write_all_at(&data, bytes.start).map_err(|source| self.file.failed(source))?;
        Ok(())
    }

    /// Notes what groups are; none of them may have come before.
    fn note(&mut self, first: u64, count: u64, values: &[[u8; 32]]) -> Result<(), FileError> {
        let wrong = || FileError::Protocol { what: "groups that the disk does not have" };
        let start = usize::try_from(first).map_err(|_large| wrong())?;
        let count = usize::try_from(count).map_err(|_large| wrong())?;
        let end = start.checked_add(count).filter(|_| count > 0).ok_or_else(wrong)?;
        let groups = self.groups.get_mut(start..end).ok_or_else(wrong)?;
        if groups.iter().any(Option::is_some) {
            return Err(FileError::Protocol { what: "a group that came twice" });
        }
        for (index, group) in groups.iter_mut().enumerate() {
            *group = Some(values.get(index).map_or(Group::Hole, |value| Group::Data(ChainingValue(*value))));
        }
        Ok(())
    }

    /// Checks the whole, makes it durable, and gives it its name.
    pub(crate) fn finish(mut self, finished: &CaptureFinished) -> Result<CaptureFileView, FileError> {
        let missing = || FileError::Protocol { what: "an end before every group came" };
        let groups: Option<Vec<_>> = std::mem::take(&mut self.groups).into_iter().collect();
        let tree = Tree::new(self.layout, groups.ok_or_else(missing)?).map_err(|_wrong_count| missing())?;
        let root = tree.root();
        if finished.root != root.as_bytes() || finished.offers_digest != OffersDigest::of(tree.groups()) {
            return Err(FileError::Root { expected: hex(&finished.root), actual: root.to_string() });
        }
        let (size_bytes, data_bytes) = (self.layout.len_bytes(), tree.data_bytes());
        let Self { file, free_bytes, notes, .. } = self;
        let path = file.path().display().to_string();
        file.finish()?;
        Ok(CaptureFileView {
            file: path,
            root: root.to_string(),
            size_bytes,
            data_bytes,
            hole_bytes: size_bytes - data_bytes,
            free_bytes,
            notes,
        })
    }
}

/// The content of a message; none if it is not just as long as it must be.
fn decode(captured: &CapturedGroups, len: usize) -> Option<bytes::Bytes> {
    let data = match captured.encoding() {
        Encoding::Raw => captured.payload.clone(),
        Encoding::Zstd => zstd::bulk::decompress(&captured.payload, len).ok()?.into(),
        Encoding::Unspecified => return None,
    };
    (data.len() == len).then_some(data)
}
