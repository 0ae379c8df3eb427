//! The command line as it is typed: one tree of clap types, which is also the help text.

use std::path::PathBuf;

use bms_agent::disk::selector::Selector;
use bms_agent::image::group::{GroupSize, Layout};
use bms_agent::image::source::{Format, Source};
use clap::builder::{OsStringValueParser, TypedValueParser as _};
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use uuid::Uuid;

use crate::exit::Exit;
use crate::format::{parse_bytes, parse_root};
use crate::import::ImageName;

/// Names a disk, for those who type it.
const SELECTOR_HELP: &str = "\
Selectors:
  A disk is named by what it is, never by a path: key=value, joined by commas. All must hold, and for one disk only.
  A comma or backslash in a value has a backslash before it. Sizes may end in K, M, G or T.

  serial=S64GNE0R900001             its serial number: the best name, it survives a reboot and another slot
  wwn=eui.0025385b31b0a7c1          its WWN, EUI-64 or NGUID
  model=INTEL SSDPE2KX040T8,size=4000787030016
  name=nvme0n1,min-size=400G        its kernel name, which may change at the next boot
  by-path=pci-0000:3b:00.0-nvme-1   where it is plugged in
  backing-file=/tmp/disk            a loop device, where the agent allows them

  Also: transport (nvme, ata, sas, scsi, virtio, usb, iscsi, fc, mmc, loop), rotational (yes, no), block-size, diskseq.
  `bmsctl disk list` shows what there is.";

/// What every command's help ends with.
fn ending() -> String {
    format!("{}\n\nEnvironment:\n  BMSCTL_SOCKET  the agent's socket, unless --socket gives it", Exit::help())
}

/// What the help of commands on one disk ends with.
fn disk_ending() -> String {
    format!("{SELECTOR_HELP}\n\n{}", ending())
}

/// Writes disk images to this server's disks, and proves that they are there.
#[derive(Debug, Parser)]
#[command(name = "bmsctl", version, after_help = ending())]
pub(crate) struct Cli {
    /// Socket of the agent.
    #[arg(
        long,
        global = true,
        env = "BMSCTL_SOCKET",
        hide_env = true,
        default_value = "/run/bms-agent/agent.sock",
        value_name = "PATH",
        help_heading = "Options of every command"
    )]
    pub(crate) socket: PathBuf,
    /// How results are printed: tables for people, JSON for programs. All else goes to standard error.
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT",
        help_heading = "Options of every command"
    )]
    pub(crate) output: OutputFormat,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    // No doc comments here: clap would spread the help of every command over twice the lines.
    #[default]
    Table,
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The server.
    #[command(subcommand)]
    Host(HostCommand),
    /// The server's disks.
    #[command(subcommand)]
    Disk(DiskCommand),
    /// Images, as files or elsewhere. Needs no agent.
    #[command(subcommand)]
    Image(ImageCommand),
    /// Install an image onto a disk. DESTROYS what is on the disk.
    #[command(after_help = disk_ending())]
    Install(InstallArgs),
    /// Read a disk and compare it with an image, a root, or the agent's record of its last install.
    #[command(after_help = disk_ending())]
    Verify(VerifyArgs),
    /// Long-running operations of the agent.
    #[command(subcommand)]
    Operation(OperationCommand),
}

/// Of the server.
#[derive(Debug, Subcommand)]
pub(crate) enum HostCommand {
    /// Show the hardware model and how the server was booted.
    #[command(after_help = ending())]
    Show,
}

/// Of disks.
#[derive(Debug, Subcommand)]
pub(crate) enum DiskCommand {
    /// List the disks, what they are used for, and what would keep an install from them.
    #[command(after_help = ending())]
    List,
}

/// Of image files.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Print the BLAKE3 of the raw content: what `b3sum` prints of the raw file.
    #[command(after_help = ending())]
    Hash(InputArgs),
    /// Put an image into a repository, in any format that is read. What the repository has already is not sent again, so
    /// an import that was interrupted goes on where it ended.
    #[command(after_help = ending())]
    Import(ImportArgs),
}

