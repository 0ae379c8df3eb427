//! What a volume holds, by its signatures.

use super::FsError;
use crate::inspect::free::reason::{Owner, WholeReason};
use crate::inspect::free::{FileSystem, probe as signatures};
use crate::inspect::reader::DiskReader;

/// What a volume holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Nothing that is known.
    Unknown,
    /// Something that is no file system, or one that is not read.
    Foreign(Owner),
    /// ext2, ext3 or ext4.
    Ext,
    /// XFS.
    Xfs,
    /// btrfs.
    Btrfs,
    /// FAT12, FAT16 or FAT32.
    Fat,
    /// NTFS.
    Ntfs,
}

/// What a volume holds. Signatures of two owners make it [`Owner::Several`]: nobody can tell which one is a leftover.
///
/// # Errors
/// [`FsError::Read`], if the volume cannot be read.
pub fn probe(volume: &dyn DiskReader) -> Result<Content, FsError> {
    let mut found = Vec::new();
    for (file_system, signature) in signatures::FILE_SYSTEMS {
        if signatures::bears(volume, signature).map_err(|reason| unread(&reason))? {
            found.push(match file_system {
                FileSystem::Ext => Content::Ext,
                FileSystem::Xfs => Content::Xfs,
                FileSystem::Btrfs => Content::Btrfs,
            });
        }
    }
    match signatures::foreign(volume).map_err(|reason| unread(&reason))? {
        Some(Owner::Fat) => found.push(Content::Fat),
        Some(Owner::Ntfs) => found.push(Content::Ntfs),
        Some(owner) => found.push(Content::Foreign(owner)),
        None => {}
    }
    Ok(match found.as_slice() {
        [] => Content::Unknown,
        [only] => *only,
        [_, _, ..] => Content::Foreign(Owner::Several),
    })
}

/// A signature within the volume that cannot be read.
fn unread(reason: &WholeReason) -> FsError {
    FsError::Read(std::io::Error::other(reason.to_string()))
}
