//! NTFS, through `ntfs`: names are looked up without regard to case, as Windows does, and files that Windows packs or
//! encrypts are not supported. A volume that Windows did not close is read as it is, without what its log holds.

mod reparse;

use std::cell::RefCell;
use std::fmt;
use std::io::{Read, SeekFrom};
use std::rc::Rc;

use ::ntfs::indexes::NtfsFileNameIndex;
use ::ntfs::structured_values::{NtfsFileAttributeFlags, NtfsFileNamespace};
use ::ntfs::{Ntfs, NtfsAttributeFlags, NtfsAttributeItem, NtfsError, NtfsFile, NtfsFileFlags, NtfsReadSeek as _};

use self::reparse::Reparse;
use super::source::{Allowance, Source};
use super::stream::{self, ContentAt};
use super::{Entry, FileSystem, FsError, FsKind, Identity, Kind, MAX_ENTRIES, Metadata};
use crate::inspect::reader::DiskReader;

/// A path, and the records and indexes on the way.
const LOOK_UP: Allowance = Allowance { what: "a look-up", limit_bytes: 64 << 20 };
/// A directory of 100,000 names has 16 MiB; a record is read again for each link in it.
const DIRECTORY: Allowance = Allowance { what: "a directory", limit_bytes: 256 << 20 };
/// One piece of a file.
const CONTENT: Allowance = Allowance { what: "a piece of a file", limit_bytes: 64 << 20 };
/// Blocks of an index are counted in clusters only up to this size, in bytes; the parser knows no other way.
const MAX_CLUSTER_BYTES: u32 = 4096;
/// Where a value that does not fit into the record says how much of it was ever written, from the begin of the attribute.
const INITIALIZED_AT: u64 = 56;
/// The last two bytes of each sector of a record stand elsewhere: here, the highest of a number that is never so high.
const SECTOR_BYTES: u64 = 512;

/// An NTFS file system.
pub struct NtfsFs {
    ntfs: Ntfs,
    source: RefCell<Source>,
    identity: Identity,
}

impl NtfsFs {
    /// The file system of a volume.
    ///
    /// # Errors
    /// [`FsError`], if it cannot be read.
    pub fn open(volume: &Rc<dyn DiskReader>) -> Result<Self, FsError> {
        let mut source = Source::new(Rc::clone(volume));
        source.begin(LOOK_UP);
        let opened = open(&mut source);
        let (ntfs, label) = opened.map_err(|error| source.blame(error, failed))?;
        if ntfs.cluster_size() > MAX_CLUSTER_BYTES {
            return Err(FsError::unsupported(format!("NTFS with clusters of {} bytes", ntfs.cluster_size())));
        }
        let identity = Identity { uuid: Some(format!("{:016X}", ntfs.serial_number())), label };
        Ok(Self { ntfs, source: RefCell::new(source), identity })
    }

    /// Asks the parser, and says what went wrong as this project does.
    fn ask<'n, T>(
        &'n self,
        allowance: Allowance,
        question: impl FnOnce(&'n Ntfs, &mut Source) -> Result<T, NtfsError>,
    ) -> Result<T, FsError> {
        let source = &mut *self.source.borrow_mut();
        source.begin(allowance);
        question(&self.ntfs, source).map_err(|error| source.blame(error, failed))
    }

