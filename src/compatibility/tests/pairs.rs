//! Images of every server of the catalogue, on every server of it.

use std::collections::BTreeSet;

use super::fixture::{GIB, examination, manifest};
use crate::compatibility::requirements::source_model;
use crate::compatibility::{Fitness, Judgement, Question, Requirements, judge, modaliases};
use crate::hardware::alias::Aliases;
use crate::hardware::host::BootMode;
use crate::hardware::inventory::Inventory;
use crate::hardware::machines::catalogue::inventory;
use crate::image::manifest::{Firmware, Kind, Manifest};
use crate::inspect::evidence::{DriverEvidence, KernelEvidence, Modalias, ModuleEvidence, ModulePlace};
use crate::inspect::examine::Examination;
use crate::inspect::facts::Known;
use crate::inspect::report::Status;

const SERVERS: [&str; 11] = [
    "2288H V5 of Huawei",
    "2288H V5 of xFusion",
    "5288 V5 of xFusion",
    "2288H V6 of xFusion",
    "RH2288H V3",
    "CH121 V3",
    "TaiShan 2280 V2",
    "TaiShan 200 (Model 2280)",
    "virtio VM",
    "hostile",
    "empty",
];

/// What a capture of a server says of it.
fn captured_from(source: &Inventory, kind: Kind) -> Manifest {
    let mut manifest = manifest();
    manifest.kind = kind;
    manifest.source_hardware_model = source_model(source);
    let architecture = source.cpu.architecture.value().cloned();
    manifest.os.as_mut().expect("a system").architecture = architecture.unwrap_or_default();
    manifest.disk.firmware = match source.firmware.boot_mode.value() {
        Some(BootMode::Uefi) => Firmware::Uefi,
        Some(BootMode::Bios) => Firmware::Bios,
        None => Firmware::Both,
    };
    (manifest.disk.size_bytes, manifest.disk.min_disk_bytes, manifest.disk.min_memory_bytes) = (1 << 20, 1 << 20, GIB);
    manifest
}

/// What is found in an image that has the drivers of the server it came from, and no others.
fn with_drivers_of(source: &Inventory, asked: &[Modalias]) -> Examination {
    let own: BTreeSet<Modalias> = modaliases(source, source.disks.items().first()).into_iter().collect();
    let driver = || BTreeSet::from(["driver".to_owned()]);
    let claims = |modalias: &Modalias| if own.contains(modalias) { driver() } else { BTreeSet::new() };
    let module = ModuleEvidence {
        place: ModulePlace::File("/lib/modules/1/driver.ko".to_owned()),
        is_in_initramfs: true,
        block: Known::Is(None),
        needs: BTreeSet::new(),
    };
    let drivers = DriverEvidence {
        claims: asked.iter().map(|modalias| (modalias.clone(), Known::Is(claims(modalias)))).collect(),
        modules: [("driver".to_owned(), module)].into(),
    };
    let kernel = KernelEvidence {
        release: "1".to_owned(),
        initramfs: Known::Is(Some("/boot/initrd".to_owned())),
        drivers: Known::Is(drivers),
    };
    let mut found = examination();
    found.report.architecture = source.cpu.architecture.value().cloned();
    found.evidence.kernels = Known::Is(vec![kernel]);
    found
}

fn judge_pair(source: &Inventory, host: &Inventory, kind: Kind) -> Judgement {
    let target = host.disks.items().first();
    let image = with_drivers_of(source, &modaliases(host, target));
    let requirements = Requirements::of(&captured_from(source, kind));
    let aliases = Aliases::built_in().expect("aliases");
    let question = Question { requirements: &requirements, image: Some(&image), host, target, aliases: &aliases };
    judge(&question, &[]).expect("no override")
}

/// A letter for each server that an image of `source` is put on.
fn row(source: &str, letter: impl Fn(&Inventory, &Inventory) -> char) -> String {
    SERVERS.iter().map(|host| letter(inventory(source), inventory(host))).collect()
}

fn of_rule(judgement: &Judgement, id: &str) -> char {
    let judged = judgement.findings.iter().find(|judged| judged.finding.id == id).expect("a finding");
    match judged.finding.status {
        Status::Pass => '=',
        Status::Fail => 'x',
        Status::Unknown => '?',
        Status::Warn => '~',
        Status::NotApplicable => '-',
    }
}

const fn of_all(judgement: &Judgement) -> char {
    match judgement.fitness {
        Fitness::Fit => '=',
        Fitness::Unfit => 'x',
        Fitness::Unknown => '?',
    }
}

/// `=` is fit, `x` unfit, `?` not known; a column for each server, in the order of the rows.
fn assert_table(expected: [&str; SERVERS.len()], letter: impl Fn(&Inventory, &Inventory) -> char) {
    let found: Vec<String> = SERVERS.iter().map(|source| row(source, &letter)).collect();
    let table: Vec<String> = SERVERS.iter().zip(&found).map(|(name, row)| format!("{row} {name}")).collect();
    assert_eq!(found, expected, "{table:#?}");
}

#[test]
fn private_images_are_bound_to_the_model_they_came_from() {
    let expected = [
        "==xxxxxxxx?", // 2288H V5 of Huawei
        "==xxxxxxxx?", // 2288H V5 of xFusion
        "xx=xxxxxxx?", // 5288 V5 of xFusion
        "xxx=xxxxxx?", // 2288H V6 of xFusion
        "xxxx=xxxxx?", // RH2288H V3
        "xxxxx=xxxx?", // CH121 V3
        "xxxxxx==xxx", // TaiShan 2280 V2
        "xxxxxx==xxx", // TaiShan 200 (Model 2280)
        "xxxxxxxx=x?", // virtio VM
        "xxxxxxxxx=?", // hostile
        "???????????", // empty
    ];
    assert_table(expected, |source, host| of_rule(&judge_pair(source, host, Kind::Private), "HW-01"));
}

#[test]
fn private_images_fit_where_model_and_drivers_do() {
    let expected = [
        "==xxxxxxxx?", // 2288H V5 of Huawei
        "==xxxxxxxx?", // 2288H V5 of xFusion
        "xx=xxxxxxx?", // 5288 V5 of xFusion
        "xxx=xxxxxx?", // 2288H V6 of xFusion
        "xxxx=xxxxx?", // RH2288H V3
        "xxxxx=xxxx?", // CH121 V3
        "xxxxxx==xxx", // TaiShan 2280 V2
        "xxxxxx==xxx", // TaiShan 200 (Model 2280)
        "xxxxxxxx=x?", // virtio VM
        "xxxxxxxxx??", // hostile
        "xxxxxxxxxx?", // empty
    ];
    assert_table(expected, |source, host| of_all(&judge_pair(source, host, Kind::Private)));
}

#[test]
fn public_images_fit_where_drivers_and_firmware_do() {
    let expected = [
        "====xxxxx??", // 2288H V5 of Huawei
        "====xxxxx??", // 2288H V5 of xFusion
        "====xxxxx??", // 5288 V5 of xFusion
        "====xxxxx??", // 2288H V6 of xFusion
        "xxxx=xxxxx?", // RH2288H V3
        "xxxxx=xxxx?", // CH121 V3
        "xxxxxx==xxx", // TaiShan 2280 V2
        "xxxxxx==xxx", // TaiShan 200 (Model 2280)
        "xxxxxxxx=x?", // virtio VM
        "xxxxxxxxx??", // hostile
        "xxxxxxxxxx?", // empty
    ];
    assert_table(expected, |source, host| of_all(&judge_pair(source, host, Kind::Public)));
}
