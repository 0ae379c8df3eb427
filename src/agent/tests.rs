//! What the agent does when a disk cannot be had: it says why, holds nothing, and has written nothing.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::begin::{Intent, Start};
use super::{
    Agent, AgentError, CaptureRequest, InspectionSettings, InstallRequest, Journal, Looks, NewImage, SharedClock,
    VerifyAgainst,
};
use crate::audit::{self, Audit, AuditedImage};
use crate::clock::SystemClock;
use crate::compatibility::{Admission, Override, Requirements};
use crate::disk::fixture::Fixture;
use crate::disk::selector::Selector;
use crate::hardware::alias::Aliases;
use crate::hardware::survey::Survey;
use crate::image::group::{GroupSize, Layout};
use crate::image::manifest::{CaptureMode, Kind};
use crate::inspect::policy::Choice;
use crate::operation::registry::Registry;
use crate::operation::{Call, Caller, OperationKind, Request};
use crate::provision::feed::Encoding;
use crate::provision::install::Resources;
use crate::provision::plan::{ImageSpec, Options};
use crate::provision::record::Records;
use crate::provision::token::PlanTokens;
use crate::pull::HttpAccess;
use crate::reason::{DomainError as _, Reason};
use crate::repository::{Location, Settings};

/// An agent on a server with these disks, none of which has a node.
fn agent(fixture: &Fixture) -> Arc<Agent> {
    let clock = Arc::new(SystemClock);
    Arc::new(Agent {
        discovery: fixture.discovery(),
        looks: Looks::default(),
        survey: Survey::below(&fixture.path(""), "x86_64"),
        aliases: Aliases::built_in().expect("aliases"),
        registry: Arc::new(Registry::new(clock.clone())),
        records: Records::open(&fixture.path("")).expect("opened"),
        journal: Journal::open(&fixture.path("")).expect("opened"),
        audit: Audit::open(&fixture.path("audit"), clock.clone(), "boot").expect("opened"),
        repositories: BTreeMap::new(),
        http: HttpAccess::default(),
        inspection: InspectionSettings::off(),
        tokens: PlanTokens::default(),
        resources: Resources { memory_bytes: 32 << 20, workers: NonZeroUsize::MIN },
        stream_stall: Duration::from_secs(120),
        clock: SharedClock(clock),
    })
}

fn selector(serial: &str) -> Selector {
    Selector { serial: Some(serial.to_owned()), ..Selector::default() }
}

fn request(serial: &str) -> InstallRequest {
    let layout = Layout::new(1 << 30, GroupSize::default());
    let image = ImageSpec { layout, root: None, logical_block_size: None };
    InstallRequest {
        selector: selector(serial),
        image,
        options: Options::default(),
        inspection: Choice::default(),
        admission: Admission { requirements: Requirements::of_content(1 << 30, None), overrides: Vec::new() },
    }
}

fn id(id: u128) -> Request {
    Request { id: Uuid::from_u128(id), digest: [0; 32], caller: Caller::default(), method: "", call: Call::default() }
}

fn refused(agent: &Arc<Agent>, request: &InstallRequest, token: &[u8]) -> AgentError {
    agent.install(&id(1), request, token).expect_err("refused")
}

#[test]
fn a_refused_install_leaves_neither_operation_nor_hold() {
    let fixture = Fixture::new();
    fixture.nvme("nvme0n1", "259:0", "S1");
    let agent = agent(&fixture);
    for _ in 0..2 {
        assert_eq!(refused(&agent, &request("S1"), &[]).reason(), Reason::DiskGone, "the same id may be used again");
        assert!(agent.registry.list().is_empty());
    }
    fixture.write("dev/nvme0n1", "no disk");
    assert_eq!(refused(&agent, &request("S1"), &[]).reason(), Reason::DiskNodeNotBlock);
}

#[test]
fn plan_and_install_refuse_alike() {
    let fixture = Fixture::new();
    fixture.nvme("nvme0n1", "259:0", "S1");
    fixture.nvme("nvme1n1", "259:1", "S2").attribute("ro", "1\n");
    fixture.nvme("nvme2n1", "259:2", "S3").attribute("size", "2048\n");
    let agent = agent(&fixture);
    let huge = Layout::new(30 << 30, GroupSize::new(64 << 10).expect("valid"));
    let many = InstallRequest { image: ImageSpec { layout: huge, ..request("S1").image }, ..request("S1") };
    let table = [
        (request("S2"), Reason::DiskReadOnly),
        (request("S3"), Reason::ImageTooLarge),
        (request("S4"), Reason::DiskNotFound),
        (many, Reason::ImageTreeTooLarge),
    ];
    for (request, reason) in table {
        assert_eq!(agent.plan(&request).expect_err("refused").reason(), reason);
        assert_eq!(refused(&agent, &request, &[]).reason(), reason);
    }
    assert!(agent.plan(&request("S1")).is_ok());
}

