//! Images in formats that only QEMU reads, converted to raw by an installed `qemu-img`.
//!
//! An image can name other files, and a program that follows it would copy them into an image that many may read. So the
//! format is the one that was found, never one that QEMU guesses; a header that names files is refused before
//! `qemu-img` sees it, and what `qemu-img` tells of other files is refused before anything is converted. It is given open
//! files and no names, and is held to them (`sandbox`).

#[cfg(test)]
mod tests;

use std::env;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::panic;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

use bms_agent::image::source::{Foreign, Qcow2Refusal, SourceError};
use landlock::RulesetError;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::sandbox;

const PROGRAM: &str = "qemu-img";
/// The image as `qemu-img` sees it: its standard input.
const IMAGE: &str = "/proc/self/fd/0";
/// Kinds of VMDK images that are one file.
const VMDK_KINDS: [&str; 2] = ["monolithicSparse", "streamOptimized"];
/// Where the header of a VMDK image has its capacity.
const VMDK_CAPACITY_OFFSET: u64 = 12;
/// Most bytes that are repeated of what `qemu-img` says.
const SAID_BYTES: usize = 2000;

/// A driver of QEMU, for a format that is not read here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Driver {
    Qcow2,
    Vmdk,
    Vhdx,
    Vhd,
    Vdi,
}

/// Why an image is not converted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConvertError {
    #[error("its format needs `{PROGRAM}`, which is not installed")]
    NotInstalled,
    #[error("it reaches beyond its file: it has {what}")]
    Outside { what: &'static str },
    #[error("it is encrypted")]
    Encrypted,
    #[error("its header cannot be read")]
    Header { source: io::Error },
    #[error("`{PROGRAM} {command}` cannot be started")]
    Start { command: &'static str, source: io::Error },
    #[error("`{PROGRAM} {command}` cannot be held to the image's file")]
    Sandbox { command: &'static str, source: RulesetError },
    #[error("`{PROGRAM} {command}` failed: {said}")]
    Failed { command: &'static str, said: String },
    #[error("`{PROGRAM} info` gives an answer that makes no sense")]
    Answer { source: serde_json::Error },
    #[error("there is no room for it in {}", directory.display())]
    Room { directory: PathBuf, source: io::Error },
}

impl Driver {
    /// The driver for an image that was refused for its format alone.
    pub(crate) fn instead_of(refusal: &SourceError) -> Option<Self> {
        if let SourceError::Qcow2 { reason: Qcow2Refusal::Compression | Qcow2Refusal::ExtendedL2, .. } = refusal {
            return Some(Self::Qcow2);
        }
        let SourceError::FormatUnsupported { found, .. } = refusal else {
            return None;
        };
        match found {
            Foreign::Vmdk => Some(Self::Vmdk),
            Foreign::Vhdx => Some(Self::Vhdx),
            Foreign::Vhd => Some(Self::Vhd),
            Foreign::Vdi => Some(Self::Vdi),
            Foreign::VmdkDescriptor | Foreign::Qed | Foreign::Luks | Foreign::Bzip2 | Foreign::Lz4 | Foreign::Zip => {
                None
            }
        }
    }

    /// What QEMU calls the format.
    const fn name(self) -> &'static str {
        match self {
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "vmdk",
            Self::Vhdx => "vhdx",
            Self::Vhd => "vpc",
            Self::Vdi => "vdi",
        }
    }

    /// What people call it.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Qcow2 | Self::Vmdk | Self::Vhdx | Self::Vdi => self.name(),
            Self::Vhd => "vhd",
        }
    }
}

/// Converts an image to a raw file without a name in `directory`, which goes when it is closed.
pub(crate) fn to_raw(image: &File, driver: Driver, directory: &Path) -> Result<File, ConvertError> {
    let program = installed().ok_or(ConvertError::NotInstalled)?;
    if driver == Driver::Vmdk {
        check_vmdk_header(image)?;
    }
    let qemu = Qemu { program: &program, image, driver };
    let info = qemu.info()?;
    info.check()?;
    let room = |source| ConvertError::Room { directory: directory.to_owned(), source };
    let raw = tempfile::tempfile_in(directory).map_err(room)?;
    raw.set_len(info.virtual_size).map_err(room)?;
    qemu.convert(&raw)?;
    Ok(raw)
}

