//! Made-up systems on disks of every layout, looked into as the daemon and `bmsctl` do: those in which nothing is wrong, and
//! every way to break one.

mod broken;
mod disk;
mod kernel;
mod lvm;
mod rpm;
mod system;
mod tree;
mod ways;
mod windows;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use bms_agent::inspect::check::Checks;
use bms_agent::inspect::child::Inspector;
use bms_agent::inspect::examine::{Examination, Request};
use bms_agent::inspect::profile::{BootSource, NetworkMode, Profile, Sdi};
use bms_agent::inspect::reader::FileReader;
use bms_agent::inspect::report::{Finding, Severity, Status, Verdict};
use tokio_util::sync::CancellationToken;

use self::disk::{Disk, Layout, Table};
use self::system::Distribution;
use self::tree::Tree;

/// A made-up system, the disk that it is put on, and the servers that it is for.
struct Case {
    layout: Layout,
    profile: Profile,
    tree: Tree,
}

impl Case {
    /// One in which nothing is wrong, but perhaps with the layout.
    fn new(distribution: Distribution, layout: Layout) -> Self {
        let profile = Profile {
            network_mode: Some(NetworkMode::Centralized),
            boot_source: Some(BootSource::Evs),
            sdi: Some(Sdi::Sd100),
            architecture: Some("x86_64".to_owned()),
            firmware: Some(layout.firmware().to_owned()),
            ..Profile::default()
        };
        Self { tree: system::write(distribution, &layout), layout, profile }
    }

    fn disk(&self) -> Disk {
        self.layout.make(&self.tree)
    }

    /// What the child of the daemon finds on its disk.
    fn examine(&self) -> Examination {
        examine(&self.disk().path, &self.profile)
    }
}

fn examine(disk: &Path, profile: &Profile) -> Examination {
    let file = File::open(disk).expect("open");
    let len_bytes = file.metadata().expect("metadata").len();
    let checks = Arc::new(Checks::built_in().expect("built in"));
    let request = Request { logical_block_size: None, profile: profile.clone(), checks, devices: Vec::new() };
    let inspector = Inspector::new(Path::new(env!("CARGO_BIN_EXE_bms-agent")));
    inspector.examine(&FileReader::new(file, len_bytes), &request, &CancellationToken::new()).expect("an answer")
}

/// What a finding says that the layout does not change: neither how the disk is started and divided, nor the name of the
/// root, which is a value on command lines.
fn regardless_of_layout(finding: &Finding) -> Option<(&str, Severity, Status, &str, Vec<&str>)> {
    let is_of_layout = ["BOOT-02", "BOOT-03", "BOOT-04"].contains(&finding.id.as_str());
    let seen = finding.evidence.iter().map(|evidence| evidence.path.as_str()).collect();
    (!is_of_layout).then_some((&finding.id, finding.severity, finding.status, &finding.reason, seen))
}

fn check_layout(distribution: Distribution, layout: Layout) {
    let (name, table) = (layout.name, layout.table);
    let case = Case::new(distribution, layout);
    let plain = Case { profile: case.profile.clone(), ..Case::new(distribution, Layout::plain()) };
    let (found, expected) = (case.examine(), plain.examine());
    assert!(found.notes.is_empty(), "{name}: {:?}", found.notes);
    assert_eq!((&found.os, &found.report.kernels), (&expected.os, &expected.report.kernels), "{name}");
    for (finding, expected) in found.report.findings.iter().zip(&expected.report.findings) {
        assert_eq!(regardless_of_layout(finding), regardless_of_layout(expected), "{name}");
        let is_sound = [Status::Pass, Status::NotApplicable].contains(&finding.status);
        // The platform has no partition table to add its config drive to.
        let is_told = finding.id == "BOOT-04" && table == Table::None;
        assert_ne!(is_sound, is_told, "{name}: {finding:#?}");
    }
    let verdict = if table == Table::None { Verdict::Warn } else { Verdict::Pass };
    assert_eq!(found.report.verdicts.image, verdict, "{name}");
    let kernels = found.report.kernels.iter().map(|kernel| (kernel.release.as_str(), kernel.is_bootable));
    assert_eq!(kernels.collect::<Vec<_>>(), [(distribution.release(), true)], "{name}");
}

#[test]
#[ignore = "needs the tools of tests/install-packages.sh"]
fn a_system_like_debian_passes_on_every_layout() {
    Layout::all().into_iter().for_each(|layout| check_layout(Distribution::Debian, layout));
}

#[test]
#[ignore = "needs the tools of tests/install-packages.sh"]
fn a_system_like_centos_passes_on_every_layout() {
    Layout::all().into_iter().for_each(|layout| check_layout(Distribution::CentOs, layout));
}

#[test]
#[ignore = "needs root, loop devices and the tools of btrfs"]
fn a_system_in_a_snapshot_passes_with_the_subvolumes_beside_it() {
    check_layout(Distribution::CentOs, Layout::snapshots());
}