#[test]
fn an_image_that_does_not_fit_the_server_is_refused_unless_that_is_overridden() {
    let fixture = Fixture::new();
    fixture.nvme("nvme0n1", "259:0", "S1");
    let agent = agent(&fixture);
    let asking = |change: fn(&mut Requirements), ids: &[&str]| {
        let mut request = request("S1");
        change(&mut request.admission.requirements);
        let by_caller = |id: &&str| Override { id: (*id).to_owned(), by: "user 0".to_owned() };
        request.admission.overrides = ids.iter().map(by_caller).collect();
        request
    };
    let of_arm = |requirements: &mut Requirements| requirements.architecture = Some("aarch64".to_owned());
    let private = |requirements: &mut Requirements| requirements.kind = Some(Kind::Private);
    let large = |requirements: &mut Requirements| requirements.min_disk_bytes = 1 << 50;
    for (request, reason, findings) in [
        (asking(of_arm, &[]), Reason::ImageIncompatible, "HW-02"),
        (asking(of_arm, &["HW-01"]), Reason::ImageIncompatible, "HW-02"),
        (asking(private, &[]), Reason::CompatibilityUnknown, "HW-01"),
        (asking(of_arm, &["HW-2"]), Reason::OverrideInvalid, "HW-2"),
        (asking(large, &["HW-05"]), Reason::OverrideInvalid, "HW-05"),
    ] {
        let error = refused(&agent, &request, &[]);
        assert_eq!((error.reason(), &error.metadata()[0]), (reason, &("findings", findings.to_owned())), "{error}");
        let names_disk = error.metadata().contains(&("disk", "nvme0n1".to_owned()));
        assert_eq!(names_disk, reason != Reason::OverrideInvalid, "{error}");
        assert_eq!(agent.plan(&request).expect_err("refused").reason(), reason);
    }
    let planned = agent.plan(&asking(of_arm, &["HW-02"])).expect("overridden");
    let overridden = planned.judgement.overridden();
    assert!(matches!(&overridden[..], [one] if one.starts_with("HW-02 was overridden by user 0: ")), "{overridden:?}");
    let token = agent.tokens.issue(&planned.plan, "user ");
    let other = asking(of_arm, &["HW-02", "HW-03"]);
    assert_eq!(refused(&agent, &other, &token).reason(), Reason::PlanStale, "a token holds for its own overrides");
}

#[test]
fn a_token_holds_for_its_own_plan() {
    let fixture = Fixture::new();
    fixture.nvme("nvme0n1", "259:0", "S1");
    fixture.nvme("nvme1n1", "259:1", "S2");
    let agent = agent(&fixture);
    let token = agent.tokens.issue(&agent.plan(&request("S1")).expect("planned").plan, "user ");
    assert_eq!(refused(&agent, &request("S2"), &token).reason(), Reason::PlanStale);
    assert_eq!(refused(&agent, &request("S1"), b"token").reason(), Reason::PlanTokenInvalid);
    assert_eq!(refused(&agent, &request("S1"), &token).reason(), Reason::DiskGone, "the token holds, the disk is gone");
    assert_eq!(refused(&agent, &request("S1"), &token).reason(), Reason::PlanStale, "it is good once");
}

#[test]
fn a_disk_without_a_record_has_nothing_to_verify_against() {
    let fixture = Fixture::new();
    fixture.nvme("nvme0n1", "259:0", "S1");
    let agent = agent(&fixture);
    let verify = |against| agent.verify(&id(2), &selector("S1"), against).expect_err("refused");
    let error = verify(VerifyAgainst::Record);
    assert_eq!((error.reason(), error.metadata()), (Reason::VerifyNoRecord, vec![("disk", "nvme0n1".to_owned())]));
    let layout = Layout::new(1 << 20, GroupSize::default());
    assert_eq!(verify(VerifyAgainst::Root(layout, [0; 32])).reason(), Reason::DiskGone);
    assert!(agent.registry.list().is_empty());
}

#[test]
fn disks_that_cannot_be_read_are_listed_all_the_same() {
    let fixture = Fixture::new();
    fixture.nvme("nvme0n1", "259:0", "S1");
    let disks = agent(&fixture).disks().expect("listed");
    let [disk] = disks.as_slice() else { panic!("{disks:?}") };
    assert_eq!((disk.disk.name.as_str(), disk.content.is_none(), disk.refusals.len()), ("nvme0n1", true, 0));
}

