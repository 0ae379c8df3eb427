//! `bmsctl image`: how images are named, read and described.

use std::path::PathBuf;

use bms_agent::compatibility::requirements::names_a_model;
use bms_agent::image::group::{GroupSize, Layout};
use bms_agent::image::source::{Format, Source};
use bms_agent::repository::ImageName as StoredName;
use clap::builder::{OsStringValueParser, TypedValueParser as _};
use clap::{Args, Subcommand, ValueEnum};

use super::check::CheckImageArgs;
use super::compat::CompatImageArgs;
use super::repository::RepositoryArgs;
use super::{disk_ending, ending, parse_group_size, parse_label};
use crate::format::parse_bytes;
use crate::import::ImageName;

/// Of images.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Print the BLAKE3 of the raw content: what `b3sum` prints of the raw file.
    #[command(after_help = ending())]
    Hash(InputArgs),
    /// Put an image into a repository, in any format that is read. What the repository has already is not sent again, so
    /// an import that was interrupted goes on where it ended.
    #[command(after_help = ending())]
    Import(Box<ImportArgs>),
    /// List the images of a repository.
    #[command(after_help = ending())]
    List(RepositoryArgs),
    /// Show all that is known of an image.
    #[command(after_help = ending())]
    Show(ImageArgs),
    /// Read all of an image, and compare every group with its chaining value.
    #[command(after_help = ending())]
    Verify(ImageArgs),
    /// Write an image to a new file, sparse and proven.
    #[command(after_help = ending())]
    Export(ExportArgs),
    /// Check whether an image, a disk or the running system has all that a bare metal server needs: plug-ins, drivers, a
    /// boot loader. Nothing is mounted or changed.
    #[command(after_help = disk_ending())]
    Check(Box<CheckImageArgs>),
    /// Say whether an image fits a server: its hardware model, processors, firmware, memory and disk, and whether its kernels
    /// have the drivers of this disk and these network cards. No disk is touched.
    #[command(after_help = disk_ending())]
    Compat(Box<CompatImageArgs>),
    /// Delete images. Whoever installs one may fail once `repository gc` has run; what other images have in common with
    /// them stays.
    #[command(after_help = ending())]
    Delete(DeleteArgs),
}

/// An image of a repository.
#[derive(Debug, Args)]
pub(crate) struct ImageArgs {
    /// The image: its id, or `[OWNER/]NAME[:VERSION]`; without a version the newest.
    #[arg(value_name = "ID|NAME")]
    pub(crate) image: StoredName,
    #[command(flatten)]
    pub(crate) repository: RepositoryArgs,
}

/// `image delete`
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The images: ids, or `[OWNER/]NAME:VERSION`.
    #[arg(value_name = "ID|NAME", required = true)]
    pub(crate) images: Vec<StoredName>,
    #[command(flatten)]
    pub(crate) repository: RepositoryArgs,
    /// Do not ask for confirmation.
    #[arg(long)]
    pub(crate) yes: bool,
}

/// `image export`
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    pub(crate) image: ImageArgs,
    /// The file, which must not be there yet. It gets its name when it is complete.
    pub(crate) file: PathBuf,
    /// Format of the file.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: ExportFormat,
}

/// Format of an exported file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// The bytes of the disk, holes as holes.
    #[default]
    Raw,
    /// By an installed qemu-img.
    Qcow2,
}

/// What an image is called, and what is said of it.
#[derive(Debug, Args)]
pub(crate) struct DescribeArgs {
    /// Its name: letters, digits, `.`, `_` and `-`.
    #[arg(long)]
    pub(crate) name: String,
    /// Its version, of the same letters [default: the present time, as 20261123T083000Z].
    #[arg(long)]
    pub(crate) version: Option<String>,
    /// The project that owns it.
    #[arg(long, default_value = "operator")]
    pub(crate) owner: String,
    /// Hardware model of the server that it came from, to which a private image is bound: `VENDOR / PRODUCT / ARCHITECTURE`,
    /// as "Huawei / 2288H V5 / x86_64". A capture finds it out by itself.
    #[arg(long, value_name = "MODEL", value_parser = parse_model)]
    pub(crate) source_model: Option<String>,
    /// Who may use it: everyone, or its owner alone.
    #[arg(long, value_enum, default_value_t, value_name = "KIND")]
    pub(crate) kind: KindArg,
    /// Free text.
    #[arg(long, default_value_t, hide_default_value = true)]
    pub(crate) description: String,
    /// A label; may be given several times.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    pub(crate) labels: Vec<(String, String)>,
}

/// Who may use an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum KindArg {
    #[default]
    Public,
    Private,
}

/// `image import`
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    #[command(flatten)]
    pub(crate) repository: RepositoryArgs,
    #[command(flatten)]
    pub(crate) describe: DescribeArgs,
    /// Logical block size that the image was built for, where its partition table does not tell: 512 or 4096.
    #[arg(long, value_name = "BYTES", value_parser = parse_block_size)]
    pub(crate) block_size: Option<u32>,
    /// Level of zstd, from 1 to 19. Higher levels are much slower, and make little difference when the image is installed.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(i32).range(1..=19))]
    pub(crate) level: i32,
}

/// How to read an image file.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct SourceArgs {
    /// Format of the file: raw, qcow2, gz, xz or zst [default: told by its content].
    #[arg(long)]
    pub(crate) format: Option<Format>,
    /// Length of the raw content, where the file does not tell it: bytes, or with K, M, G, T.
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub(crate) size: Option<u64>,
    /// Size of the groups that are proven one by one: a power of two from 64K to 16M [default: 256K, and more for images
    /// of more than 64 GiB].
    #[arg(long, value_name = "BYTES", value_parser = parse_group_size)]
    pub(crate) group_size: Option<GroupSize>,
}

impl SourceArgs {
    /// How the content of a source is cut.
    pub(crate) fn layout(&self, source: &Source) -> Layout {
        let len = source.len_bytes();
        Layout::new(len, self.group_size.unwrap_or_else(|| GroupSize::for_image(len)))
    }
}

/// How to read an image, wherever it lies.
#[derive(Debug, Args)]
pub(crate) struct InputArgs {
    /// The image: a file, `-` for standard input, or an http or https URL.
    #[arg(value_name = "IMAGE", value_parser = OsStringValueParser::new().try_map(ImageName::parse))]
    pub(crate) image: ImageName,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// PEM certificates to trust, instead of those of the system, when the image is downloaded.
    #[arg(long, value_name = "FILE")]
    pub(crate) image_ca: Option<PathBuf>,
    /// Where images are kept for a while that cannot be read as they come: qcow2 from a stream, and what has to be
    /// converted.
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    pub(crate) temp_dir: PathBuf,
}

fn parse_block_size(text: &str) -> Result<u32, String> {
    match text {
        "512" => Ok(512),
        "4096" => Ok(4096),
        _ => Err("a logical block size is 512 or 4096".to_owned()),
    }
}

impl ExportFormat {
    /// Its name, as it is typed.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

fn parse_model(text: &str) -> Result<String, &'static str> {
    if names_a_model(text) { Ok(text.to_owned()) } else { Err("give VENDOR / PRODUCT / ARCHITECTURE") }
}
