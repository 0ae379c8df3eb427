//! LVM2: the logical volumes of the volume groups on some physical volumes, each as a disk of its own.
//!
//! A physical volume says where its metadata is (`label`), the metadata is text (`text`), and the text says which
//! extents of which physical volume make a logical volume (`group`). Volumes that are linear are mapped; all others are
//! named with the reason why they cannot be read. Nothing is guessed: what has a wrong checksum is not looked at.

mod group;
mod label;
mod mapped;
mod text;

use std::rc::Rc;

pub use self::mapped::Mapped;
use super::reader::DiskReader;

/// Why something of LVM cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LvmError {
    /// A structure contradicts itself, or its checksum is wrong.
    #[error("the LVM {what} is malformed")]
    Malformed {
        /// Which one.
        what: &'static str,
    },
    /// A logical volume is built in a way that is not read here.
    #[error("{what} is not supported")]
    Unsupported {
        /// In what way.
        what: String,
    },
    /// A physical volume that belongs to the group is not among those that were given.
    #[error("physical volume {uuid} is missing")]
    MissingPhysicalVolume {
        /// Its identity, as `pvs` prints it.
        uuid: String,
    },
    /// The disk does not give its bytes.
    #[error("the LVM {what} cannot be read")]
    Unreadable {
        /// What was read.
        what: &'static str,
    },
}

/// A logical volume.
#[derive(Debug, Clone)]
pub struct LogicalVolume {
    /// Name of its volume group.
    pub group: String,
    /// Its own name.
    pub name: String,
    /// Its identity, as `lvs -o uuid` prints it.
    pub uuid: String,
    /// Its bytes, or why they cannot be read.
    pub content: Result<Rc<Mapped>, LvmError>,
}

/// What is on some physical volumes.
#[derive(Debug, Default)]
pub struct Found {
    /// Logical volumes that a system would show, by group and in the order of the metadata.
    pub volumes: Vec<LogicalVolume>,
    /// Physical volumes that cannot be read: their index among those that were given, and why.
    pub failed: Vec<(usize, LvmError)>,
}

/// Finds the logical volumes on the physical volumes of a disk, which are those that bear the signature of LVM.
pub fn find(physical: &[Rc<dyn DiskReader>]) -> Found {
    let mut found = Found::default();
    let mut members = Vec::new();
    let mut groups: Vec<group::Group> = Vec::new();
    for (index, volume) in physical.iter().enumerate() {
        match label::read(volume) {
            Ok(read) => {
                members.push((read.uuid, Rc::clone(volume)));
                // Each physical volume may describe the group; the description that was written last counts.
                let texts = read.texts.iter().map(|text| group::parse(text));
                for group in texts {
                    match group {
                        Ok(group) => keep_newest(&mut groups, group),
                        Err(error) => found.failed.push((index, error)),
                    }
                }
            }
            Err(error) => found.failed.push((index, error)),
        }
    }
    found.volumes = groups.iter().flat_map(|group| group.volumes(&members)).collect();
    found
}

/// What a text describes, without a physical volume: on a disk the text has a checksum that fuzzing does not get past.
///
/// # Errors
/// [`LvmError::Malformed`].
#[cfg(any(test, feature = "fuzz"))]
pub(super) fn describe(text: &[u8]) -> Result<Vec<LogicalVolume>, LvmError> {
    group::parse(text).map(|group| group.volumes(&[]))
}

fn keep_newest(groups: &mut Vec<group::Group>, group: group::Group) {
    match groups.iter_mut().find(|other| other.uuid == group.uuid) {
        Some(other) if other.sequence < group.sequence => *other = group,
        Some(_) => {}
        None => groups.push(group),
    }
}

#[cfg(test)]
mod tests;
