//! What an install that was cut off has left of its disk, and whether that is all that happened to it since.
//!
//! An agent that is back goes on with installs by itself. Meanwhile the disk was anybody's: it may hold by now what somebody
//! else has put there, who wants it to stay.

use uuid::Uuid;

use crate::disk::buffer::AlignedBuffer;
use crate::disk::device::BlockDevice;
use crate::disk::probe;
use crate::disk::table::TableError;
use crate::image::group::is_zero;
use crate::image::tree::{Group, Tree};

/// Whether a disk begins as an install has left it: as it was `before`, if the install had not begun to write; with its
/// marker; or with the image, if it is `installed`, which is on record from the moment before the disk can boot.
///
/// # Errors
/// If the disk cannot be read.
pub(super) fn is_as_left(
    device: &dyn BlockDevice,
    operation: Uuid,
    before: Option<blake3::Hash>,
    installed: Option<&Tree>,
) -> Result<bool, TableError> {
    let now = probe::look(device)?;
    let is_as_before = before.is_some() && now.first_block == before;
    match (is_as_before, now.marker, installed) {
        (true, _, _) => Ok(true),
        (false, Some(marker), _) => Ok(marker.operation == operation),
        (false, None, Some(tree)) => begins_with(device, tree),
        (false, None, None) => Ok(false),
    }
}

/// Whether the first group on a disk is that of an image.
fn begins_with(device: &dyn BlockDevice, tree: &Tree) -> Result<bool, TableError> {
    let (layout, geometry) = (tree.layout(), device.geometry());
    let Some(first) = tree.groups().first() else { return Ok(false) };
    let len = layout.group_len(0);
    let blocks = geometry.round_up(len as u64);
    if blocks > geometry.len_bytes {
        return Ok(false);
    }
    let mut read = AlignedBuffer::zeroed(usize::try_from(blocks).unwrap_or(usize::MAX));
    device.read_at(0, &mut read).map_err(|source| TableError::Unreadable { offset_bytes: 0, source })?;
    Ok(match first {
        Group::Hole => is_zero(&read[..len]),
        Group::Data(value) => layout.chaining_value(0, &read[..len]) == *value,
    })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::is_as_left;
    use crate::disk::buffer::AlignedBuffer;
    use crate::disk::device::BlockDevice as _;
    use crate::disk::marker::Marker;
    use crate::disk::mem::MemDevice;
    use crate::disk::probe;
    use crate::image::group::{GroupSize, Layout};
    use crate::image::tree::{Group, Tree};

    const OURS: Uuid = Uuid::from_u128(1);
    /// Four groups of the smallest size.
    const LEN: usize = 256 << 10;
    const GROUP: u64 = 64 << 10;

    fn disk(fill: u8) -> MemDevice {
        MemDevice::new(vec![fill; LEN], 512)
    }

    fn marked(operation: Uuid) -> MemDevice {
        let marker = Marker {
            operation,
            image_len_bytes: LEN as u64,
            group_size_bytes: GROUP,
            root: None,
            started_at: 0,
            reason: String::new(),
        };
        let device = disk(7);
        let mut block = AlignedBuffer::zeroed(512);
        block.copy_from_slice(&marker.encode());
        device.write_at(0, &block).expect("written");
        device
    }

    #[test]
    fn the_marker_of_the_install_and_what_was_there_before_it_are_what_it_left() {
        let before = |device: &MemDevice| probe::look(device).expect("readable").first_block;
        let (former, other) = (disk(1), disk(2));
        assert!(is_as_left(&marked(OURS), OURS, before(&former), None).expect("readable"));
        assert!(is_as_left(&former, OURS, before(&former), None).expect("readable"), "killed before it wrote anything");
        assert!(!is_as_left(&other, OURS, before(&former), None).expect("readable"), "somebody else has written it");
        assert!(!is_as_left(&former, OURS, None, None).expect("readable"), "nobody knows what was there");
        let another = marked(Uuid::from_u128(2));
        assert!(!is_as_left(&another, OURS, before(&former), None).expect("readable"), "another install was begun");
        assert!(is_as_left(&another, OURS, before(&another), None).expect("readable"), "which was there before");
    }

    #[test]
    fn a_disk_with_the_image_on_record_is_what_the_install_left() {
        let layout = Layout::new(LEN as u64, GroupSize::new(GROUP).expect("a size"));
        let value = layout.chaining_value(0, &vec![3; layout.group_len(0)]);
        let tree = |first| Tree::new(layout, vec![first, Group::Hole, Group::Hole, Group::Hole]).expect("a tree");
        let (data, hole) = (tree(Group::Data(value)), tree(Group::Hole));
        let is_left = |device: &MemDevice, tree: &Tree| is_as_left(device, OURS, None, Some(tree)).expect("readable");
        assert!(is_left(&disk(3), &data) && is_left(&disk(0), &hole));
        assert!(!is_left(&disk(4), &data) && !is_left(&disk(4), &hole), "it was written since");
        assert!(!is_left(&marked(Uuid::from_u128(2)), &data), "another install was begun since");
        let short = MemDevice::new(vec![3; LEN / 8], 512);
        assert!(!is_left(&short, &data), "the image never fitted there");
    }
}
