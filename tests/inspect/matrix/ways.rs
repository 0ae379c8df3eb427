//! The ways to an image: as a raw file, as its qcow2, and in a repository. What is found does not depend on them.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::Case;
use super::disk::Layout;
use super::system::Distribution;
use crate::{run, text};

/// What belongs to a way, and not to what is found on it.
const OF_WAY: [&str; 3] = ["subject", "read_bytes", "fetched_bytes"];
/// The servers that made-up systems are for.
const SERVERS: [&str; 8] =
    ["--network-mode", "centralized", "--boot-source", "evs", "--sdi", "sd100", "--architecture", "x86_64"];

/// What `bmsctl image check` says, and how it ends.
struct Said {
    answer: Value,
    code: Option<i32>,
}

impl Said {
    fn bytes(&self, name: &str) -> u64 {
        self.answer[name].as_u64().expect("a number")
    }

    /// What does not depend on the way.
    fn found(&self) -> (Value, Option<i32>) {
        let mut answer = self.answer.clone();
        let fields = answer.as_object_mut().expect("an object");
        OF_WAY.iter().for_each(|name| assert!(fields.remove(*name).is_some(), "{name}: {:#}", self.answer));
        (answer, self.code)
    }
}

fn check(arguments: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bmsctl"));
    let output = command.args(["image", "check", "--output", "json"]).args(arguments).output().expect("it starts");
    let shown = String::from_utf8_lossy(&output.stderr);
    let answer = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {shown}"));
    Said { answer, code: output.status.code() }
}

/// Looks into a disk, into its qcow2, which is made if it is not there, and into its image in a repository.
fn check_every_way(raw: &Path, qcow2: Option<PathBuf>, profile: &[&str]) -> Said {
    let directory = tempfile::tempdir().expect("directory");
    let qcow2 = qcow2.unwrap_or_else(|| {
        let made = directory.path().join("disk.qcow2");
        run("qemu-img", &["convert", "-f", "raw", "-O", "qcow2", "-c", text(raw), text(&made)]);
        made
    });
    let repository = directory.path().join("repository");
    let repository = ["--repository", text(&repository)];
    std::fs::create_dir(repository[1]).expect("directory");
    let bmsctl = env!("CARGO_BIN_EXE_bmsctl");
    run(bmsctl, &[&["repository", "init"], &repository[..]].concat());
    run(bmsctl, &[&["image", "import", text(raw), "--name", "made", "--level", "1"], &repository[..]].concat());

    let of_raw = check(&[&[text(raw)], profile].concat());
    let of_qcow2 = check(&[&[text(&qcow2)], profile].concat());
    let of_image = check(&[&["made"], &repository[..], profile].concat());
    assert_eq!(of_qcow2.found(), of_raw.found());
    assert_eq!(of_image.found(), of_raw.found());
    assert_eq!((of_raw.bytes("fetched_bytes"), of_qcow2.bytes("fetched_bytes")), (0, 0));
    assert!(of_image.bytes("fetched_bytes") > 0);
    of_image
}

#[test]
#[ignore = "needs the tools of tests/install-packages.sh"]
fn a_disk_its_qcow2_and_its_image_in_a_repository_are_found_to_be_the_same() {
    let layouts = Layout::all();
    let named = |name: &str| layouts.iter().find(|layout| layout.name.contains(name)).expect("a layout").clone();
    for (layout, distribution, breaks, code) in [
        (named("LVM"), Distribution::CentOs, false, 0),
        (named("4096"), Distribution::Debian, false, 0),
        (named("btrfs"), Distribution::Debian, true, 6),
        (named("XFS"), Distribution::CentOs, true, 6),
    ] {
        let case = Case::new(distribution, layout);
        if breaks {
            case.tree.remove("etc/cloud/cloud.cfg");
        }
        let profile = [&SERVERS[..], &["--firmware", case.layout.firmware()]].concat();
        let said = check_every_way(&case.disk().path, None, &profile);
        assert_eq!(said.code, Some(code), "{}: {:#}", case.layout.name, said.answer);
        assert_eq!(said.answer["verdict"], if breaks { "fail" } else { "pass" });
    }
}

/// The figures are for whoever wants to know; the limit is what matters.
#[test]
#[ignore = "needs the image of tests/fixtures/debian-image.sh"]
fn little_of_a_real_image_in_a_repository_is_fetched() {
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cache");
    let cache = std::env::var_os("BMS_FIXTURES").map_or(cache, PathBuf::from);
    let raw = cache.join("disk.raw");
    let len_bytes = raw.metadata().expect("the image of tests/fixtures/debian-image.sh").len();
    let said = check_every_way(&raw, Some(cache.join("disk.qcow2")), &["--profile", "centralized"]);
    let (read, fetched) = (said.bytes("read_bytes"), said.bytes("fetched_bytes"));
    println!("read {read}, fetched {fetched} of {len_bytes} bytes");
    assert!(fetched * 20 <= len_bytes, "{fetched} of {len_bytes} bytes were fetched");
    assert!(read * 33 <= len_bytes, "{read} of {len_bytes} bytes were read");
    assert_eq!(said.code, Some(6), "it has no plug-in for the network");
    assert_eq!(said.answer["architecture"], "x86_64");
    assert!(said.answer["system"].as_str().expect("text").starts_with("Debian GNU/Linux"));
}