/// Which repository.
#[derive(Debug, Args)]
pub(crate) struct RepositoryArgs {
    /// The repository: a directory, s3://BUCKET[/PREFIX], an http or https URL, or the name of one in --config.
    #[arg(long, env = "BMSCTL_REPOSITORY", hide_env = true, value_name = "REPOSITORY")]
    pub(crate) repository: String,
    /// File with a table [repositories.NAME] for each repository, as the agent's configuration has.
    #[arg(
        long,
        env = "BMSCTL_CONFIG",
        hide_env = true,
        value_name = "FILE",
        default_value = "/etc/bms-agent/config.toml"
    )]
    pub(crate) config: PathBuf,
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
    pub(crate) ca: Option<PathBuf>,
    /// Where images are kept for a while that cannot be read as they come: qcow2 from a stream, and what has to be
    /// converted.
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    pub(crate) temp_dir: PathBuf,
}

/// `install`
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct InstallArgs {
    /// The image: a file, which is pushed; or what the agent fetches: the id or [OWNER/]NAME[:VERSION] of one in a
    /// repository, or an http or https URL that its configuration allows, which needs --size and --root.
    #[arg(long, value_name = "FILE|ID|NAME|URL")]
    pub(crate) image: String,
    /// The repository that the agent fetches the image from, as its configuration names it [default: the only one].
    #[arg(long, value_name = "NAME")]
    pub(crate) repository: Option<String>,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// The disk, as serial=S64GNE0R900001; see below.
    #[arg(long, value_name = "SELECTOR")]
    pub(crate) disk: Selector,
    /// Show what would be done and lost, and stop.
    #[arg(long)]
    pub(crate) plan: bool,
    /// Compare the disk with the image first, and move only what differs.
    #[arg(long)]
    pub(crate) in_place: bool,
    /// Zero and verify everything on the disk beyond the image.
    #[arg(long)]
    pub(crate) wipe_rest: bool,
    /// BLAKE3 that the image must have; another content never becomes bootable.
    #[arg(long, value_name = "HEX", value_parser = parse_root)]
    pub(crate) root: Option<blake3::Hash>,
    /// Do not ask for confirmation.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Compress what is sent with zstd: for links slower than about 200 MB/s.
    #[arg(long)]
    pub(crate) compress: bool,
    /// Id of this request: the same id and request are done once [default: a new one].
    #[arg(long, value_name = "UUID")]
    pub(crate) request_id: Option<Uuid>,
}

/// `verify`
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("against").args(["image", "root"]))]
pub(crate) struct VerifyArgs {
    /// The disk, as serial=S64GNE0R900001; see below.
    #[arg(long, value_name = "SELECTOR")]
    pub(crate) disk: Selector,
    /// Compare with this image file, which is hashed first.
    #[arg(long, value_name = "FILE")]
    pub(crate) image: Option<PathBuf>,
    /// Format of the image file: raw, qcow2, gz, xz or zst [default: told by its content].
    #[arg(long, requires = "image")]
    pub(crate) format: Option<Format>,
    /// Compare with this BLAKE3 of the first bytes of the disk, as many as --size says.
    #[arg(long, value_name = "HEX", value_parser = parse_root, requires = "size")]
    pub(crate) root: Option<blake3::Hash>,
    /// Bytes that the root covers, or length of the image's raw content where its file does not tell it.
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, requires = "against")]
    pub(crate) size: Option<u64>,
    /// Id of this request [default: a new one].
    #[arg(long, value_name = "UUID")]
    pub(crate) request_id: Option<Uuid>,
}

/// Of operations. A name may be given with or without `operations/`.
#[derive(Debug, Subcommand)]
pub(crate) enum OperationCommand {
    /// List what the agent remembers, newest first.
    #[command(after_help = ending())]
    List,
    /// Show one.
    #[command(after_help = ending())]
    Show(OperationArgs),
    /// Follow one until it is done; the exit code is its end's. With `--output json`, one document a line.
    #[command(after_help = ending())]
    Watch(OperationArgs),
    /// Ask one to stop. A cancelled install leaves a disk that cannot boot and says why.
    #[command(after_help = ending())]
    Cancel(OperationArgs),
}

/// Which operation.
#[derive(Debug, Args)]
pub(crate) struct OperationArgs {
    /// Its name, with or without `operations/`.
    #[arg(value_parser = parse_operation)]
    pub(crate) name: String,
}