    /// A file or directory; none if it is not there, or something before its last component is no directory.
    fn find(&self, path: &str) -> Result<Option<NtfsFile<'_>>, FsError> {
        self.ask(LOOK_UP, |ntfs, source| {
            let mut file = ntfs.root_directory(source)?;
            for component in path.split('/').filter(|component| !component.is_empty()) {
                if !file.is_directory() || Reparse::of(&file, source)?.is_some() {
                    return Ok(None);
                }
                match child(ntfs, source, &file, component)? {
                    Some(found) => file = found,
                    None => return Ok(None),
                }
            }
            Ok(Some(file))
        })
    }

    /// What a file is, and whether it is packed or leads elsewhere.
    fn stat(&self, file: &NtfsFile<'_>) -> Result<(Metadata, Option<Reparse>), FsError> {
        self.ask(LOOK_UP, |_, source| {
            let reparse = Reparse::of(file, source)?;
            let kind = kind_of(file.is_directory(), reparse.as_ref());
            let size_bytes = match kind {
                Kind::File => match content(file, source)? {
                    Some(data) => data.to_attribute()?.value_length(),
                    None => 0,
                },
                Kind::Directory | Kind::Symlink | Kind::Special => 0,
            };
            Ok((Metadata { kind, size_bytes, mode: None }, reparse))
        })
    }

    /// A path that must be there, as what it was found to be.
    fn must(&self, path: &str, kind: Kind) -> Result<(NtfsFile<'_>, Metadata, Option<Reparse>), FsError> {
        let changed = || FsError::malformed(format!("/{path} is not what it was"));
        let file = self.find(path)?.ok_or_else(changed)?;
        let (metadata, reparse) = self.stat(&file)?;
        if metadata.kind == kind { Ok((file, metadata, reparse)) } else { Err(changed()) }
    }
}

/// Reads what every question needs, and the name of the volume.
fn open(source: &mut Source) -> Result<(Ntfs, Option<String>), NtfsError> {
    let mut ntfs = Ntfs::new(source)?;
    ntfs.read_upcase_table(source)?;
    let label = ntfs.volume_name(source).transpose()?.map(|label| super::utf16(label.name().u16_iter()));
    Ok((ntfs, label.filter(|label| !label.is_empty())))
}

/// The file of a name in a directory.
fn child<'n>(
    ntfs: &'n Ntfs,
    source: &mut Source,
    directory: &NtfsFile<'n>,
    name: &str,
) -> Result<Option<NtfsFile<'n>>, NtfsError> {
    let index = directory.directory_index(source)?;
    let mut finder = index.finder();
    let Some(entry) = NtfsFileNameIndex::find(&mut finder, ntfs, source, name).transpose()? else { return Ok(None) };
    let reference = entry.file_reference();
    let file = reference.to_file(ntfs, source)?;
    // A record that was used again for another file has another number.
    let same = file.sequence_number() == reference.sequence_number() && file.flags().contains(NtfsFileFlags::IN_USE);
    Ok(same.then_some(file))
}

/// The attribute with the content of a file.
fn content<'n, 'f>(
    file: &'f NtfsFile<'n>,
    source: &mut Source,
) -> Result<Option<NtfsAttributeItem<'n, 'f>>, NtfsError> {
    file.data(source, "").transpose()
}

