//! What a module says of itself, in the `.modinfo` section of its file.

use std::io::{self, BufReader, Read};

use object::{Object as _, ObjectSection as _};

use crate::inspect::facts::compressed::Compression;
use crate::inspect::fs::{FsError, Kind};
use crate::inspect::root::Root;

/// Longest module, in bytes, when it is unpacked.
const MAX_MODULE_BYTES: u64 = 32 << 20;
/// Bytes that are read at once.
const BUFFER_BYTES: usize = 64 << 10;

/// What the `.modinfo` section of a module says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModuleInfo {
    /// The file, as a path in the image, behind all links: a module of `weak-updates` is that of another kernel.
    pub file: String,
    /// `version=`.
    pub version: Option<String>,
    /// `vermagic=`: the release of the kernel it is for comes first.
    pub vermagic: Option<String>,
    /// `alias=`, in order: patterns of modaliases.
    pub aliases: Vec<String>,
}

impl ModuleInfo {
    /// The release of the kernel that the module was made for.
    pub fn release(&self) -> Option<&str> {
        self.vermagic.as_deref()?.split_whitespace().next()
    }
}

/// Why it is not known what a module says.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// There is no such file; a link may lead nowhere.
    #[error("there is no file")]
    Missing,
    /// It cannot be looked up.
    #[error("cannot look it up")]
    Lookup(#[from] FsError),
    /// It cannot be read, or not be unpacked.
    #[error("cannot read or unpack it")]
    Read(#[from] io::Error),
    /// It is longer than any module.
    #[error("it is longer than {limit} bytes")]
    TooLong {
        /// How much would be read.
        limit: u64,
    },
    /// It is no object file.
    #[error("it is no object file")]
    NoObject(#[from] object::Error),
    /// It is an object file, but no module.
    #[error("it has no .modinfo section")]
    NoModule,
}

/// What the module at `path` says, through links.
///
/// # Errors
/// [`ModuleError`], if there is none or it cannot be read.
pub fn module_info(root: &Root<'_>, path: &str) -> Result<ModuleInfo, ModuleError> {
    let found = root.find(path)?.filter(|found| found.metadata.kind == Kind::File).ok_or(ModuleError::Missing)?;
    let file = root.open(&found.path)?.ok_or(ModuleError::Missing)?;
    Ok(ModuleInfo { file: found.path, ..parse(&unpack(file)?)? })
}

/// The content of a module's file, whether it is compressed or not.
fn unpack(file: impl Read) -> Result<Vec<u8>, ModuleError> {
    let mut file = BufReader::with_capacity(BUFFER_BYTES, file);
    let compression = Compression::peek(&mut file)?;
    let mut content = Vec::new();
    match compression {
        Some(compression) => compression.decoder(&mut file)?.take(MAX_MODULE_BYTES + 1).read_to_end(&mut content)?,
        None => file.take(MAX_MODULE_BYTES + 1).read_to_end(&mut content)?,
    };
    if content.len() as u64 > MAX_MODULE_BYTES {
        return Err(ModuleError::TooLong { limit: MAX_MODULE_BYTES });
    }
    Ok(content)
}

/// Reads the `.modinfo` section of a module: records `name=value`, each with a zero at its end.
///
/// # Errors
/// [`ModuleError`], if it is no module.
pub fn parse(module: &[u8]) -> Result<ModuleInfo, ModuleError> {
    let object = object::File::parse(module)?;
    let section = object.section_by_name(".modinfo").ok_or(ModuleError::NoModule)?.data()?;
    let mut info = ModuleInfo::default();
    for record in section.split(|&byte| byte == 0) {
        let record = String::from_utf8_lossy(record);
        match record.split_once('=') {
            Some(("version", value)) => info.version = Some(value.to_owned()),
            Some(("vermagic", value)) => info.vermagic = Some(value.to_owned()),
            Some(("alias", value)) => info.aliases.push(value.to_owned()),
            _ => {}
        }
    }
    Ok(info)
}