fn parse_group_size(text: &str) -> Result<GroupSize, String> {
    let bytes = parse_bytes(text).map_err(|error| error.to_string())?;
    GroupSize::new(bytes).map_err(|error| error.to_string())
}

fn parse_block_size(text: &str) -> Result<u32, String> {
    match text {
        "512" => Ok(512),
        "4096" => Ok(4096),
        _ => Err("a logical block size is 512 or 4096".to_owned()),
    }
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a label is KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// The full resource name of what was typed.
fn parse_operation(text: &str) -> Result<String, std::convert::Infallible> {
    let id = text.strip_prefix("operations/").unwrap_or(text);
    Ok(format!("operations/{id}"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use clap::Parser as _;

    use super::{Cli, Command, OperationCommand, Selector};

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_tree_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_of_every_command_tells_exit_codes_and_of_those_on_a_disk_selectors() {
        fn walk(command: &mut clap::Command, found: &mut Vec<(String, String)>) {
            let name = command.get_name().to_owned();
            if command.get_subcommands().next().is_none() {
                found.push((name, command.render_help().to_string()));
            }
            command.get_subcommands_mut().for_each(|command| walk(command, found));
        }
        let mut commands = Vec::new();
        walk(&mut Cli::command(), &mut commands);
        assert_eq!(commands.len(), 9);
        for (name, help) in commands {
            assert!(help.contains("Exit codes:") && help.contains("BMSCTL_SOCKET"), "{name}:\n{help}");
            assert_eq!(help.contains("Selectors:"), ["install", "verify"].contains(&name.as_str()), "{name}:\n{help}");
        }
    }

    #[test]
    fn the_selectors_of_the_help_are_selectors() {
        let examples = super::SELECTOR_HELP.lines().filter(|line| line.starts_with("  ") && line.contains('='));
        let typed =
            examples.filter_map(|line| line.trim().split("  ").next()).filter(|text| !text.contains("key=value"));
        let parsed: Vec<Selector> = typed.map(|text| text.parse().expect(text)).collect();
        assert_eq!(parsed.len(), 6);
    }

    #[test]
    fn verify_takes_an_image_or_a_root_with_its_size_or_neither() {
        let root = blake3::hash(b"").to_hex();
        for line in [
            "bmsctl verify --disk serial=A".to_owned(),
            "bmsctl verify --disk serial=A --image a.img --format raw".to_owned(),
            format!("bmsctl verify --disk serial=A --root {root} --size 4G"),
        ] {
            parse(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        for line in [
            format!("bmsctl verify --disk serial=A --root {root}"),
            format!("bmsctl verify --disk serial=A --root {root} --size 1 --image a.img"),
            "bmsctl verify --disk serial=A --format raw".to_owned(),
            "bmsctl verify --disk serial=A --size 4G".to_owned(),
            "bmsctl verify".to_owned(),
        ] {
            assert_eq!(parse(&line).expect_err(&line).exit_code(), 2);
        }
    }

    #[test]
    fn install_needs_an_image_and_a_disk_and_takes_groups_of_256_kib() {
        let line = "bmsctl --output json install --image a.img --disk serial=A,size=1073741824 --in-place --yes";
        let Command::Install(args) = parse(line).expect("valid").command else { panic!("another command") };
        assert!(args.in_place && args.yes && !args.plan && !args.wipe_rest && !args.compress);
        assert_eq!(args.source.group_size, None);
        for line in [
            "bmsctl install --image a.img",
            "bmsctl install --disk serial=A",
            "bmsctl install --image a.img --disk serial=A --group-size 100K",
            "bmsctl install --image a.img --disk serial=A --root 12",
            "bmsctl install --image a.img --disk serial=A --request-id 12",
            "bmsctl install --image a.img --disk nonsense",
        ] {
            assert_eq!(parse(line).expect_err(line).exit_code(), 2);
        }
    }

    #[test]
    fn operations_are_named_with_or_without_their_collection() {
        for line in ["bmsctl operation show abc", "bmsctl operation show operations/abc"] {
            let Command::Operation(OperationCommand::Show(args)) = parse(line).expect("valid").command else {
                panic!("another command")
            };
            assert_eq!(args.name, "operations/abc");
        }
    }
}
