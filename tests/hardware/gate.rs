//! The gate, far from the server: its facts as a file, and a real image.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;

use bms_agent::compatibility::{Fitness, Judgement, Question, Requirements, judge, modaliases};
use bms_agent::hardware::alias::Aliases;
use bms_agent::hardware::facts_file;
use bms_agent::hardware::inventory::Inventory;
use bms_agent::hardware::model::HardwareModel;
use bms_agent::image::manifest::{Firmware, Kind, OsFamily};
use bms_agent::inspect::check::Checks;
use bms_agent::inspect::child::Inspector;
use bms_agent::inspect::evidence::Modalias;
use bms_agent::inspect::examine::{Examination, Request};
use bms_agent::inspect::profile::Profile;
use bms_agent::inspect::reader::FileReader;
use bms_agent::inspect::report::Status;
use tokio_util::sync::CancellationToken;

use super::guest::{ANSWERS, DISKS, image};
use super::known;

/// The server as a file has it that anyone may see.
fn facts() -> Inventory {
    let file = tempfile::NamedTempFile::new().expect("file");
    fs::write(file.path(), ANSWERS.text("facts")).expect("write");
    facts_file::read(file.path()).expect("facts")
}

/// What is in the image, for any disk of the server.
fn examine(host: &Inventory) -> Examination {
    let file = File::open(image()).expect("the image");
    let len_bytes = file.metadata().expect("metadata").len();
    let devices = host.disks.items().iter().flat_map(|disk| modaliases(host, Some(disk)));
    let devices: BTreeSet<Modalias> = devices.collect();
    let request = Request {
        logical_block_size: None,
        profile: Profile::default(),
        checks: Checks::built_in().expect("checks").into(),
        devices: devices.into_iter().collect(),
    };
    let inspector = Inspector::new(Path::new(env!("CARGO_BIN_EXE_bms-agent")));
    inspector.examine(&FileReader::new(file, len_bytes), &request, &CancellationToken::new()).expect("an answer")
}

/// A private image, captured from a server that was still called by the name of the first vendor.
fn requirements() -> Requirements {
    Requirements {
        kind: Some(Kind::Private),
        model: HardwareModel::new(Some("Huawei"), Some("2288H V5"), Some("x86_64")),
        family: Some(OsFamily::Linux),
        architecture: Some("x86_64".to_owned()),
        firmware: Some(Firmware::Uefi),
        size_bytes: 4 << 30,
        min_disk_bytes: 4 << 30,
        min_memory_bytes: 512 << 20,
        logical_block_size: Some(512),
    }
}

/// What is not as it should be, or not known, or said to be of no account.
fn not_passed(judgement: &Judgement) -> Vec<(&str, Status)> {
    let findings = judgement.findings.iter().map(|judged| (&*judged.finding.id, judged.finding.status));
    findings.filter(|(_, status)| *status != Status::Pass).collect()
}

#[test]
#[ignore = "needs qemu-system-x86, ovmf, and the image of tests/fixtures/debian-image.sh"]
fn a_real_image_fits_every_disk_that_is_large_enough_and_has_its_block_size() {
    let (host, disks) = (facts(), ANSWERS.inventory().disks);
    assert_eq!(host, ANSWERS.inventory().without_serials());
    let (image, requirements, aliases) = (examine(&host), requirements(), Aliases::built_in().expect("aliases"));
    for made in &DISKS {
        let disk = disks.items().iter().find(|disk| known(&disk.serial) == Some(made.serial)).expect(made.serial);
        let target = host.disks.items().iter().find(|other| other.name == disk.name);
        assert!(target.is_some(), "{}", made.serial);
        let question =
            Question { requirements: &requirements, image: Some(&image), host: &host, target, aliases: &aliases };
        let judgement = judge(&question, &[]).expect("no override");
        let too_small = (made.size_bytes < requirements.size_bytes).then_some(("HW-05", Status::Fail));
        let other_blocks = (made.logical_block_size != 512).then_some(("HW-06", Status::Fail));
        let expected: Vec<_> = too_small.into_iter().chain(other_blocks).collect();
        assert_eq!(not_passed(&judgement), expected, "{}", made.serial);
        assert_eq!(judgement.fitness, if expected.is_empty() { Fitness::Fit } else { Fitness::Unfit });
    }
}
