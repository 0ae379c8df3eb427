//! Rows 50 to 69: disks that are not the one that was meant. Nothing is opened for them, and nothing written.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use bms_agent::rpc::proto::longrunning::Operation;
use bms_agent::rpc::proto::v1::push_image_request::Message;
use bms_agent::rpc::proto::v1::{DiskSelector, PlanInstallRequest, PushBegin, PushImageRequest, VerifyDiskRequest};
use prost::Message as _;
use tonic::Code;
use uuid::Uuid;

use super::messages::{PLAN, PUSH, VERIFY};
use super::{MALFORMED, Rows};
use crate::support::client::{Client, Fault, begin, outcome};
use crate::support::{Image, LoopDisk, MIB, Seed, run};

const NOT_FOUND: (Code, &str) = (Code::NotFound, "DISK_NOT_FOUND");

fn image() -> Image {
    Image::dense(2 * MIB, &mut Seed::quiet(102))
}

/// A plan and a push to a disk.
fn calls(image: &Image, disk: &DiskSelector) -> [(&'static str, Vec<u8>); 2] {
    let (image, disk) = (Some(image.spec()), Some(disk.clone()));
    let plan = PlanInstallRequest { disk: disk.clone(), image, ..PlanInstallRequest::default() };
    let begin =
        PushBegin { request_id: Uuid::new_v4().to_string(), disk, image: plan.image.clone(), ..PushBegin::default() };
    [(PLAN, plan.encode_to_vec()), (PUSH, PushImageRequest { message: Some(Message::Begin(begin)) }.encode_to_vec())]
}

/// A plan and a push are refused alike.
async fn refused(client: &Client, row: &str, disk: &DiskSelector, expected: (Code, &str)) {
    for (path, message) in calls(&image(), disk) {
        let told = client.refusal(path, message).await;
        assert_eq!(told.what(), expected, "{row}: {path}: {told:?}");
    }
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn a_selector_that_fits_no_disk_in_all_it_says_names_none() {
    let rows = Rows::start("");
    let (client, disk) = (rows.client("operator").await, LoopDisk::new(8 * MIB));
    disk.fill(&mut Seed::quiet(103));
    let (before, listed) = (disk.hash_all(), client.disk(&disk).await);
    let right = disk.wire_selector();
    let of = |change: &dyn Fn(&mut DiskSelector)| {
        let mut selector = right.clone();
        change(&mut selector);
        selector
    };
    let text = |text: &str| Some(text.to_owned());
    // The table has FAILED_PRECONDITION where one field is right: here all must hold, and the message says what does not.
    for (row, selector) in [
        ("50: a serial that no disk has", DiskSelector { serial: text("nobody's"), ..DiskSelector::default() }),
        ("51: another WWN", of(&|disk| disk.wwn = text("naa.5000c500a1b2c3d4"))),
        ("51: another serial", of(&|disk| disk.serial = text("S1"))),
        ("51: another model", of(&|disk| disk.model = text("M"))),
        ("52: a sector more", of(&|disk| disk.size_bytes = Some(8 * MIB + 512))),
        ("52: a sector less", of(&|disk| disk.size_bytes = Some(8 * MIB - 512))),
        ("52: larger than it is", of(&|disk| disk.min_size_bytes = Some(8 * MIB + 1))),
        ("53: blocks of 4096 bytes", of(&|disk| disk.logical_block_size_bytes = Some(4096))),
        ("54: the disk that had this name before", of(&|disk| disk.diskseq = Some(listed.diskseq - 1))),
    ] {
        refused(&client, row, &selector, NOT_FOUND).await;
        rows.after(row).await;
    }
    assert_eq!(disk.hash_all(), before);
    let all = DiskSelector {
        size_bytes: Some(8 * MIB),
        logical_block_size_bytes: Some(512),
        diskseq: Some(listed.diskseq),
        ..right
    };
    let [plan, _] = calls(&image(), &all);
    client.ask(plan.0, plan.1).await.expect("the same, and all of it right");
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn what_is_no_disk_is_none_by_any_name() {
    let rows = Rows::start("");
    let (client, disk) = (rows.client("operator").await, LoopDisk::new(8 * MIB));
    let files = tempfile::tempdir().expect("directory");
    let (file, pipe, link) = (files.path().join("file"), files.path().join("pipe"), files.path().join("link"));
    fs::write(&file, "precious").expect("written");
    run("mkfifo", &[&pipe]);
    symlink(disk.node(), &link).expect("link");
    let paths = ["../../etc/shadow", "/etc/shadow", "/dev/null", "/dev/sda", "/dev/disk/by-id/none"].map(PathBuf::from);
    for path in paths.into_iter().chain([file.clone(), pipe, link, disk.node()]) {
        let text = path.display().to_string();
        let row = if text.starts_with("/dev/sda") { "57: a path" } else { "58: a path" };
        for selector in [
            DiskSelector { name: Some(text.clone()), ..DiskSelector::default() },
            DiskSelector { by_path: Some(text.clone()), ..DiskSelector::default() },
        ] {
            refused(&client, &format!("{row}: {text}"), &selector, MALFORMED).await;
        }
        // Compared with what the kernel says is behind loop devices, and never opened.
        let behind = DiskSelector { backing_file: Some(text.clone()), ..DiskSelector::default() };
        refused(&client, &format!("{row} behind it: {text}"), &behind, NOT_FOUND).await;
        rows.after(&text).await;
    }
    assert_eq!(fs::read_to_string(&file).expect("read"), "precious");
    for name in [".", "..", "loop", "null", "zram0", "dm-0", "mapper", "loop-control"] {
        let selector = DiskSelector { name: Some(name.to_owned()), ..DiskSelector::default() };
        refused(&client, &format!("58: no disk: {name}"), &selector, NOT_FOUND).await;
    }
    rows.after("58").await;
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn a_partition_is_no_disk_and_a_small_disk_takes_no_large_image() {
    let rows = Rows::start("");
    let client = rows.client("operator").await;
    let disk = LoopDisk::with_partitions(32 * MIB);
    let partition = disk.partition();
    let before = disk.hash_all();
    let selector = DiskSelector { name: Some(partition), ..DiskSelector::default() };
    refused(&client, "59: a partition", &selector, NOT_FOUND).await;
    rows.after("59").await;
    assert_eq!(disk.hash_all(), before);

    let small = LoopDisk::new(2 * MIB - 512);
    // The table has OUT_OF_RANGE: the image is right, and another disk would do.
    let too_large = (Code::FailedPrecondition, "IMAGE_TOO_LARGE");
    refused(&client, "66: a sector too small", &small.wire_selector(), too_large).await;
    rows.after("66").await;
    let verify = VerifyDiskRequest {
        request_id: Uuid::new_v4().to_string(),
        disk: Some(small.wire_selector()),
        root: vec![7; 32],
        size_bytes: 2 * MIB,
    };
    let begun = client.ask(VERIFY, verify.encode_to_vec()).await.expect("66: begun").remove(0);
    let name = Operation::decode(begun.as_slice()).expect("an operation").name;
    let fault = outcome(client.ended(&name).await).expect_err("66: to verify more than there is");
    assert_eq!((fault.code, fault.reason.as_str()), (Code::DataLoss, "DISK_MISMATCH"), "66");
    assert!(small.read_all().iter().all(|&byte| byte == 0));
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn a_disk_that_went_away_after_the_plan_is_not_found_and_no_other_is_taken() {
    let rows = Rows::start("");
    let client = rows.client("operator").await;
    let (image, mut disk) = (image(), LoopDisk::new(8 * MIB));
    let PushBegin { disk: selected, image: spec, options, .. } = begin(&image, &disk);
    let request = PlanInstallRequest { disk: selected, image: spec, options, source: None };
    let plan_token = client.provisioning().plan_install(request).await.expect("a plan").into_inner().token;
    let named = PushBegin { plan_token, ..begin(&image, &disk) };
    disk.detach();
    let other = LoopDisk::new(8 * MIB);
    // The name is what it had; by now it may be another disk's.
    let by_name = DiskSelector { name: Some(disk.name.clone()), ..DiskSelector::default() };
    let fault: Fault = client.push(named.clone()).await.expect_err("gone");
    assert_eq!((fault.code, fault.reason.as_str()), NOT_FOUND, "67: by what it was");
    let fault = client.push(PushBegin { disk: Some(by_name), ..named }).await.expect_err("gone, or another");
    assert!(["DISK_NOT_FOUND", "PLAN_STALE"].contains(&fault.reason.as_str()), "67: by its name: {fault:?}");
    rows.after("67").await;
    assert!(other.read_all().iter().all(|&byte| byte == 0), "the other disk");
    assert!(fs::read(&disk.backing).expect("read").iter().all(|&byte| byte == 0), "the disk itself");
}
