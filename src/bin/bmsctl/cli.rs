//! The command line as it is typed: one tree of clap types, which is also the help text.

mod address;
mod audit;
mod check;
mod compat;
mod context;
mod generate;
mod image;
mod repository;
mod tls;

use std::path::PathBuf;

use bms_agent::disk::selector::Selector;
use bms_agent::image::group::GroupSize;
use bms_agent::image::source::Format;
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use uuid::Uuid;

pub(crate) use self::address::{Address, AddressArgs, AddressInvalid, SOCKET, Typed};
pub(crate) use self::audit::{Anchor, AuditCommand, AuditShowArgs, AuditVerifyArgs};
pub(crate) use self::check::{CheckImageArgs, ProfileArgs};
pub(crate) use self::compat::CompatImageArgs;
pub(crate) use self::context::{ContextArgs, ContextCommand, ShowContextArgs};
pub(crate) use self::generate::{CompletionsArgs, ManArgs};
pub(crate) use self::image::{
    DeleteArgs, DescribeArgs, ExportArgs, ExportFormat, ImageArgs, ImageCommand, ImportArgs, InputArgs, KindArg,
    SourceArgs,
};
pub(crate) use self::repository::{CheckArgs, GcArgs, InitArgs, RepositoryArgs, RepositoryCommand};
pub(crate) use self::tls::{TlsCommand, TlsInitArgs};
use crate::exit::Exit;
use crate::format::{parse_bytes, parse_root};

/// Names a disk, for those who type it.
pub(crate) const SELECTOR_HELP: &str = "\
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

/// What of the environment is used.
pub(crate) const ENVIRONMENT: [(&str, &str); 5] = [
    ("BMSCTL_SOCKET", "the agent's socket"),
    ("BMSCTL_CONTEXT", "the agent, as the file of contexts names it"),
    ("BMSCTL_CONTEXTS", "that file [default: $XDG_CONFIG_HOME/bmsctl/config.toml, or ~/.config/bmsctl/config.toml]"),
    ("BMSCTL_REPOSITORY", "the repository, unless --repository gives it"),
    ("BMSCTL_CONFIG", "the file that names repositories and profiles, unless --config gives it"),
];

/// What every command's help ends with.
fn ending() -> String {
    let lines = ENVIRONMENT.map(|(name, meaning)| format!("  {name:<17}  {meaning}"));
    format!("{}\n\nEnvironment:\n{}\n\n{}", Exit::help(), lines.join("\n"), address::ORDER)
}

/// What the help of commands on one disk ends with.
fn disk_ending() -> String {
    format!("{SELECTOR_HELP}\n\n{}", ending())
}

/// Writes disk images to this server's disks, and proves that they are there.
#[derive(Debug, Parser)]
#[command(name = "bmsctl", version, after_help = ending())]
pub(crate) struct Cli {
    /// Which agent.
    #[command(flatten)]
    pub(crate) address: AddressArgs,
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
    /// Repositories of images. Needs no agent.
    #[command(subcommand)]
    Repository(RepositoryCommand),
    /// Install an image onto a disk. DESTROYS what is on the disk.
    #[command(after_help = disk_ending())]
    Install(InstallArgs),
    /// Make an image of a disk, in a repository of the agent or in a file. The disk must be at rest: not mounted, not held.
    #[command(after_help = disk_ending())]
    Capture(CaptureArgs),
    /// The same as capture.
    #[command(after_help = disk_ending())]
    Backup(CaptureArgs),
    /// The same as install: put a captured image, or any other, onto a disk. DESTROYS what is on the disk.
    #[command(after_help = disk_ending())]
    Restore(InstallArgs),
    /// Read a disk and compare it with an image, a root, or the agent's record of its last install.
    #[command(after_help = disk_ending())]
    Verify(VerifyArgs),
    /// Long-running operations of the agent.
    #[command(subcommand)]
    Operation(OperationCommand),
    /// Certificates for agents and those who call them. Needs no agent.
    #[command(subcommand)]
    Tls(TlsCommand),
    /// The agent's audit log: who did what to which disk. Needs no agent.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Agents by names, with their certificates, in a file of yours. Needs no agent.
    #[command(subcommand)]
    Context(ContextCommand),
    /// Print a script that completes this command line in a shell. Needs no agent.
    #[command(after_help = ending())]
    Completions(CompletionsArgs),
    /// Write the manual into a directory: of this program, of the agent, and of its configuration. For packages.
    #[command(hide = true, after_help = ending())]
    Man(ManArgs),
}

