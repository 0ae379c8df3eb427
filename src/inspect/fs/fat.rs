//! FAT12, FAT16 and FAT32, with long names: the file systems of EFI, and of BIOS servers' tools. Names are looked up
//! without regard to case.
//!
//! Everything is found from the boot sector, the allocation table and directory entries, which are read where they lie; no
//! chain of clusters is followed further than a directory or a file can be long.

mod directory;
mod layout;

use std::io::{self, BufReader, Read};
use std::rc::Rc;

use self::directory::Item;
use self::layout::{Layout, Start};
use super::{Entry, FileSystem, FsError, FsKind, Identity, Kind, Metadata};
use crate::inspect::reader::DiskReader;

/// Bytes that are asked for at once; the largest cluster.
const BUFFER_BYTES: usize = 64 << 10;

/// A FAT file system.
#[derive(Debug)]
pub struct FatFs {
    volume: Rc<dyn DiskReader>,
    layout: Layout,
    identity: Identity,
}

/// What a path leads to.
enum Found {
    Top,
    Item(Item),
}

impl FatFs {
    /// The file system of a volume.
    ///
    /// # Errors
    /// [`FsError`], if it cannot be read.
    pub fn open(volume: &Rc<dyn DiskReader>) -> Result<Self, FsError> {
        let layout = Layout::read(volume)?;
        let mut fs = Self { volume: Rc::clone(volume), layout, identity: Identity::default() };
        let uuid = fs.layout.serial.map(|serial| format!("{:04X}-{:04X}", serial >> 16, serial & 0xffff));
        fs.identity = Identity { uuid, label: directory::label(&fs.bytes(fs.layout.top)?) };
        Ok(fs)
    }

    /// The bytes of a directory.
    fn bytes(&self, start: Start) -> Result<Vec<u8>, FsError> {
        match start {
            Start::Bytes(ref range) => {
                let len =
                    usize::try_from(range.len_bytes).ok().ok_or_else(|| FsError::malformed("the top directory"))?;
                let mut bytes = vec![0; len];
                self.volume.read_at(range.start, &mut bytes)?;
                Ok(bytes)
            }
            Start::Cluster(first) => {
                let mut bytes = Vec::new();
                let mut cluster = Some(first);
                while let Some(now) = cluster {
                    let at = bytes.len();
                    if at >= directory::MAX_BYTES {
                        return Err(FsError::Limit { what: "a directory", limit: directory::MAX_BYTES as u64 });
                    }
                    bytes.resize(at + self.layout.cluster_bytes, 0);
                    self.volume.read_at(self.layout.cluster_at(now)?, &mut bytes[at..])?;
                    cluster = self.layout.next(&self.volume, now)?;
                }
                Ok(bytes)
            }
        }
    }

    fn items(&self, found: &Found) -> Result<Option<Vec<Item>>, FsError> {
        let start = match found {
            Found::Top => self.layout.top,
            Found::Item(item) if item.is_directory => Start::Cluster(item.cluster),
            Found::Item(_) => return Ok(None),
        };
        Ok(Some(directory::items(&self.bytes(start)?)))
    }

    /// What a path leads to; none if it is not there, or something before its last component is no directory.
    fn find(&self, path: &str) -> Result<Option<Found>, FsError> {
        let mut found = Found::Top;
        for component in path.split('/').filter(|component| !component.is_empty()) {
            let Some(items) = self.items(&found)? else { return Ok(None) };
            match items.into_iter().find(|item| item.is_called(component)) {
                Some(item) => found = Found::Item(item),
                None => return Ok(None),
            }
        }
        Ok(Some(found))
    }
}

impl FileSystem for FatFs {
    fn kind(&self) -> FsKind {
        FsKind::Fat
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn metadata(&self, path: &str) -> Result<Option<Metadata>, FsError> {
        Ok(self.find(path)?.map(|found| match found {
            Found::Top => Metadata { kind: Kind::Directory, size_bytes: 0, mode: None },
            Found::Item(item) => Metadata { kind: item.kind(), size_bytes: item.size_bytes.into(), mode: None },
        }))
    }

    fn read_link(&self, path: &str) -> Result<String, FsError> {
        Err(FsError::malformed(format!("/{path} is no link")))
    }

    fn open(&self, path: &str) -> Result<Box<dyn Read + '_>, FsError> {
        let Some(Found::Item(item)) = self.find(path)? else {
            return Err(FsError::malformed(format!("/{path} is no ordinary file")));
        };
        if item.is_directory {
            return Err(FsError::malformed(format!("/{path} is no ordinary file")));
        }
        let cluster = (item.size_bytes > 0).then_some(item.cluster);
        let content = Content { fs: self, cluster, skip: 0, left_bytes: u64::from(item.size_bytes) };
        Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, content)))
    }

    fn list(&self, path: &str) -> Result<Vec<Entry>, FsError> {
        let found = self.find(path)?;
        let items = found.map(|found| self.items(&found)).transpose()?.flatten();
        let items = items.ok_or_else(|| FsError::malformed(format!("/{path} is no directory")))?;
        Ok(items.into_iter().map(|item| Entry { kind: item.kind(), name: item.into_name() }).collect())
    }
}

/// The content of a file.
struct Content<'a> {
    fs: &'a FatFs,
    /// The cluster that comes next, or is being read; none at the end of the chain.
    cluster: Option<u32>,
    /// Bytes of it that were read.
    skip: usize,
    /// Bytes of the file that were not.
    left_bytes: u64,
}

impl Content<'_> {
    fn advance(&mut self, out: &mut [u8]) -> Result<usize, FsError> {
        let layout = &self.fs.layout;
        let Some(cluster) = self.cluster else {
            return Err(FsError::malformed("a file that is shorter than it says"));
        };
        let left = usize::try_from(self.left_bytes).unwrap_or(usize::MAX);
        let len = out.len().min(left).min(layout.cluster_bytes - self.skip);
        self.fs.volume.read_at(layout.cluster_at(cluster)? + self.skip as u64, &mut out[..len])?;
        self.skip += len;
        self.left_bytes -= len as u64;
        if self.skip == layout.cluster_bytes && self.left_bytes > 0 {
            self.cluster = layout.next(&self.fs.volume, cluster)?;
            self.skip = 0;
        }
        Ok(len)
    }
}

impl Read for Content<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.left_bytes == 0 || out.is_empty() {
            return Ok(0);
        }
        self.advance(out).map_err(io::Error::other)
    }
}
