//! A server, an image that fits it, and what there is to change about them.

use std::collections::{BTreeMap, BTreeSet};

use crate::compatibility::{Judgement, Override, Question, Requirements, judge};
use crate::hardware::alias::Aliases;
use crate::hardware::fact::{Fact, UnknownReason};
use crate::hardware::host::BootMode;
use crate::hardware::inventory::{BlockDevice, Inventory, Link, LinkState, Nic};
use crate::hardware::model::HardwareModel;
use crate::image::manifest::{
    Content, Digest, DiskShape, Firmware, Kind, Manifest, Os, OsFamily, PartitionTable, SCHEMA,
};
use crate::inspect::evidence::{
    BootEvidence, DiskEvidence, DriverEvidence, KernelEvidence, Modalias, ModuleEvidence, ModulePlace,
};
use crate::inspect::examine::Examination;
use crate::inspect::facts::Known;
use crate::inspect::report::{Finding, Report, Status, Verdicts};

pub(super) const GIB: u64 = 1 << 30;
pub(super) const MEGARAID: &str = "pci:v00001000d0000005Dsv000019E5sd0000D207bc01sc04i00";
pub(super) const SCSI_DISK: &str = "scsi:t-0x00";
pub(super) const X722: &str = "pci:v00008086d000037D0sv000019E5sd0000D123bc02sc00i00";
pub(super) const HINIC: &str = "pci:v000019E5d00000200sv000019E5sd0000D139bc02sc00i00";

/// A server and an image, to be compared.
pub(super) struct Case {
    pub(super) requirements: Requirements,
    pub(super) image: Option<Examination>,
    pub(super) host: Inventory,
    pub(super) has_target: bool,
}

impl Case {
    /// A 2288H V5 with a RAID controller and one linked card, and a private image that fits it.
    pub(super) fn fit() -> Self {
        let mut host = Inventory::default();
        host.system.vendor = Fact::Known("Huawei".to_owned());
        host.system.product_name = Fact::Known("2288H V5".to_owned());
        host.cpu.architecture = Fact::Known("x86_64".to_owned());
        host.firmware.boot_mode = Fact::Known(BootMode::Uefi);
        host.memory.installed_bytes = Fact::Known(64 * GIB);
        host.memory.usable_bytes = Fact::Known(62 * GIB);
        host.disks = Fact::Known(vec![disk()]);
        host.nics = Fact::Known(vec![nic("eno1", X722, LinkState::Up), nic("ens1", HINIC, LinkState::Down)]);
        host.network_controllers = Fact::Known(Vec::new());
        let requirements = Requirements {
            kind: Some(Kind::Private),
            model: HardwareModel::new(Some("XFUSION"), Some("2288H V5"), Some("x86_64")),
            family: Some(OsFamily::Linux),
            architecture: Some("x86_64".to_owned()),
            firmware: Some(Firmware::Both),
            size_bytes: 40 * GIB,
            min_disk_bytes: 40 * GIB,
            min_memory_bytes: 4 * GIB,
            logical_block_size: Some(512),
        };
        Self { requirements, image: Some(examination()), host, has_target: true }
    }

    pub(super) fn question<'a>(&'a self, aliases: &'a Aliases) -> Question<'a> {
        let target = self.host.disks.items().first().filter(|_| self.has_target);
        Question { requirements: &self.requirements, image: self.image.as_ref(), host: &self.host, target, aliases }
    }

    pub(super) fn judge(&self) -> Judgement {
        self.judge_with(&[]).expect("no override")
    }

    pub(super) fn judge_with(
        &self,
        overrides: &[Override],
    ) -> Result<Judgement, crate::compatibility::OverrideInvalid> {
        let aliases = Aliases::built_in().expect("aliases");
        judge(&self.question(&aliases), overrides)
    }

    pub(super) fn finding(&self, id: &str) -> Finding {
        let findings = self.judge().findings.into_iter().map(|judged| judged.finding);
        findings.into_iter().find(|finding| finding.id == id).expect("a finding")
    }

    pub(super) fn status(&self, id: &str) -> Status {
        self.finding(id).status
    }

    pub(super) fn disk(&mut self) -> &mut BlockDevice {
        let Fact::Known(disks) = &mut self.host.disks else { panic!("disks are known") };
        &mut disks[0]
    }

    pub(super) fn nics(&mut self) -> &mut Vec<Nic> {
        let Fact::Known(nics) = &mut self.host.nics else { panic!("cards are known") };
        nics
    }

    pub(super) fn evidence(&mut self) -> &mut BootEvidence {
        &mut self.image.as_mut().expect("an examination").evidence
    }

    pub(super) fn kernels(&mut self) -> &mut Vec<KernelEvidence> {
        let Known::Is(kernels) = &mut self.evidence().kernels else { panic!("kernels are known") };
        kernels
    }

    /// The drivers of the first kernel.
    pub(super) fn drivers(&mut self) -> &mut DriverEvidence {
        let Known::Is(drivers) = &mut self.kernels()[0].drivers else { panic!("drivers are known") };
        drivers
    }

    pub(super) fn module(&mut self, name: &str) -> &mut ModuleEvidence {
        self.drivers().modules.get_mut(name).expect("such a module")
    }
}