/// Of the server.
#[derive(Debug, Subcommand)]
pub(crate) enum HostCommand {
    /// Show the hardware model and how the server was booted; as JSON, all of the hardware too.
    #[command(after_help = ending())]
    Show(ShowHostArgs),
}

/// `host show`
#[derive(Debug, Args)]
pub(crate) struct ShowHostArgs {
    /// Show all of the hardware. What is not known stands in brackets, with the reason.
    #[arg(long)]
    pub(crate) full: bool,
    /// The same with serial numbers, UUID, asset tag and world-wide names, which are withheld else.
    #[arg(long)]
    pub(crate) serials: bool,
}

/// Of disks.
#[derive(Debug, Subcommand)]
pub(crate) enum DiskCommand {
    /// List the disks, what they are used for, and what would keep an install from them.
    #[command(after_help = ending())]
    List,
}

/// `install`
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct InstallArgs {
    /// The image: a file, which is pushed; or what the agent fetches: the id or `[OWNER/]NAME[:VERSION]` of one in a
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
    /// What the agent does about what it finds in the image before the disk can boot [default: as it is configured].
    #[arg(long, value_enum, value_name = "POLICY")]
    pub(crate) inspection: Option<InspectionArg>,
    #[command(flatten)]
    pub(crate) profile: ProfileArgs,
    /// A finding of `image compat` that shall not count, as HW-01. May be given several times; it is logged.
    #[arg(long = "override", value_name = "ID")]
    pub(crate) overrides: Vec<String>,
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

/// What an install does about what it finds in its image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum InspectionArg {
    /// End before the disk can boot, if a required check fails or cannot be made.
    Require,
    /// Warn.
    Warn,
    /// Do not look.
    Off,
}

/// `capture` and `backup`
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("target").args(["name", "to"]).required(true))]
pub(crate) struct CaptureArgs {
    /// The disk, as serial=S64GNE0R900001; see below.
    #[arg(long, value_name = "SELECTOR")]
    pub(crate) disk: Selector,
    /// Name of the image in the repository: letters, digits, `.`, `_` and `-`.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Write a sparse raw file of this machine instead, which must not be there yet.
    #[arg(long, value_name = "FILE")]
    pub(crate) to: Option<PathBuf>,
    /// The repository, as the agent's configuration names it [default: the only one].
    #[arg(long, value_name = "NAME", conflicts_with = "to")]
    pub(crate) repository: Option<String>,
    /// Version of the image [default: the present time, as 20261123T083000Z].
    #[arg(long, conflicts_with = "to")]
    pub(crate) version: Option<String>,
    /// The project that owns the image.
    #[arg(long, default_value = "operator", conflicts_with = "to")]
    pub(crate) owner: String,
    /// Who may use the image: everyone, or its owner alone.
    #[arg(long, value_enum, default_value_t, value_name = "KIND", conflicts_with = "to")]
    pub(crate) kind: CaptureKindArg,
    /// Free text.
    #[arg(long, default_value_t, hide_default_value = true, conflicts_with = "to")]
    pub(crate) description: String,
    /// A label; may be given several times.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label, conflicts_with = "to")]
    pub(crate) labels: Vec<(String, String)>,
    /// Capture every bit, also what no file system uses: deleted files, and what was there before.
    #[arg(long)]
    pub(crate) bit_exact: bool,
    /// Size of the groups that are proven one by one: a power of two from 64K to 16M [default: 256K, and more for disks
    /// of more than 64 GiB].
    #[arg(long, value_name = "BYTES", value_parser = parse_group_size)]
    pub(crate) group_size: Option<GroupSize>,
    /// Compress what is sent to the file with zstd: for links slower than about 200 MB/s.
    #[arg(long, conflicts_with = "name")]
    pub(crate) compress: bool,
    /// Id of this request: the same id and request are done once [default: a new one].
    #[arg(long, value_name = "UUID", conflicts_with = "to")]
    pub(crate) request_id: Option<Uuid>,
}