/// The program, as `PATH` finds it.
fn installed() -> Option<PathBuf> {
    let is_program = |path: &PathBuf| {
        path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    let path = env::var_os("PATH")?;
    let found =
        env::split_paths(&path).filter(|directory| directory.is_absolute()).map(|directory| directory.join(PROGRAM));
    found.into_iter().find(is_program)
}

/// A VMDK image without a capacity is nothing but a list of other files.
fn check_vmdk_header(image: &File) -> Result<(), ConvertError> {
    let mut capacity = [0; 8];
    image.read_exact_at(&mut capacity, VMDK_CAPACITY_OFFSET).map_err(|source| ConvertError::Header { source })?;
    if capacity == [0; 8] { Err(ConvertError::Outside { what: "its data in other files" }) } else { Ok(()) }
}

/// `qemu-img`, for one image.
#[derive(Clone, Copy)]
struct Qemu<'a> {
    program: &'a Path,
    image: &'a File,
    driver: Driver,
}

impl Qemu<'_> {
    /// The image, so that nothing of it is guessed.
    fn image_options(&self) -> String {
        format!("driver={},file.driver=file,file.filename={IMAGE}", self.driver.name())
    }

    fn info(&self) -> Result<Info, ConvertError> {
        let output = self.run("info", None, &["--output=json", "--image-opts", &self.image_options()])?;
        serde_json::from_slice(&output.stdout).map_err(|source| ConvertError::Answer { source })
    }

    /// Writes what is not zero into a file of the right length that is all hole.
    fn convert(&self, raw: &File) -> Result<(), ConvertError> {
        let to = format!("driver=raw,file.driver=file,file.filename=/proc/self/fd/{}", raw.as_raw_fd());
        let images = ["--image-opts", "--target-image-opts", &self.image_options(), &to];
        self.run("convert", Some(raw), &[&["-n", "--target-is-zero"], &images[..]].concat()).map(drop)
    }

    /// Runs the program on a thread of its own, which is held to the image and the result.
    fn run(&self, command: &'static str, result: Option<&File>, arguments: &[&str]) -> Result<Output, ConvertError> {
        let start = |source| ConvertError::Start { command, source };
        let image = self.image.try_clone().map_err(start)?;
        let held = || {
            sandbox::enter(self.program, self.image, result)
                .map_err(|source| ConvertError::Sandbox { command, source })?;
            if let Some(result) = result {
                fcntl(result, FcntlArg::F_SETFD(FdFlag::empty())).map_err(|errno| start(errno.into()))?;
            }
            let mut program = Command::new(self.program);
            program.arg(command).args(arguments).env_clear().env("LC_ALL", "C").stdin(Stdio::from(image));
            program.output().map_err(start)
        };
        let output = thread::scope(|scope| {
            let spawned = thread::Builder::new().name(PROGRAM.into()).spawn_scoped(scope, held).map_err(start)?;
            spawned.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked))
        })?;
        if output.status.success() {
            return Ok(output);
        }
        let said = String::from_utf8_lossy(&output.stderr[..output.stderr.len().min(SAID_BYTES)]).trim().to_owned();
        Err(ConvertError::Failed { command, said: if said.is_empty() { output.status.to_string() } else { said } })
    }
}

/// What `qemu-img info` tells, as far as it matters.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Info {
    virtual_size: u64,
    backing_filename: Option<IgnoredAny>,
    full_backing_filename: Option<IgnoredAny>,
    #[serde(default)]
    encrypted: bool,
    #[serde(default)]
    format_specific: FormatSpecific,
}

#[derive(Debug, Default, Deserialize)]
struct FormatSpecific {
    data: FormatData,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct FormatData {
    data_file: Option<IgnoredAny>,
    encrypt: Option<IgnoredAny>,
    create_type: Option<String>,
    #[serde(default)]
    extents: Vec<Extent>,
}

#[derive(Debug, Deserialize)]
struct Extent {
    filename: String,
}

impl Info {
    /// Refuses what is not all in the one file, in plain.
    fn check(&self) -> Result<(), ConvertError> {
        let data = &self.format_specific.data;
        let strange_kind = |kind: &String| !VMDK_KINDS.contains(&kind.as_str());
        if self.backing_filename.is_some() || self.full_backing_filename.is_some() {
            Err(ConvertError::Outside { what: "a backing file" })
        } else if data.data_file.is_some() || data.extents.iter().any(|extent| extent.filename != IMAGE) {
            Err(ConvertError::Outside { what: "its data in other files" })
        } else if data.create_type.as_ref().is_some_and(strange_kind) {
            Err(ConvertError::Outside { what: "several parts" })
        } else if self.encrypted || data.encrypt.is_some() {
            Err(ConvertError::Encrypted)
        } else {
            Ok(())
        }
    }
}
