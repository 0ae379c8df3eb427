//! Reparse points: links and junctions of Windows, and files whose content is not where it seems to be. The layout is that
//! of `REPARSE_DATA_BUFFER` in the Windows Driver Kit.

use ::ntfs::structured_values::NtfsFileAttributeFlags;
use ::ntfs::{NtfsAttributeType, NtfsError, NtfsFile, NtfsReadSeek as _};

use super::Source;

const TAG_MOUNT_POINT: u32 = 0xa000_0003;
const TAG_SYMLINK: u32 = 0xa000_000c;
/// Most bytes of a reparse point, as Windows limits them.
const MAX_BYTES: u64 = 16 << 10;

/// What a reparse point says of its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reparse {
    /// It leads elsewhere.
    Link {
        /// Where, with slashes; from the top of this file system if it begins with one.
        target: String,
    },
    /// Its content is not in it: it is packed, shared with others or on a server.
    Packed,
}

impl Reparse {
    /// That of a file; none if it is an ordinary one.
    pub(super) fn of(file: &NtfsFile<'_>, source: &mut Source) -> Result<Option<Self>, NtfsError> {
        if !file.info()?.file_attributes().contains(NtfsFileAttributeFlags::REPARSE_POINT) {
            return Ok(None);
        }
        let mut attributes = file.attributes();
        while let Some(item) = attributes.next(source) {
            let item = item?;
            let attribute = item.to_attribute()?;
            if attribute.ty()? == NtfsAttributeType::ReparsePoint {
                let len = usize::try_from(attribute.value_length().min(MAX_BYTES)).unwrap_or(0);
                let mut bytes = vec![0; len];
                attribute.value(source)?.read_exact(source, &mut bytes)?;
                return Ok(Some(Self::parse(&bytes)));
            }
        }
        Ok(Some(Self::Packed))
    }

    fn parse(bytes: &[u8]) -> Self {
        let le16 = |at: usize| bytes.get(at..)?.first_chunk().copied().map(u16::from_le_bytes).map(usize::from);
        let tag = bytes.first_chunk().copied().map(u32::from_le_bytes);
        let names = match tag {
            Some(TAG_SYMLINK) => 20,
            Some(TAG_MOUNT_POINT) => 16,
            Some(_) | None => return Self::Packed,
        };
        let substitute = || {
            let (at, len) = (le16(8)?, le16(10)?);
            bytes.get(names..)?.get(at..)?.get(..len)
        };
        substitute().map_or(Self::Packed, |name| Self::Link { target: target(name) })
    }
}

/// Where a link leads, given as UTF-16: the names of Windows' own tree begin with `\??\`, and then with a drive, which can
/// only be this one.
fn target(name: &[u8]) -> String {
    let units = name.as_chunks().0.iter().map(|unit| u16::from_le_bytes(*unit));
    let target = crate::inspect::fs::utf16(units);
    let target = target.strip_prefix(r"\??\").unwrap_or(&target);
    let target = match target.split_once(':') {
        Some((drive, rest)) if drive.len() == 1 => rest,
        _ => target,
    };
    target.replace('\\', "/")
}

#[cfg(test)]
mod tests {
    use super::{Reparse, TAG_MOUNT_POINT, TAG_SYMLINK};

    fn point(tag: u32, header: usize, target: &str) -> Vec<u8> {
        let name: Vec<u8> = target.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let mut bytes = tag.to_le_bytes().to_vec();
        bytes.resize(8, 0);
        bytes.extend([0, 0]);
        bytes.extend(u16::try_from(name.len()).expect("short").to_le_bytes());
        bytes.resize(header, 0);
        bytes.extend(name);
        bytes
    }

    #[test]
    fn links_and_junctions_lead_into_this_file_system() {
        for (written, meant) in [
            (r"\??\C:\Users\All", "/Users/All"),
            (r"..\other\file", "../other/file"),
            (r"C:\x", "/x"),
            ("name", "name"),
        ] {
            let target = Reparse::Link { target: meant.to_owned() };
            assert_eq!(Reparse::parse(&point(TAG_SYMLINK, 20, written)), target);
            assert_eq!(Reparse::parse(&point(TAG_MOUNT_POINT, 16, written)), target);
        }
    }

    #[test]
    fn what_is_no_link_or_ends_early_is_packed() {
        let link = point(TAG_SYMLINK, 20, r"C:\x");
        for bytes in [&[][..], &link[..19], &link[..link.len() - 1], &point(0x8000_0017, 20, "x")] {
            assert_eq!(Reparse::parse(bytes), Reparse::Packed, "{bytes:?}");
        }
    }
}
