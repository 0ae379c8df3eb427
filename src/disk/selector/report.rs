//! The table of candidates in an error: plain text, bounded.

use crate::byte_size::ByteSize;
use crate::disk::discovery::Disk;

/// Most disks that one table shows: a gRPC error travels in a header of a few KiB.
const MAX_ROWS: usize = 12;
/// Most names that metadata holds.
const MAX_NAMES: usize = 64;
/// Widest cell, in characters.
const MAX_CELL_CHARS: usize = 40;
/// The columns.
const TITLES: [&str; 8] = [
    "NAME",
    "SIZE",
    "BYTES",
    "SERIAL",
    "WWN",
    "MODEL",
    "TRANSPORT",
    "WHY NOT",
];

/// A table of disks, each with a remark. A column without a value is left out.
pub(super) fn table<'a>(disks: impl ExactSizeIterator<Item = (&'a Disk, String)>) -> String {
    if disks.len() == 0 {
        return "  there are no disks".to_owned();
    }
    let hidden = disks.len().saturating_sub(MAX_ROWS);
    let mut rows = vec![TITLES.map(str::to_owned)];
    rows.extend(disks.take(MAX_ROWS).map(|(disk, remark)| row(disk, remark)));
    let widths = widths(&rows);
    let mut lines: Vec<String> = rows.iter().map(|row| line(row, &widths)).collect();
    if hidden > 0 {
        lines.push(format!("  and {hidden} more"));
    }
    lines.join("\n")
}

/// The kernel names of disks.
pub(super) fn names(disks: &[&Disk]) -> Vec<String> {
    disks.iter().take(MAX_NAMES).map(|disk| disk.name.clone()).collect()
}

fn row(disk: &Disk, remark: String) -> [String; 8] {
    let known = |value: &Option<String>| value.as_deref().map_or_else(|| "-".to_owned(), cell);
    [
        cell(&disk.name),
        ByteSize(disk.size_bytes).to_string(),
        disk.size_bytes.to_string(),
        known(&disk.identity.serial),
        known(&disk.identity.wwn),
        known(&disk.model),
        disk.transport.to_string(),
        remark,
    ]
}

fn cell(text: &str) -> String {
    let mut shown: String = text.chars().take(MAX_CELL_CHARS).collect();
    if text.chars().nth(MAX_CELL_CHARS).is_some() {
        shown.push('\u{2026}');
    }
    shown
}

/// Widths of the columns; 0 for one without a value.
fn widths(rows: &[[String; 8]]) -> [usize; 8] {
    std::array::from_fn(|column| {
        let widths = || rows.iter().map(|row| row[column].chars().count());
        let empty = widths().skip(1).all(|width| width == 0);
        if empty { 0 } else { widths().max().unwrap_or(0) }
    })
}

fn line(row: &[String; 8], widths: &[usize; 8]) -> String {
    let cells = row.iter().zip(widths).filter(|(_, width)| **width > 0);
    let padded: String = cells.map(|(cell, &width)| format!("  {cell:width$}")).collect();
    padded.trim_end().to_owned()
}
