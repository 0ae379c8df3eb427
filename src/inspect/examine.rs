//! A look into a disk or image, from its volumes to what its files come to. To be called only in the sandboxed child, and
//! in tests.

mod parts;

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::check::{self, Checks};
use super::evidence::{BootEvidence, DiskEvidence, MAX_DEVICES, Modalias};
use super::facts::boot::efi;
use super::facts::gather::{BootFacts, Facts};
use super::facts::layout::Layout;
use super::facts::os::{Family, Os as FoundOs};
use super::facts::{Known, drivers};
use super::fs::directory::DirectoryFs;
use super::profile::Profile;
use super::reader::{DiskReader, Metered};
use super::report::{Report, Verdicts, shorten};
use super::root::assemble::{Installed, Part, assemble, boot_partitions};
use super::root::{Root, Unreached};
use super::volumes;
use crate::disk::table::{PartitionTable, TableError, TableKind};
use crate::image::manifest::{Manifest, Os, OsFamily};
use crate::text::chain;

/// Most bytes that are read of a disk or image.
const MAX_READ_BYTES: u64 = 512 << 20;
/// Logical block sizes, the likelier first.
const BLOCK_SIZES: [u32; 2] = [512, 4096];
/// Most notes of an examination.
const MAX_NOTES: usize = 64;

/// What to look into, and for what.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Logical block size that the partition table was made for, in bytes; if none, both are tried.
    pub logical_block_size: Option<u32>,
    /// Which servers it is for.
    pub profile: Profile,
    /// What is checked.
    pub checks: Arc<Checks>,
    /// Devices that its kernels should have drivers for; those beyond [`MAX_DEVICES`] are not looked at.
    #[serde(default)]
    pub devices: Vec<Modalias>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Examination {
    /// What the checks came to.
    pub report: Report,
    /// What servers must match.
    pub evidence: BootEvidence,
    /// The installed system; none if it is not known.
    pub os: Option<Os>,
    /// What could not be looked into, and why.
    pub notes: Vec<String>,
    /// Bytes of the disk or image that were read.
    #[serde(default)]
    pub read_bytes: u64,
    /// Bytes that were fetched for that from a repository.
    #[serde(default)]
    pub fetched_bytes: u64,
}

impl Examination {
    /// What of an answer is believed, though whoever gave it may be in a stranger's hands: it is about the checks that were
    /// asked for, in their own words; its texts are printable and short; its verdicts are those of its findings. None if
    /// it is about other checks.
    pub(super) fn believed(mut self, checks: &Checks) -> Option<Self> {
        let findings = &mut self.report.findings;
        if findings.len() != checks.iter().count() {
            return None;
        }
        for (finding, check) in findings.iter_mut().zip(checks.iter()) {
            if finding.id != check.id {
                return None;
            }
            finding.title.clone_from(&check.title);
            finding.plug_in = check.plug_in;
            if !finding.remedy.is_empty() {
                finding.remedy.clone_from(&check.remedy);
            }
        }
        self.report.verdicts = Verdicts::of(findings);
        Some(self.bounded())
    }

    /// The same, with every text printable and short.
    fn bounded(mut self) -> Self {
        self.notes.truncate(MAX_NOTES);
        self.notes.iter_mut().for_each(shorten);
        if let Some(os) = &mut self.os {
            [&mut os.distro, &mut os.version, &mut os.architecture].into_iter().for_each(shorten);
        }
        Self { report: self.report.bounded(), evidence: self.evidence.bounded(), ..self }
    }

    /// Says in a manifest what was found.
    pub fn describe(self, manifest: &mut Manifest) {
        manifest.os = self.os;
        manifest.plugin_report = serde_json::to_value(self.report.without_evidence()).ok();
    }
}

/// Looks into a disk or image.
pub fn examine(disk: &Rc<dyn DiskReader>, request: &Request) -> Examination {
    let disk: Rc<dyn DiskReader> = Rc::new(Metered::new(disk.clone(), MAX_READ_BYTES));
    let evidence = Known::from_result(disk_evidence(&*disk));
    let found = look(&disk, request);
    Examination { evidence: BootEvidence { disk: evidence, ..found.evidence }, ..found }.bounded()
}