/// Who may use a captured image. What comes from a server is somebody's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum CaptureKindArg {
    Public,
    #[default]
    Private,
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
    /// Have the agent forget one that has ended. Its request id may be used again then.
    #[command(after_help = ending())]
    Delete(OperationArgs),
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
    use std::collections::BTreeSet;

    use clap::CommandFactory as _;
    use clap::Parser as _;

    use super::{CaptureKindArg, Cli, Command, OperationCommand, Selector};

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_tree_is_consistent() {
        Cli::command().debug_assert();
    }

    /// clap leaves a global option out of a command that has one of its name, and panics when the value is asked for.
    #[test]
    fn no_command_has_an_option_of_the_name_of_a_global_one() {
        fn walk(command: &clap::Command, globals: &[&str]) {
            for command in command.get_subcommands() {
                for argument in command.get_arguments() {
                    assert!(
                        !globals.contains(&argument.get_id().as_str()),
                        "{} {}",
                        command.get_name(),
                        argument.get_id()
                    );
                }
                walk(command, globals);
            }
        }
        let cli = Cli::command();
        let globals = cli.get_arguments().filter(|argument| argument.is_global_set());
        let globals: Vec<_> = globals.map(|argument| argument.get_id().as_str()).collect();
        assert_eq!(globals.len(), 8, "{globals:?}");
        walk(&cli, &globals);
    }

    #[test]
    fn the_help_of_every_command_tells_exit_codes_and_of_those_on_a_disk_selectors() {
        fn walk(command: &mut clap::Command, above: &str, found: &mut Vec<(String, String)>) {
            let name = format!("{above}{}", command.get_name());
            if command.get_subcommands().next().is_none() {
                found.push((name, command.render_help().to_string()));
                return;
            }
            command.get_subcommands_mut().for_each(|command| walk(command, &format!("{name} "), found));
        }
        let mut commands = Vec::new();
        walk(&mut Cli::command(), "", &mut commands);
        let on_a_disk = ["install", "restore", "capture", "backup", "verify", "image check", "image compat"]
            .map(|name| format!("bmsctl {name}"));
        assert_eq!(commands.len(), 35);
        for (name, help) in commands {
            assert!(help.contains("Exit codes:") && help.contains("BMSCTL_CONTEXT"), "{name}:\n{help}");
            assert_eq!(help.contains("Selectors:"), on_a_disk.contains(&name), "{name}:\n{help}");
        }
    }

    #[test]
    fn every_variable_that_an_option_reads_is_in_the_help() {
        fn walk(command: &clap::Command, found: &mut BTreeSet<String>) {
            let variables = command.get_arguments().filter_map(clap::Arg::get_env);
            found.extend(variables.map(|name| name.to_string_lossy().into_owned()));
            command.get_subcommands().for_each(|command| walk(command, found));
        }
        // The agent is looked for by `context`, which reads these.
        let mut found = BTreeSet::from(["BMSCTL_SOCKET", "BMSCTL_CONTEXT", "BMSCTL_CONTEXTS"].map(str::to_owned));
        walk(&Cli::command(), &mut found);
        assert_eq!(found, super::ENVIRONMENT.map(|(name, _)| name.to_owned()).into());
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
    fn a_capture_goes_into_a_repository_or_into_a_file() {
        let line = "bmsctl capture --disk serial=A --name web --repository main --version 7 --owner me --kind public \
                    --label a=b --label c=d --bit-exact --group-size 1M";
        let Command::Capture(args) = parse(line).expect("valid").command else { panic!("another command") };
        assert_eq!((args.name.as_deref(), args.kind, args.bit_exact), (Some("web"), CaptureKindArg::Public, true));
        assert_eq!(args.labels.len(), 2);
        let line = "bmsctl backup --disk serial=A --name web";
        let Command::Backup(args) = parse(line).expect("valid").command else { panic!("another command") };
        assert_eq!((args.kind, args.bit_exact, args.version), (CaptureKindArg::Private, false, None));
        assert!(parse("bmsctl capture --disk serial=A --to disk.raw --compress").is_ok());
        assert!(parse("bmsctl restore --disk serial=A --image web --yes").is_ok());
        for line in [
            "bmsctl capture --disk serial=A",
            "bmsctl capture --name web",
            "bmsctl capture --disk serial=A --name web --to disk.raw",
            "bmsctl capture --disk serial=A --to disk.raw --version 7",
            "bmsctl capture --disk serial=A --to disk.raw --owner me",
            "bmsctl capture --disk serial=A --name web --compress",
            "bmsctl capture --disk serial=A --name web --label a",
        ] {
            assert_eq!(parse(line).expect_err(line).exit_code(), 2);
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
