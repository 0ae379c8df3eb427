//! The oldest form: a hash of Berkeley DB. Headers are so long that each lies on pages of its own.

use super::{MAX_HEADER_BYTES, MAX_HEADERS, u16_le, u32_le};

const MAGIC: u32 = 0x0006_1561;
const MAGIC_OFFSET: usize = 12;
const PAGE_SIZE_OFFSET: usize = 20;
/// Bytes at the begin of each page.
const HEAD_BYTES: usize = 26;
const NEXT_OFFSET: usize = 16;
const ENTRIES_OFFSET: usize = 20;
/// On a page of a long value: how many bytes of it are there.
const LEN_OFFSET: usize = 22;
const TYPE_OFFSET: usize = 25;
/// Pages of the hash, sorted and not.
const HASH_PAGES: [u8; 2] = [2, 13];
const LONG_PAGE: u8 = 7;
/// An entry that only tells where a long value begins.
const LONG_ENTRY: u8 = 3;

/// Shows the begins of all headers; none if it is no such database, or has too many.
pub(super) fn headers(database: &[u8], show: &mut dyn FnMut(&[u8])) -> Option<()> {
    let page_size = usize::try_from(u32_le(database, PAGE_SIZE_OFFSET)?).ok()?;
    if u32_le(database, MAGIC_OFFSET)? != MAGIC || !page_size.is_power_of_two() || !(512..=65536).contains(&page_size) {
        return None;
    }
    let mut left = MAX_HEADERS;
    for page in database.chunks_exact(page_size).skip(1) {
        if !HASH_PAGES.contains(&page[TYPE_OFFSET]) {
            continue;
        }
        let entries = usize::from(u16_le(page, ENTRIES_OFFSET)?);
        // Keys and values take turns.
        for at in (1..entries).step_by(2) {
            let entry = page.get(usize::from(u16_le(page, HEAD_BYTES + 2 * at)?)..)?;
            if entry.first() == Some(&LONG_ENTRY) {
                left = left.checked_sub(1)?;
                show(&long_value(database, page_size, u32_le(entry, 4)?)?);
            }
        }
    }
    Some(())
}

/// The begin of a value that goes on from page to page.
fn long_value(database: &[u8], page_size: usize, first: u32) -> Option<Vec<u8>> {
    let mut value = Vec::new();
    let mut number = first;
    while number != 0 && value.len() < MAX_HEADER_BYTES {
        let at = usize::try_from(number).ok()?.checked_mul(page_size)?;
        let page = database.get(at..at.checked_add(page_size)?)?;
        let len = usize::from(u16_le(page, LEN_OFFSET)?);
        number = u32_le(page, NEXT_OFFSET)?;
        // All but the last are full; others could lead in circles for long.
        if page[TYPE_OFFSET] != LONG_PAGE || (number != 0 && HEAD_BYTES + len != page_size) {
            return None;
        }
        value.extend_from_slice(page.get(HEAD_BYTES..HEAD_BYTES + len)?);
    }
    Some(value)
}