#[test]
fn a_refused_capture_leaves_neither_operation_nor_hold() {
    let fixture = Fixture::new();
    fixture.nvme("nvme0n1", "259:0", "S1");
    fixture.nvme("nvme1n1", "259:1", "S2").attribute("removable", "1\n");
    let mut agent = Arc::into_inner(agent(&fixture)).expect("the only one");
    // Nothing is asked of the repository before the disk is held.
    let settings = Settings::new(Location::Directory("/nowhere".into()));
    agent.repositories.insert("main".to_owned(), settings);
    let agent = Arc::new(agent);
    let web = NewImage {
        repository: "main".to_owned(),
        name: "web".to_owned(),
        version: "1".to_owned(),
        description: String::new(),
        labels: BTreeMap::new(),
        kind: Kind::Private,
        owner: "me".to_owned(),
    };
    let capture = |serial: &str, image: &NewImage, group_size: u64| {
        let group_size = Some(GroupSize::new(group_size).expect("valid"));
        let request = CaptureRequest { selector: selector(serial), mode: CaptureMode::BitExact, group_size };
        agent.capture_image(&id(3), &request, image).expect_err("refused").reason()
    };
    let other = NewImage { repository: "other".to_owned(), ..web.clone() };
    let nameless = NewImage { name: String::new(), ..web.clone() };
    for (serial, image, group_size, reason) in [
        ("S1", &web, 1 << 20, Reason::DiskGone),
        ("S1", &web, 1 << 16, Reason::ImageTreeTooLarge),
        ("S2", &web, 1 << 20, Reason::DiskRemovable),
        ("S3", &web, 1 << 20, Reason::DiskNotFound),
        ("S1", &other, 1 << 20, Reason::RepositoryUnknown),
        ("S1", &nameless, 1 << 20, Reason::ManifestMalformed),
    ] {
        assert_eq!(capture(serial, image, group_size), reason, "{serial} {image:?}");
        assert!(agent.registry.list().is_empty());
    }
    let request = CaptureRequest { selector: selector("S1"), mode: CaptureMode::UsedBlocks, group_size: None };
    assert_eq!(agent.stream_capture(&id(4), &request, Encoding::Raw).expect_err("refused").reason(), Reason::DiskGone);
    assert!(agent.registry.list().is_empty());
}

#[test]
fn a_disk_that_hangs_is_listed_with_the_reason_and_nothing_is_planned_for_it() {
    let fixture = Fixture::new();
    fixture.nvme("nvme0n1", "259:0", "S1");
    let mut agent = agent(&fixture);
    let number = agent.discovery.scan().expect("disks")[0].device_number;
    Arc::get_mut(&mut agent).expect("alone").looks = Looks::hanging(number);
    let listed = &agent.disks().expect("listed")[0];
    assert_eq!(listed.refusals.iter().map(|refusal| refusal.reason).collect::<Vec<_>>(), [Reason::DiskIo]);
    assert!(listed.content.is_none());
    assert_eq!(refused(&agent, &request("S1"), &[]).reason(), Reason::DiskIo);
}

#[test]
fn a_call_that_was_given_up_begins_nothing() {
    let fixture = Fixture::new();
    fixture.nvme("nvme0n1", "259:0", "S1");
    let agent = agent(&fixture);
    let disk = &agent.discovery.scan().expect("disks")[0];
    let begin = |request: &Request| {
        let image = AuditedImage::default();
        let kind = OperationKind::Install;
        agent.begin(Intent { request, kind, disk, image, overridden: Vec::new(), pull: None }, |_| Ok(()))
    };
    let (late, next) = (id(7), id(8));
    assert!(late.call.give_up());
    let error = begin(&late).expect_err("nobody waits for it");
    assert_eq!(error.reason(), Reason::CallTimedOut);
    assert!(agent.registry.list().is_empty() && agent.journal.load().expect("a journal").is_empty());
    let mut events = Vec::new();
    audit::read(&fixture.path("audit"), |entry| events.push(entry.record().expect("a record").event.kind))
        .expect("a log");
    assert_eq!(events, [audit::Kind::Begin, audit::Kind::End], "the log has both");
    // The disk is free.
    let Start::Begun(work, ()) = begin(&next).expect("begun") else { panic!("it is new") };
    assert!(!next.call.give_up(), "it has begun");
    drop(work);
}
