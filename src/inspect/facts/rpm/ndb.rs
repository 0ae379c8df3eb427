//! The form that SUSE uses: a table of slots, and blobs that they point to.

use super::{MAX_HEADER_BYTES, MAX_HEADERS, u32_le};

const MAGIC: &[u8] = b"RpmP";
const SLOT: &[u8] = b"Slot";
const BLOB: &[u8] = b"BlbS";
/// Pages of the table, in a word of the first slots' place.
const PAGES_OFFSET: usize = 12;
const PAGE_BYTES: usize = 4096;
const SLOT_BYTES: usize = 16;
/// Slots that are the head of the database.
const HEAD_SLOTS: usize = 2;
const BLOCK_BYTES: usize = 16;

/// Shows the begins of all headers; none if it is no such database, or has too many.
pub(super) fn headers(database: &[u8], show: &mut dyn FnMut(&[u8])) -> Option<()> {
    if !database.starts_with(MAGIC) {
        return None;
    }
    let pages = usize::try_from(u32_le(database, PAGES_OFFSET)?).ok()?;
    let table = database.get(..pages.checked_mul(PAGE_BYTES)?)?;
    let slots = table.chunks_exact(SLOT_BYTES).skip(HEAD_SLOTS);
    let used = slots.filter(|slot| slot.starts_with(SLOT) && u32_le(slot, 4) != Some(0));
    let mut left = MAX_HEADERS;
    for slot in used {
        left = left.checked_sub(1)?;
        show(header(database, slot)?);
    }
    Some(())
}

fn header<'a>(database: &'a [u8], slot: &[u8]) -> Option<&'a [u8]> {
    let at = usize::try_from(u32_le(slot, 8)?).ok()?.checked_mul(BLOCK_BYTES)?;
    let blob = database.get(at..)?;
    let len = usize::try_from(u32_le(blob, 12)?).ok()?;
    let content = blob.get(16..)?;
    (blob.starts_with(BLOB) && len <= content.len()).then(|| &content[..len.min(MAX_HEADER_BYTES)])
}
