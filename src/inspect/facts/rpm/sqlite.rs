//! The newest form: a table `Packages` of an SQLite file. Only what is in the file itself is seen, not a journal beside it.

use super::{MAX_HEADER_BYTES, MAX_HEADERS, u16_be, u32_be};

const MAGIC: &[u8] = b"SQLite format 3\0";
/// Bytes at the begin of the first page that belong to the file.
const FILE_HEAD_BYTES: usize = 100;
const INTERIOR: u8 = 5;
const LEAF: u8 = 13;
const TABLE: &[u8] = b"Packages";
/// Columns of the table of tables.
const NAME_COLUMN: usize = 1;
const ROOT_COLUMN: usize = 3;
/// Column of a header, behind its number.
const BLOB_COLUMN: usize = 1;

/// Shows the begins of all headers; none if it is no such database, or has too many.
pub(super) fn headers(database: &[u8], show: &mut dyn FnMut(&[u8])) -> Option<()> {
    let file = File::open(database)?;
    let mut root = None;
    file.rows(1, &mut |row| {
        if column(row, NAME_COLUMN) == Some(TABLE) {
            root = column(row, ROOT_COLUMN).map(number);
        }
    })?;
    file.rows(root?, &mut |row| show(column(row, BLOB_COLUMN).unwrap_or_default()))
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

/// A file of pages.
struct File<'a> {
    content: &'a [u8],
    page_size: usize,
    /// Bytes of a page that are in use.
    usable: usize,
}

impl<'a> File<'a> {
    fn open(content: &'a [u8]) -> Option<Self> {
        let page_size = match u16_be(content, 16)? {
            1 => 65536,
            size => usize::from(size),
        };
        let usable = page_size.checked_sub(usize::from(*content.get(20)?))?;
        let is_sound = content.starts_with(MAGIC) && page_size.is_power_of_two() && usable >= 480;
        is_sound.then_some(Self { content, page_size, usable })
    }

    fn page(&self, number: u64) -> Option<&'a [u8]> {
        let at = usize::try_from(number.checked_sub(1)?).ok()?.checked_mul(self.page_size)?;
        self.content.get(at..at.checked_add(self.page_size)?)
    }

    /// Shows the begins of all rows of the table with this root.
    fn rows(&self, root: u64, show: &mut dyn FnMut(&[u8])) -> Option<()> {
        let mut todo = vec![root];
        // No page of a sound file is met twice.
        let mut pages = self.content.len() / self.page_size;
        let mut rows = MAX_HEADERS;
        while let Some(number) = todo.pop() {
            pages = pages.checked_sub(1)?;
            let page = self.page(number)?;
            let head = if number == 1 { FILE_HEAD_BYTES } else { 0 };
            let cells = usize::from(u16_be(page, head + 3)?);
            match *page.get(head)? {
                LEAF => {
                    rows = rows.checked_sub(cells)?;
                    for cell in 0..cells {
                        show(&self.row(cell_of(page, head + 8, cell)?)?);
                    }
                }
                INTERIOR => {
                    todo.push(u64::from(u32_be(page, head + 8)?));
                    for cell in 0..cells {
                        todo.push(u64::from(u32_be(cell_of(page, head + 12, cell)?, 0)?));
                    }
                }
                _ => return None,
            }
        }
        Some(())
    }

    /// The begin of a row, which may go on from page to page.
    fn row(&self, cell: &[u8]) -> Option<Vec<u8>> {
        let (len, rest) = varint(cell)?;
        let (_, rest) = varint(rest)?;
        let len = usize::try_from(len).ok()?;
        let local = self.local(len);
        let mut row = rest.get(..local)?.to_vec();
        let mut next = if local < len { u32_be(rest, local)? } else { 0 };
        let wanted = len.min(MAX_HEADER_BYTES);
        while row.len() < wanted {
            let page = self.page(u64::from(next))?;
            let end = self.usable.min(4 + wanted - row.len());
            row.extend_from_slice(page.get(4..end)?);
            next = u32_be(page, 0)?;
        }
        Some(row)
    }

    /// How many bytes of a row are in its cell, by the rule of the file format.
    const fn local(&self, len: usize) -> usize {
        let most = self.usable - 35;
        if len <= most {
            return len;
        }
        let least = (self.usable - 12) * 32 / 255 - 23;
        let fitting = least + (len - least) % (self.usable - 4);
        if fitting <= most { fitting } else { least }
    }
}

/// A cell of a page, by the list of pointers at `pointers`.
fn cell_of(page: &[u8], pointers: usize, cell: usize) -> Option<&[u8]> {
    page.get(usize::from(u16_be(page, pointers + 2 * cell)?)..)
}

/// What is there of a column of a row: a number as its bytes, a text, a blob.
fn column(row: &[u8], wanted: usize) -> Option<&[u8]> {
    let (head, mut types) = varint(row)?;
    let end = usize::try_from(head).ok()?;
    types = types.get(..end.checked_sub(row.len() - types.len())?)?;
    let mut at = end;
    for _ in 0..wanted {
        let (kind, rest) = varint(types)?;
        at = at.checked_add(len_of(kind)?)?;
        types = rest;
    }
    let (kind, _) = varint(types)?;
    let rest = row.get(at..)?;
    Some(&rest[..len_of(kind)?.min(rest.len())])
}

/// Bytes that a value of a kind takes.
fn len_of(kind: u64) -> Option<usize> {
    match kind {
        0 | 8 | 9 => Some(0),
        1..=4 => usize::try_from(kind).ok(),
        5 => Some(6),
        6 | 7 => Some(8),
        10 | 11 => None,
        text_or_blob => usize::try_from((text_or_blob - 12) / 2).ok(),
    }
}

/// A number of one to nine bytes, and what follows it.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0;
    for at in 0..8 {
        let byte = *bytes.get(at)?;
        number = (number << 7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((number, bytes.get(at + 1..)?));
        }
    }
    Some(((number << 8) | u64::from(*bytes.get(8)?), bytes.get(9..)?))
}