impl fmt::Debug for NtfsFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NtfsFs").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl FileSystem for NtfsFs {
    fn kind(&self) -> FsKind {
        FsKind::Ntfs
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn metadata(&self, path: &str) -> Result<Option<Metadata>, FsError> {
        let Some(file) = self.find(path)? else { return Ok(None) };
        Ok(Some(self.stat(&file)?.0))
    }

    fn read_link(&self, path: &str) -> Result<String, FsError> {
        match self.must(path, Kind::Symlink)?.2 {
            Some(Reparse::Link { target }) => Ok(target),
            Some(Reparse::Packed) | None => Err(FsError::malformed(format!("/{path} is no link"))),
        }
    }

    fn open(&self, path: &str) -> Result<Box<dyn Read + '_>, FsError> {
        let (file, metadata, reparse) = self.must(path, Kind::File)?;
        if reparse.is_some() {
            return Err(FsError::unsupported("a file that Windows packs or keeps elsewhere"));
        }
        let number = file.file_record_number();
        let initialized_bytes = self.ask(LOOK_UP, |_, source| {
            let Some(data) = content(&file, source)? else { return Ok(Ok(0)) };
            let attribute = data.to_attribute()?;
            if attribute.flags().intersects(NtfsAttributeFlags::COMPRESSED | NtfsAttributeFlags::ENCRYPTED) {
                return Ok(Err(FsError::unsupported("a file that NTFS compresses or encrypts")));
            }
            Ok(Ok(if attribute.is_resident() {
                metadata.size_bytes
            } else {
                initialized(source, attribute.position().value().map_or(0, std::num::NonZero::get))?
            }))
        })??;
        Ok(stream::read(Content { fs: self, number, initialized_bytes }, metadata.size_bytes))
    }

    fn list(&self, path: &str) -> Result<Vec<Entry>, FsError> {
        let (directory, ..) = self.must(path, Kind::Directory)?;
        self.ask(DIRECTORY, |ntfs, source| {
            let index = directory.directory_index(source)?;
            let mut found = index.entries();
            let mut entries = Vec::new();
            while let Some(entry) = found.next(source) {
                let entry = entry?;
                let Some(key) = entry.key().transpose()? else { continue };
                let name = super::utf16(key.name().u16_iter());
                if key.namespace() == NtfsFileNamespace::Dos || name == "." {
                    continue;
                }
                if entries.len() == MAX_ENTRIES {
                    return Ok(Err(FsError::Limit { what: "a directory", limit: MAX_ENTRIES as u64 }));
                }
                let reparse = match key.file_attributes().contains(NtfsFileAttributeFlags::REPARSE_POINT) {
                    true => Reparse::of(&entry.to_file(ntfs, source)?, source)?,
                    false => None,
                };
                entries.push(Entry { name, kind: kind_of(key.is_directory(), reparse.as_ref()) });
            }
            Ok(Ok(entries))
        })?
    }
}

/// The content of a file.
struct Content<'a> {
    fs: &'a NtfsFs,
    /// Of its record.
    number: u64,
    /// What lies beyond this was never written, whatever the disk holds there.
    initialized_bytes: u64,
}

impl ContentAt for Content<'_> {
    fn content_at(&self, offset: u64, out: &mut [u8]) -> Result<usize, FsError> {
        let written = usize::try_from(self.initialized_bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let (written, zeroes) = out.split_at_mut(written.min(out.len()));
        zeroes.fill(0);
        self.fs.ask(CONTENT, |ntfs, source| {
            let file = ntfs.file(source, self.number)?;
            let Some(data) = content(&file, source)? else { return Ok(0) };
            let mut value = data.to_attribute()?.value(source)?;
            value.seek(source, SeekFrom::Start(offset))?;
            value.read_exact(source, written).map(|()| written.len() + zeroes.len())
        })
    }
}

/// How much of a value outside its record was ever written, in bytes; `attribute_at` is where the attribute begins.
fn initialized(source: &mut Source, attribute_at: u64) -> Result<u64, NtfsError> {
    let at = attribute_at.saturating_add(INITIALIZED_AT);
    let mut number = [0; 8];
    std::io::Seek::seek(source, SeekFrom::Start(at))?;
    Read::read_exact(source, &mut number)?;
    if at % SECTOR_BYTES == SECTOR_BYTES - 8 {
        number[6..].fill(0);
    }
    Ok(u64::from_le_bytes(number))
}

const fn kind_of(is_directory: bool, reparse: Option<&Reparse>) -> Kind {
    match (reparse, is_directory) {
        (Some(Reparse::Link { .. }), _) => Kind::Symlink,
        (Some(Reparse::Packed) | None, true) => Kind::Directory,
        (Some(Reparse::Packed) | None, false) => Kind::File,
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the parser has many words for what is malformed")]
fn failed(error: NtfsError) -> FsError {
    match error {
        NtfsError::UnsupportedClusterSize { .. } | NtfsError::UnsupportedSectorSize { .. } => {
            FsError::unsupported(error.to_string())
        }
        NtfsError::Io(error) => FsError::from(error),
        error => FsError::malformed(error.to_string()),
    }
}