pub(super) fn unknown<T>() -> Fact<T> {
    Fact::unknown(UnknownReason::Unreadable)
}

pub(super) fn why<T>() -> Known<T> {
    Known::Unknown("it cannot be read".to_owned())
}

pub(super) fn link(bus: &str, name: &str, modalias: &str) -> Link {
    Link {
        bus: bus.to_owned(),
        name: name.to_owned(),
        modalias: modalias.to_owned(),
        driver: Fact::Known("a-driver".to_owned()),
    }
}

fn disk() -> BlockDevice {
    BlockDevice {
        name: "sda".to_owned(),
        size_bytes: 480 * GIB,
        logical_block_size: 512,
        path: Fact::Known(vec![link("scsi", "0:2:0:0", SCSI_DISK), link("pci", "0000:3b:00.0", MEGARAID)]),
        ..BlockDevice::default()
    }
}

pub(super) fn nic(name: &str, modalias: &str, state: LinkState) -> Nic {
    Nic {
        name: name.to_owned(),
        link: Fact::Known(state),
        controller: Fact::Known(format!("of {name}")),
        path: Fact::Known(vec![link("pci", &format!("of {name}"), modalias)]),
        ..Nic::default()
    }
}

pub(super) fn modalias(text: &str) -> Modalias {
    Modalias::new(text).expect("a modalias")
}

pub(super) fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn module(name: &str, needs: &[&str]) -> (String, ModuleEvidence) {
    let place = ModulePlace::File(format!("/lib/modules/6.1.0-1/kernel/{name}.ko"));
    (name.to_owned(), ModuleEvidence { place, is_in_initramfs: true, block: Known::Is(None), needs: set(needs) })
}

/// One kernel that has all drivers, but for one of a card that is not linked.
fn kernel() -> KernelEvidence {
    let claims =
        [(MEGARAID, set(&["megaraid_sas"])), (SCSI_DISK, set(&["sd_mod"])), (X722, set(&["i40e"])), (HINIC, set(&[]))];
    let modules = [module("megaraid_sas", &["scsi_mod"]), module("sd_mod", &["scsi_mod"]), module("scsi_mod", &[])];
    let network =
        [module("i40e", &[])].map(|(name, module)| (name, ModuleEvidence { is_in_initramfs: false, ..module }));
    KernelEvidence {
        release: "6.1.0-1".to_owned(),
        initramfs: Known::Is(Some("/boot/initrd.img-6.1.0-1".to_owned())),
        drivers: Known::Is(DriverEvidence {
            claims: claims.into_iter().map(|(of, names)| (modalias(of), Known::Is(names))).collect(),
            modules: modules.into_iter().chain(network).collect::<BTreeMap<_, _>>(),
        }),
    }
}

/// The manifest of a private image.
pub(super) fn manifest() -> Manifest {
    let digest = Digest(blake3::hash(b"content"));
    Manifest {
        schema: SCHEMA,
        name: "debian".to_owned(),
        version: "12".to_owned(),
        description: String::new(),
        labels: BTreeMap::new(),
        kind: Kind::Private,
        owner: "p1".to_owned(),
        os: Some(Os {
            family: OsFamily::Linux,
            distro: "debian".to_owned(),
            version: "12".to_owned(),
            architecture: "x86_64".to_owned(),
        }),
        disk: DiskShape {
            size_bytes: 40 * GIB,
            logical_block_size: 512,
            partition_table: PartitionTable::Gpt,
            firmware: Firmware::Uefi,
            min_disk_bytes: 41 * GIB,
            min_memory_bytes: 2 * GIB,
        },
        content: Content {
            root: digest,
            group_size_bytes: 256 << 10,
            chunk_size_bytes: 1 << 20,
            tree: digest,
            data_bytes: 0,
            stored_bytes: 0,
        },
        source_hardware_model: None,
        capture: None,
        plugin_report: None,
        parent: None,
        created_at: 0,
        not_after: None,
    }
}

/// What was found in an image that a BIOS and UEFI start.
pub(super) fn examination() -> Examination {
    let disk = DiskEvidence { gpt_block_sizes: [512].into(), end_bytes: Some(39 * GIB) };
    Examination {
        report: Report {
            os: None,
            architecture: Some("x86_64".to_owned()),
            kernels: Vec::new(),
            findings: Vec::new(),
            verdicts: Verdicts::of(&[]),
        },
        evidence: BootEvidence {
            disk: Known::Is(disk),
            bios: Known::Is(true),
            uefi: Known::Is(Some("partition 1: /EFI/BOOT/BOOTX64.EFI".to_owned())),
            kernels: Known::Is(vec![kernel()]),
        },
        os: None,
        notes: Vec::new(),
        read_bytes: 0,
        fetched_bytes: 0,
    }
}

/// The overrides that made a difference: ids of findings, and by whom.
pub(super) fn used_overrides(judgement: &Judgement) -> Vec<(&str, &str)> {
    let findings = judgement.findings.iter();
    findings.filter_map(|judged| Some((judged.finding.id.as_str(), judged.overridden_by.as_deref()?))).collect()
}
