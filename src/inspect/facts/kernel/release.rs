//! Of which release a kernel is: by its name, else by what it says of itself.

use std::collections::BTreeMap;
use std::io::{BufReader, Read};

use crate::inspect::facts::boot::BootEntry;
use crate::inspect::facts::compressed::Compression;
use crate::inspect::fs::{FsError, Kind};
use crate::inspect::root::Root;

/// What kernels are called in /boot, before their release.
const NAMES: [&str; 6] = ["vmlinuz-", "vmlinux-", "Image-", "Image.gz-", "kernel-", "bzImage-"];
/// What dracut calls its rescue kernel instead of a release: it is a copy of another.
const RESCUE: &str = "0-rescue-";
/// Where a kernel for a PC says what it is, in bytes: a signature, and where the text is, relative to the second sector.
const PC_SIGNATURE: (usize, &[u8]) = (0x202, b"HdrS");
const PC_TEXT_POINTER: usize = 0x20e;
const SECTOR_BYTES: usize = 512;
/// What any kernel has in it that is not compressed.
const BANNER: &[u8] = b"Linux version ";
/// Most that is searched for the banner, in bytes.
const MAX_IMAGE_BYTES: u64 = 96 << 20;
/// Bytes that are searched at once, and the longest release.
const PIECE_BYTES: usize = 256 << 10;
const MAX_RELEASE_BYTES: usize = 128;

/// Kernels in /boot that are called by their release: paths by release.
pub(super) fn in_boot(root: &Root<'_>) -> Result<BTreeMap<String, String>, FsError> {
    let mut kernels = BTreeMap::new();
    for entry in root.list("/boot")?.unwrap_or_default() {
        let Some(release) = by_name(&entry.name) else { continue };
        let found = root.find(&format!("/boot/{}", entry.name))?;
        if let Some(found) = found.filter(|found| found.metadata.kind == Kind::File) {
            kernels.entry(release.to_owned()).or_insert(found.path);
        }
    }
    Ok(kernels)
}

/// The release of the kernel that a menu's entry boots, if the entry names it.
pub(super) fn of_entry(entry: &BootEntry) -> Option<&str> {
    let mut parts = entry.linux.rsplit('/');
    let by_name = parts.next().and_then(by_name);
    // The layout of systemd: the machine, the release, then plain `linux`.
    let is_plain = entry.linux.ends_with("/linux") && entry.linux.split('/').count() > 2;
    let by_directory = parts.next().filter(|_| is_plain);
    let version = entry.version.as_deref().filter(|version| !version.starts_with(RESCUE));
    version.or(by_name).or(by_directory).filter(|release| !release.is_empty())
}

/// Whether an entry boots dracut's rescue kernel. Its initramfs has drivers that the real ones may lack.
pub(super) fn is_rescue(entry: &BootEntry) -> bool {
    let file = entry.linux.rsplit('/').next().unwrap_or_default();
    let release = NAMES.into_iter().find_map(|prefix| file.strip_prefix(prefix)).unwrap_or(file);
    [Some(release), entry.version.as_deref()].into_iter().flatten().any(|name| name.starts_with(RESCUE))
}

/// The release in the name of a kernel; none in that of a rescue kernel.
fn by_name(name: &str) -> Option<&str> {
    let release = NAMES.into_iter().find_map(|prefix| name.strip_prefix(prefix))?;
    let is_release = release.starts_with(|letter: char| letter.is_ascii_digit()) && !release.starts_with(RESCUE);
    (is_release && !release.ends_with(".hmac") && !release.ends_with(".old")).then_some(release)
}

/// The release of the kernel at `image`, as it says itself; none if it does not.
pub(super) fn by_content(root: &Root<'_>, image: &str) -> Result<Option<String>, FsError> {
    let Some(file) = root.open(image)? else { return Ok(None) };
    let mut file = BufReader::with_capacity(PIECE_BYTES, file.take(MAX_IMAGE_BYTES));
    match Compression::peek(&mut file)? {
        // What cannot be unpacked tells nothing.
        Some(compression) => Ok(compression.decoder(&mut file).and_then(search).ok().flatten()),
        None => Ok(search(file)?),
    }
}

/// Looks for a release: where a kernel for a PC has it, and behind the banner.
fn search(from: impl Read) -> std::io::Result<Option<String>> {
    let mut from = from.take(MAX_IMAGE_BYTES);
    let mut piece = Vec::new();
    let mut is_first = true;
    loop {
        let kept = piece.len();
        from.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut piece)?;
        if piece.len() == kept {
            return Ok(None);
        }
        let release = if is_first { of_pc(&piece).or_else(|| of_banner(&piece)) } else { of_banner(&piece) };
        if release.is_some() {
            return Ok(release);
        }
        is_first = false;
        // A banner may lie across two pieces.
        let overlap = BANNER.len() + MAX_RELEASE_BYTES;
        piece.drain(..piece.len().saturating_sub(overlap));
    }
}

/// The release that a kernel for a PC says in its header.
pub(super) fn of_pc(image: &[u8]) -> Option<String> {
    let (offset, signature) = PC_SIGNATURE;
    if !image.get(offset..)?.starts_with(signature) {
        return None;
    }
    let pointer = usize::from(u16::from_le_bytes(*image.get(PC_TEXT_POINTER..)?.first_chunk()?));
    first_word(image.get(SECTOR_BYTES + pointer..)?)
}

fn of_banner(piece: &[u8]) -> Option<String> {
    let at = piece.windows(BANNER.len()).position(|window| window == BANNER)?;
    first_word(&piece[at + BANNER.len()..])
}

/// A release at the begin of a text, which ends with a blank.
fn first_word(text: &[u8]) -> Option<String> {
    let text = &text[..text.len().min(MAX_RELEASE_BYTES)];
    let end = text.iter().position(|&byte| byte == b' ')?;
    let word = std::str::from_utf8(&text[..end]).ok()?;
    let is_release = word.starts_with(|letter: char| letter.is_ascii_digit());
    (is_release && word.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')).then(|| word.to_owned())
}
