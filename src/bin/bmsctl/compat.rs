//! `bmsctl image compat`: whether an image fits a server. Of its own server an agent says it; of any other this program
//! does, from the facts that were taken there.

use std::path::Path;

use bms_agent::agent::Inspection;
use bms_agent::compatibility::{Admission, Case, Override, Requirements};
use bms_agent::disk::discovery::Disk;
use bms_agent::disk::identity::{DeviceNumber, Identity};
use bms_agent::disk::selector::Selector;
use bms_agent::hardware::alias::Aliases;
use bms_agent::hardware::facts_file;
use bms_agent::hardware::host::BootMode;
use bms_agent::hardware::inventory::{BlockDevice, Inventory};
use bms_agent::inspect::examine::Request;
use bms_agent::inspect::profile::Profile;
use bms_agent::rpc::compatibility::view as gate_view;
use bms_agent::rpc::inspect::view;
use bms_agent::rpc::proto::v1;

use crate::check::{findings, in_repository, paragraphs, wanted, wire_profile};
use crate::cli::{CompatImageArgs, RepositoryArgs};
use crate::connect::Agent;
use crate::disk::wire_selector;
use crate::error::CtlError;
use crate::exit::Exit;
use crate::output::Output;
use crate::table::Fields;
use crate::view::CompatibilityView;

/// Who overrides, where nobody is asked who may.
const HERE: &str = "the caller";

/// Judges by a file with facts of a server.
pub(crate) fn run_here(args: &CompatImageArgs, facts: &Path, output: &Output) -> Result<Exit, CtlError> {
    let host = facts_file::read(facts).map_err(|source| CtlError::Facts { source })?;
    let target = args.disk.as_ref().map(|selector| disk_of(&host, selector)).transpose()?;
    let repository = args.repository.clone().unwrap_or_default();
    let repository = RepositoryArgs { repository, config: args.config.clone() };
    let aliases = Aliases::load(&args.aliases).map_err(|source| CtlError::Aliases { source })?;
    let mut wanted = wanted(&args.config, &args.profile, args.checks.as_deref())?;
    describe(&mut wanted.profile, &host);
    let by_caller = |id: &String| Override { id: id.clone(), by: HERE.to_owned() };
    let overrides = args.overrides.iter().map(by_caller).collect();
    let mut case = Case { admission: Admission { overrides, ..Admission::default() }, host, target, aliases };
    let (manifest, examination) = in_repository(&repository, &args.image, |manifest| Request {
        logical_block_size: Some(manifest.disk.logical_block_size),
        devices: case.devices(),
        ..wanted.clone()
    })?;
    case.admission.requirements = Requirements::of(&manifest);
    let judgement = case.judge(Some(&examination))?;
    let inspection = view(Inspection { examination, profile: wanted.profile });
    show(args, gate_view(judgement), Some(inspection), output)
}

/// Says of servers what nobody said, and this one does.
fn describe(profile: &mut Profile, host: &Inventory) {
    let firmware = host.firmware.boot_mode.value().map(|mode| match mode {
        BootMode::Uefi => "uefi".to_owned(),
        BootMode::Bios => "bios".to_owned(),
    });
    profile.architecture = profile.architecture.take().or_else(|| host.cpu.architecture.value().cloned());
    profile.firmware = profile.firmware.take().or(firmware);
}

/// The disk of an inventory that a selector names.
fn disk_of(host: &Inventory, selector: &Selector) -> Result<BlockDevice, CtlError> {
    let disks: Vec<Disk> = host.disks.items().iter().map(disk).collect();
    let selected = selector.select(&disks)?;
    let found = host.disks.items().iter().find(|disk| disk.name == selected.name);
    found.cloned().ok_or(CtlError::Answer { what: "facts whose disks have no names" })
}

/// A disk of an inventory, as selectors see disks.
fn disk(device: &BlockDevice) -> Disk {
    Disk {
        name: device.name.clone(),
        device_number: device.device_number.parse().unwrap_or(DeviceNumber { major: 0, minor: 0 }),
        identity: Identity {
            serial: device.serial.value().cloned(),
            wwn: device.wwn.value().cloned(),
            backing_file: None,
            diskseq: None,
        },
        model: device.model.value().cloned(),
        transport: device.transport,
        rotational: device.rotational,
        read_only: false,
        removable: device.removable,
        size_bytes: device.size_bytes,
        logical_block_size: device.logical_block_size,
        physical_block_size: device.physical_block_size,
        write_zeroes_max_bytes: 0,
        by_path: Vec::new(),
        uses: Vec::new(),
    }
}

/// Has the agent judge for its own server.
pub(crate) async fn run_there(args: &CompatImageArgs, agent: &Agent, output: &Output) -> Result<Exit, CtlError> {
    let repository = args.repository.clone().unwrap_or_default();
    let image = v1::RepositoryImage { repository, image: args.image.to_string() };
    let source = v1::ImageSource { source: Some(v1::image_source::Source::Repository(image)) };
    let request = v1::CheckCompatibilityRequest {
        image: Some(v1::check_compatibility_request::Image::Source(source)),
        disk: args.disk.as_ref().map(wire_selector),
        profile: Some(wire_profile(&args.profile)),
        overrides: args.overrides.clone(),
    };
    let answer = agent.provisioning().check_compatibility(request).await?.into_inner();
    let compatibility = answer.compatibility.ok_or(CtlError::Answer { what: "an answer without a judgement" })?;
    show(args, compatibility, answer.inspection, output)
}

fn show(
    args: &CompatImageArgs,
    compatibility: v1::Compatibility,
    inspection: Option<v1::Inspection>,
    output: &Output,
) -> Result<Exit, CtlError> {
    let exit = match compatibility.fitness() {
        v1::Fitness::Fit => Exit::Done,
        v1::Fitness::Unfit => Exit::Unfit,
        v1::Fitness::Unknown | v1::Fitness::Unspecified => Exit::Unknown,
    };
    let view = CompatibilityView::new(args.image.to_string(), compatibility, inspection);
    output.result(&view, |view| text(view, args))?;
    Ok(exit)
}

fn text(view: &CompatibilityView, args: &CompatImageArgs) -> String {
    let server = match &args.host_facts {
        Some(path) => path.display().to_string(),
        None => "that of the agent".to_owned(),
    };
    let disk = args.disk.as_ref().map_or_else(|| "none was chosen: see --disk".to_owned(), ToString::to_string);
    let fields = Fields::new()
        .field("image", &view.image)
        .field("server", &server)
        .field("disk", &disk)
        .field("fitness", view.fitness)
        .maybe("verdict of the image", view.inspection.as_ref().map(|inspection| inspection.verdict));
    let overridden = view.findings.iter().filter_map(|judged| {
        Some(format!("{} is overridden by {}", judged.finding.id, judged.overridden_by.as_deref()?))
    });
    let overridden: Vec<_> = overridden.collect();
    let [table, remedies] = findings(view.findings.iter().map(|judged| &judged.finding), args.all);
    paragraphs(&[fields.into_text(), table, overridden.join("\n"), remedies])
}