fn look(disk: &Rc<dyn DiskReader>, request: &Request) -> Examination {
    let table = match table(&**disk, request.logical_block_size) {
        Ok(table) => table,
        Err(why) => return unknown(request, &why, Vec::new()),
    };
    let parts::Found { parts, mut notes } = parts::find(disk, &table);
    let assembled = assemble(&parts);
    notes.extend(assembled.unread);
    match assembled.systems.as_slice() {
        [system] => of_system(
            system,
            &parts,
            Layout::read(&**disk, &table, (system.partition > 0).then_some(system.partition)),
            request,
            notes,
        ),
        [] if notes.is_empty() => unknown(request, "no system was found on it", notes),
        [] => unknown(request, "no system was found in what could be read", notes),
        several => {
            let names: Vec<_> = several.iter().map(|system| system.name.as_str()).collect();
            unknown(request, &format!("there are several systems, on {}", names.join(" and on ")), notes)
        }
    }
}

/// Looks at the running system.
pub fn examine_host(request: &Request) -> Examination {
    let found = match DirectoryFs::open(Path::new("/")) {
        Ok(files) => {
            let root = Root::new(Box::new(files));
            let layout = Known::Unknown("a running system is not looked at as a disk".to_owned());
            let boot = BootFacts::read(&root, efi::loaders_of_host(&root), layout);
            of_facts(&Facts::gather(&root, boot), request, Vec::new())
        }
        Err(error) => unknown(request, &chain(&error), Vec::new()),
    };
    found.bounded()
}

fn of_system(
    system: &Installed<'_>,
    parts: &[Part<'_>],
    layout: Known<Layout>,
    request: &Request,
    mut notes: Vec<String>,
) -> Examination {
    for join in &system.joins {
        if let Err(why) = &join.outcome {
            notes.push(format!("{} is not looked into: {why}", join.at));
        }
    }
    let loaders = boot_partitions(parts, system).map_or_else(Known::Unknown, |partitions| efi::loaders(&partitions));
    of_facts(&Facts::gather(&system.root, BootFacts::read(&system.root, loaders, layout)), request, notes)
}

/// What is said of a disk or image of which nothing is known.
fn unknown(request: &Request, why: &str, mut notes: Vec<String>) -> Examination {
    let root = Root::new(Box::new(Unreached::new(why.to_owned())));
    let facts = BootFacts::read(&root, Known::Unknown(why.to_owned()), Known::Unknown(why.to_owned()));
    notes.insert(0, why.to_owned());
    of_facts(&Facts::gather(&root, facts), request, notes)
}

fn of_facts(facts: &Facts<'_>, request: &Request, notes: Vec<String>) -> Examination {
    let report = check::evaluate(&request.checks, facts, &request.profile);
    let architecture = report.architecture.clone().unwrap_or_default();
    let found = facts.os.as_known().and_then(Option::as_ref);
    let os = found.map(|os| manifest_os(os, architecture));
    let devices = &request.devices[..request.devices.len().min(MAX_DEVICES)];
    let evidence = drivers::evidence(facts, devices);
    Examination { report, evidence, os, notes, read_bytes: 0, fetched_bytes: 0 }
}

fn manifest_os(os: &FoundOs, architecture: String) -> Os {
    let family = match os.family {
        Family::Linux => OsFamily::Linux,
        Family::Windows => OsFamily::Windows,
    };
    Os { family, distro: os.id.clone(), version: os.version.clone().unwrap_or_default(), architecture }
}

/// What the partition table is for, whatever the disk is that it is on.
fn disk_evidence(disk: &dyn DiskReader) -> Result<DiskEvidence, TableError> {
    let mut evidence = DiskEvidence::default();
    for size in BLOCK_SIZES {
        let table = volumes::read_table(disk, size)?;
        let ends = table.partitions.iter().map(|part| part.offset_bytes.saturating_add(part.size_bytes));
        match table.kind {
            TableKind::Gpt => {
                evidence.gpt_block_sizes.insert(size);
                evidence.end_bytes = ends.max();
            }
            // Numbers of an MBR are of 512 bytes, which is tried first.
            TableKind::Mbr | TableKind::None => evidence.end_bytes = evidence.end_bytes.or(ends.max()),
        }
    }
    Ok(evidence)
}

/// The partition table, for whichever block size shows one.
fn table(disk: &dyn DiskReader, logical_block_size: Option<u32>) -> Result<PartitionTable, String> {
    let sizes = logical_block_size.map_or(BLOCK_SIZES.to_vec(), |size| vec![size]);
    let mut best = None;
    for size in sizes {
        let table = volumes::read_table(disk, size).map_err(|error| chain(&error))?;
        // A GPT has an MBR before it, which the other size shows.
        match (&best, table.kind) {
            (_, TableKind::Gpt) | (None, _) => best = Some(table),
            (Some(_), TableKind::Mbr | TableKind::None) => {}
        }
    }
    best.ok_or_else(|| "no block size was tried".to_owned())
}
