//! Rules of the server as a whole, and of the disk.

use super::fixture::{Case, GIB, manifest, unknown, used_overrides, why};
use crate::compatibility::requirements::source_model;
use crate::compatibility::{Fitness, Requirements};
use crate::hardware::fact::Fact;
use crate::hardware::host::BootMode;
use crate::hardware::inventory::SecureBoot;
use crate::hardware::model::HardwareModel;
use crate::image::manifest::{Firmware, Kind};
use crate::inspect::evidence::DiskEvidence;
use crate::inspect::facts::Known;
use crate::inspect::report::Status::{self, Fail, NotApplicable, Pass, Unknown, Warn};

/// One thing that is changed about a fitting pair, and what a rule then comes to.
type Row = (&'static str, fn(&mut Case), Status);

fn assert_rows(id: &str, rows: &[Row]) {
    for (what, change, expected) in rows {
        let mut case = Case::fit();
        change(&mut case);
        let finding = case.finding(id);
        assert_eq!(finding.status, *expected, "{id}, {what}: {}", finding.reason);
        assert!(!finding.reason.is_empty(), "{id}, {what}");
        let needs_nothing = matches!(finding.status, Pass | NotApplicable);
        assert_eq!(finding.remedy.is_empty(), needs_nothing, "{id}, {what}");
    }
}

#[test]
fn an_image_that_fits_is_fit_with_a_finding_for_each_rule() {
    let judgement = Case::fit().judge();
    assert_eq!(judgement.fitness, Fitness::Fit, "{judgement:#?}");
    let ids: Vec<_> = judgement.findings.iter().map(|judged| judged.finding.id.as_str()).collect();
    assert_eq!(ids, ["HW-01", "HW-02", "HW-03", "HW-04", "HW-05", "HW-06", "HW-07", "HW-08", "HW-09", "HW-10"]);
    assert_eq!(used_overrides(&judgement).len(), 0);
    let json = serde_json::to_string(&judgement).expect("JSON");
    assert_eq!(serde_json::from_str::<crate::compatibility::Judgement>(&json).expect("the same"), judgement);
}

#[test]
fn hw_01_binds_private_images_to_their_model() {
    assert_rows(
        "HW-01",
        &[
            ("another name for the vendor", |_| {}, Pass),
            ("another product", |case| case.host.system.product_name = Fact::Known("5288 V5".to_owned()), Fail),
            ("another vendor", |case| case.host.system.vendor = Fact::Known("Acme".to_owned()), Fail),
            ("another architecture", |case| case.host.cpu.architecture = Fact::Known("aarch64".to_owned()), Fail),
            ("an unknown product", |case| case.host.system.product_name = unknown(), Unknown),
            ("an unknown vendor", |case| case.host.system.vendor = unknown(), Unknown),
            ("an unknown source", |case| case.requirements.model = HardwareModel::default(), Unknown),
            (
                "nothing known",
                |case| {
                    case.requirements.model = HardwareModel::default();
                    case.host.system = Default::default();
                },
                Unknown,
            ),
            ("a public image", |case| case.requirements.kind = Some(Kind::Public), NotApplicable),
            ("no manifest", |case| case.requirements.kind = None, NotApplicable),
        ],
    );
    let mut case = Case::fit();
    case.host.system.product_name = Fact::Known("5288 V5".to_owned());
    assert_eq!(
        case.finding("HW-01").reason,
        "it came from xfusion 2288h v5 (x86_64), and this server is huawei 5288 v5 (x86_64)"
    );
}

#[test]
fn hw_02_compares_what_the_image_says_and_what_is_in_it() {
    assert_rows(
        "HW-02",
        &[
            ("both", |_| {}, Pass),
            ("the manifest alone", |case| case.image = None, Pass),
            ("the image alone", |case| case.requirements.architecture = None, Pass),
            ("another server", |case| case.host.cpu.architecture = Fact::Known("aarch64".to_owned()), Fail),
            ("a manifest that lies", |case| case.requirements.architecture = Some("aarch64".to_owned()), Fail),
            (
                "an image that differs",
                |case| {
                    case.image.as_mut().expect("there").report.architecture = Some("aarch64".to_owned());
                },
                Fail,
            ),
            ("nothing", |case| (case.image, case.requirements.architecture) = (None, None), Unknown),
            ("an unknown server", |case| case.host.cpu.architecture = unknown(), Unknown),
        ],
    );
}

#[test]
fn hw_03_asks_what_the_firmware_of_the_server_can_start() {
    assert_rows(
        "HW-03",
        &[
            ("both on UEFI", |_| {}, Pass),
            ("both on a BIOS", |case| case.host.firmware.boot_mode = Fact::Known(BootMode::Bios), Pass),
            (
                "Secure Boot, which takes what is signed alone",
                |case| case.host.firmware.secure_boot = Fact::Known(SecureBoot::Enabled),
                Warn,
            ),
            (
                "Secure Boot, and no loader",
                |case| {
                    case.host.firmware.secure_boot = Fact::Known(SecureBoot::Enabled);
                    case.evidence().uefi = Known::Is(None);
                },
                Fail,
            ),
            (
                "Secure Boot that is off",
                |case| case.host.firmware.secure_boot = Fact::Known(SecureBoot::Disabled),
                Pass,
            ),
            ("no loader on UEFI", |case| case.evidence().uefi = Known::Is(None), Fail),
            ("no boot code on UEFI", |case| case.evidence().bios = Known::Is(false), Pass),
            (
                "no boot code on a BIOS",
                |case| {
                    case.host.firmware.boot_mode = Fact::Known(BootMode::Bios);
                    case.evidence().bios = Known::Is(false);
                },
                Fail,
            ),
            ("said to be for a BIOS", |case| case.requirements.firmware = Some(Firmware::Bios), Fail),
            (
                "said to be for UEFI, on a BIOS",
                |case| {
                    case.host.firmware.boot_mode = Fact::Known(BootMode::Bios);
                    case.requirements.firmware = Some(Firmware::Uefi);
                },
                Fail,
            ),
            (
                "said to be for a BIOS, on a BIOS",
                |case| {
                    case.host.firmware.boot_mode = Fact::Known(BootMode::Bios);
                    case.requirements.firmware = Some(Firmware::Bios);
                },
                Pass,
            ),
            (
                "nothing said, and not looked into",
                |case| (case.requirements.firmware, case.image) = (None, None),
                Unknown,
            ),
            ("a loader that cannot be looked for", |case| case.evidence().uefi = why(), Unknown),
            ("an unknown mode", |case| case.host.firmware.boot_mode = unknown(), Unknown),
            (
                "Arm in an unknown mode",
                |case| {
                    case.host.firmware.boot_mode = unknown();
                    case.host.cpu.architecture = Fact::Known("aarch64".to_owned());
                },
                Pass,
            ),
            (
                "Arm, said to be for a BIOS",
                |case| {
                    case.host.firmware.boot_mode = Fact::Known(BootMode::Bios);
                    case.host.cpu.architecture = Fact::Known("aarch64".to_owned());
                    case.requirements.firmware = Some(Firmware::Bios);
                },
                Fail,
            ),
        ],
    );
}

#[test]
fn secure_boot_is_warned_of_and_refuses_nothing() {
    let mut case = Case::fit();
    case.host.firmware.secure_boot = Fact::Known(SecureBoot::Enabled);
    assert_eq!(case.judge().fitness, Fitness::Fit);
    assert!(case.finding("HW-03").reason.ends_with("signatures are not checked"));
}

#[test]
fn hw_04_fails_on_what_is_installed_alone() {
    assert_rows(
        "HW-04",
        &[
            ("much more", |_| {}, Pass),
            ("just what is installed", |case| case.requirements.min_memory_bytes = 64 * GIB, Pass),
            ("one byte more", |case| case.requirements.min_memory_bytes = 64 * GIB + 1, Fail),
            ("what is usable suffices", |case| case.host.memory.installed_bytes = unknown(), Pass),
            (
                "what is usable does not suffice",
                |case| {
                    case.host.memory.installed_bytes = unknown();
                    case.requirements.min_memory_bytes = 63 * GIB;
                },
                Unknown,
            ),
            ("nothing known", |case| case.host.memory = Default::default(), Unknown),
            ("nothing asked for", |case| case.requirements.min_memory_bytes = 0, NotApplicable),
        ],
    );
}

#[test]
fn hw_05_takes_the_length_of_the_whole_image() {
    assert_rows(
        "HW-05",
        &[
            ("larger", |_| {}, Pass),
            ("just as large", |case| case.disk().size_bytes = 40 * GIB, Pass),
            ("smaller than the image", |case| case.disk().size_bytes = 40 * GIB - 512, Fail),
            ("smaller than it asks for", |case| case.requirements.min_disk_bytes = 481 * GIB, Fail),
            ("a pushed image, of which nothing is known", |case| case.requirements.min_disk_bytes = 0, Pass),
            ("no disk", |case| case.has_target = false, Unknown),
        ],
    );
    let mut case = Case::fit();
    case.disk().size_bytes = 40 * GIB - 512;
    assert_eq!(
        case.finding("HW-05").reason,
        "the image needs 42949672960 bytes, and sda has 42949672448, although its partitions would fit"
    );
    case.image = None;
    assert!(case.finding("HW-05").reason.ends_with("sda has 42949672448"));
}

#[test]
fn hw_06_believes_the_table_before_the_manifest() {
    fn table(sizes: &[u32]) -> Known<DiskEvidence> {
        Known::Is(DiskEvidence { gpt_block_sizes: sizes.iter().copied().collect(), end_bytes: None })
    }
    assert_rows(
        "HW-06",
        &[
            ("the same", |_| {}, Pass),
            ("a disk of others", |case| case.disk().logical_block_size = 4096, Fail),
            ("a table for others", |case| case.evidence().disk = table(&[4096]), Fail),
            ("tables for both", |case| case.evidence().disk = table(&[512, 4096]), Pass),
            ("a manifest that lies", |case| case.requirements.logical_block_size = Some(4096), Pass),
            ("no GPT", |case| case.evidence().disk = table(&[]), Pass),
            (
                "no GPT, and a manifest for others",
                |case| {
                    case.evidence().disk = table(&[]);
                    case.requirements.logical_block_size = Some(4096);
                },
                Fail,
            ),
            (
                "no GPT, and nothing said",
                |case| {
                    case.evidence().disk = table(&[]);
                    case.requirements.logical_block_size = None;
                },
                Unknown,
            ),
            (
                "no GPT, nothing said, and a system",
                |case| {
                    case.evidence().disk = table(&[]);
                    case.requirements.logical_block_size = None;
                    case.image.as_mut().expect("there").os = manifest().os;
                },
                Pass,
            ),
            (
                "no GPT, nothing said, and a system that may be for smaller blocks",
                |case| {
                    case.evidence().disk = table(&[]);
                    case.requirements.logical_block_size = None;
                    case.image.as_mut().expect("there").os = manifest().os;
                    case.disk().logical_block_size = 4096;
                },
                Unknown,
            ),
            ("not looked into", |case| case.image = None, Pass),
            (
                "a table that cannot be read, and nothing said",
                |case| {
                    case.evidence().disk = why();
                    case.requirements.logical_block_size = None;
                },
                Unknown,
            ),
            ("no disk", |case| case.has_target = false, Unknown),
        ],
    );
}

#[test]
fn what_was_not_looked_into_is_unknown_and_refused() {
    let case = Case { image: None, ..Case::fit() };
    let judgement = case.judge();
    assert_eq!(judgement.fitness, Fitness::Unknown);
    let unknown = judgement.findings.iter().filter(|judged| judged.finding.status == Unknown);
    let ids: Vec<_> = unknown.map(|judged| judged.finding.id.as_str()).collect();
    assert_eq!(ids, ["HW-03", "HW-07", "HW-08", "HW-09", "HW-10"]);
}

#[test]
fn hostile_texts_of_image_and_server_are_printable_and_short() {
    let mut case = Case::fit();
    let text = "\u{1b}[31m\u{202e}".repeat(1000);
    case.host.system.product_name = Fact::Known(text.clone());
    case.requirements.architecture = Some(text.clone());
    case.evidence().uefi = Known::Is(Some(text.clone()));
    case.evidence().kernels = Known::Unknown(text);
    for judged in case.judge().findings {
        let finding = judged.finding;
        let seen = finding.evidence.iter().flat_map(|evidence| [&evidence.path, &evidence.value]);
        for text in seen.chain([&finding.reason]) {
            assert!(
                text.len() < 400 && !text.contains(|letter: char| letter.is_control() || letter == '\u{202e}'),
                "{text}"
            );
        }
    }
}

#[test]
fn a_captured_image_names_its_model_so_that_it_is_known_again() {
    let case = Case::fit();
    let text = source_model(&case.host).expect("known");
    assert_eq!(text, "Huawei / 2288H V5 / x86_64");
    let again = |text: &str, architecture: &str| {
        let mut manifest = manifest();
        manifest.source_hardware_model = Some(text.to_owned());
        manifest.os.as_mut().expect("a system").architecture = architecture.to_owned();
        Requirements::of(&manifest).model
    };
    assert_eq!(again(&text, ""), HardwareModel::of(&case.host));
    assert_eq!(again("2288H V5", "x86_64"), HardwareModel::new(None, Some("2288H V5"), Some("x86_64")));
    let mut host = case.host;
    host.system.vendor = Fact::Known("A / B".to_owned());
    host.cpu.architecture = unknown();
    assert_eq!(source_model(&host).as_deref(), Some("A B / 2288H V5 / unknown"));
    assert_eq!(
        again("unknown / 2288H V5 / unknown", "x86_64"),
        HardwareModel::new(None, Some("2288H V5"), Some("x86_64"))
    );
    host.system.product_name = unknown();
    assert_eq!(source_model(&host), None);
}

#[test]
fn a_manifest_says_what_its_image_asks_for() {
    let requirements = Requirements::of(&manifest());
    assert_eq!(requirements.architecture.as_deref(), Some("x86_64"));
    assert_eq!((requirements.size_bytes, requirements.min_disk_bytes), (40 * GIB, 41 * GIB));
    assert_eq!((requirements.min_memory_bytes, requirements.logical_block_size), (2 * GIB, Some(512)));
    assert_eq!((requirements.kind, requirements.firmware), (Some(Kind::Private), Some(Firmware::Uefi)));
}
