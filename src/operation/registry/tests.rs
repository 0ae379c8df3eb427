//! One operation for a disk, one for a request, and none that is lost.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use super::{Begun, KEPT, MAX_ENDED, MAX_RUNNING, REMEMBERED, Registry, RegistryError, Running};
use crate::clock::{Clock, SystemClock};
use crate::disk::discovery::Disk;
use crate::disk::fixture::Fixture;
use crate::operation::{Call, Caller, Failure, Operation, OperationKind, Outcome, Request};
use crate::reason::{DomainError as _, Reason};

fn registry() -> Arc<Registry> {
    Arc::new(Registry::new(Arc::new(SystemClock)))
}

/// So many disks.
fn disks(count: usize) -> Vec<Disk> {
    let fixture = Fixture::new();
    fixture.nvme("nvme0n1", "259:0", "S");
    let disk = fixture.scan().remove(0);
    let numbered = |minor: usize| {
        let mut disk = disk.clone();
        disk.name = format!("nvme{minor}n1");
        disk.device_number.minor = u32::try_from(minor).expect("small");
        disk
    };
    (0..count).map(numbered).collect()
}

fn request(id: u128) -> Request {
    let digest = [u8::try_from(id % 251).expect("a byte"); 32];
    Request {
        id: Uuid::from_u128(id),
        digest,
        caller: Caller { name: "me".to_owned(), ..Caller::default() },
        method: "",
        call: Call::default(),
    }
}

fn begin(registry: &Arc<Registry>, id: u128, disk: &Disk) -> Result<Running, RegistryError> {
    match registry.begin(&request(id), OperationKind::Install, disk)? {
        Begun::New(running) => Ok(running),
        Begun::Known(operation) => panic!("{} began before", operation.name()),
    }
}

fn good(disk: &Disk) -> Result<Outcome, Failure> {
    Ok(Outcome { disk: disk.clone(), root: [1; 32], len_bytes: 1, warnings: Vec::new(), captured: None })
}

#[test]
fn a_disk_has_one_operation_until_its_work_ends() {
    let (registry, disks) = (registry(), disks(2));
    let first = begin(&registry, 1, &disks[0]).expect("free");
    let error = begin(&registry, 2, &disks[0]).expect_err("held");
    assert_eq!(error.reason(), Reason::OperationInProgress);
    assert_eq!(error.metadata()[1], ("operation", first.operation().name()), "the other is named");
    let second = begin(&registry, 3, &disks[1]).expect("another disk");
    first.finish(good(&disks[0]));
    begin(&registry, 4, &disks[0]).expect("free again").finish(good(&disks[0]));
    second.finish(good(&disks[1]));
}

#[test]
fn a_disk_is_known_by_its_number_not_by_its_name() {
    let (registry, disks) = (registry(), disks(1));
    let held = begin(&registry, 1, &disks[0]).expect("free");
    let renamed = Disk { name: "sdz".to_owned(), ..disks[0].clone() };
    assert_eq!(begin(&registry, 2, &renamed).expect_err("held").reason(), Reason::OperationInProgress);
    drop(held);
}

#[test]
fn the_same_request_finds_its_operation_and_no_other_may_use_its_id() {
    let (registry, disks) = (registry(), disks(2));
    assert!(registry.known(&request(1)).expect("unknown").is_none());
    let running = begin(&registry, 1, &disks[0]).expect("free");
    let operation = running.operation().clone();
    let other = Request { digest: [99; 32], ..request(1) };
    for _ in 0..2 {
        let known = registry.known(&request(1)).expect("the same").expect("known");
        assert!(Arc::ptr_eq(&known, &operation));
        assert_eq!(registry.known(&other).expect_err("another").reason(), Reason::RequestIdReused);
    }
    let again = registry.begin(&request(1), OperationKind::Install, &disks[0]).expect("the same");
    assert!(matches!(again, Begun::Known(known) if Arc::ptr_eq(&known, &operation)), "also when both come at once");
    let reused = registry.begin(&other, OperationKind::Install, &disks[1]).expect_err("taken");
    assert_eq!(reused.reason(), Reason::RequestIdReused);
    running.finish(good(&disks[0]));
    assert!(registry.known(&request(1)).expect("the same").is_some(), "also when it has ended");
}

#[test]
fn the_id_of_somebody_elses_request_leads_nowhere() {
    let (registry, disks) = (registry(), disks(1));
    let running = begin(&registry, 1, &disks[0]).expect("free");
    let you = Caller { name: "you".to_owned(), ..Caller::default() };
    let certificate = Caller { fingerprint: Some("ab".to_owned()), ..request(1).caller };
    for caller in [you, certificate] {
        let error = registry.known(&Request { caller, ..request(1) }).expect_err("another's");
        assert_eq!(error.reason(), Reason::OperationNotFound);
        assert!(!error.to_string().contains(&running.operation().id.to_string()), "{error}");
    }
}

#[test]
fn what_was_withdrawn_never_was() {
    let (registry, disks) = (registry(), disks(1));
    let running = begin(&registry, 1, &disks[0]).expect("free");
    let operation = running.operation().clone();
    let name = operation.name();
    running.withdraw(Failure::from(&RegistryError::TooMany));
    assert!(operation.snapshot().is_done(), "whoever found it meanwhile does not wait for ever");
    assert_eq!(registry.find(&name).expect_err("gone").reason(), Reason::OperationNotFound);
    assert!(registry.known(&request(1)).expect("unknown").is_none());
    drop(begin(&registry, 1, &disks[0]).expect("free"));
}

#[test]
fn work_that_is_lost_ends_its_operation_and_frees_the_disk() {
    let (registry, disks) = (registry(), disks(1));
    let running = begin(&registry, 1, &disks[0]).expect("free");
    let operation = running.operation().clone();
    let work = std::thread::spawn(move || {
        let _held = running;
        panic!("a defect");
    });
    work.join().expect_err("it panicked");
    let snapshot = operation.snapshot();
    let (_, result) = snapshot.end.as_ref().expect("ended");
    assert_eq!(result.as_ref().expect_err("no result").reason, Reason::Internal);
    drop(begin(&registry, 2, &disks[0]).expect("free again"));
}

#[test]
fn operations_are_found_by_name_and_listed_newest_first() {
    let (registry, disks) = (registry(), disks(3));
    let running: Vec<_> = (0..3).map(|at| begin(&registry, at as u128 + 1, &disks[at]).expect("free")).collect();
    let names: Vec<_> = running.iter().map(|running| running.operation().name()).collect();
    let listed: Vec<_> = registry.list().iter().map(|operation| operation.name()).collect();
    assert_eq!(listed, names.iter().rev().cloned().collect::<Vec<_>>());
    let bare = names[0].strip_prefix("operations/").expect("the prefix");
    assert_eq!(registry.find(&names[0]).expect("found").name(), registry.find(bare).expect("found").name());
    for name in ["", "operations/", "operations/7", "operations/operations/7", "x\u{1b}[2J"] {
        let error = registry.find(name).expect_err("none");
        assert_eq!(error.reason(), Reason::OperationNotFound);
        assert!(!error.to_string().contains('\u{1b}'), "no control characters come back");
    }
}

#[test]
fn only_what_has_ended_can_be_forgotten() {
    let (registry, disks) = (registry(), disks(1));
    let running = begin(&registry, 1, &disks[0]).expect("free");
    let name = running.operation().name();
    let operation = registry.find(&name).expect("found");
    assert_eq!(registry.check_ended(&operation).expect_err("running").reason(), Reason::OperationRunning);
    running.finish(good(&disks[0]));
    registry.check_ended(&operation).expect("ended");
    registry.forget(&operation);
    assert_eq!(registry.find(&name).expect_err("gone").reason(), Reason::OperationNotFound);
    assert!(registry.known(&request(1)).expect("unknown").is_none());
}

/// A clock that somebody sets.
struct SetClock(Mutex<SystemTime>);

impl Clock for SetClock {
    fn now(&self) -> SystemTime {
        *self.0.lock().expect("lock")
    }
}

#[test]
fn what_has_ended_is_remembered_for_a_day_and_then_the_oldest_makes_room() {
    let clock = Arc::new(SetClock(Mutex::new(SystemTime::UNIX_EPOCH)));
    let (registry, disks) = (Arc::new(Registry::new(clock.clone())), disks(2));
    let runs = begin(&registry, 1, &disks[1]).expect("free");
    for id in 2..MAX_ENDED as u128 + 2 {
        begin(&registry, id, &disks[0]).expect("free").finish(good(&disks[0]));
    }
    assert!(registry.expire().is_empty(), "none is a day old");
    let full = begin(&registry, 9999, &disks[0]).expect_err("no room");
    assert_eq!(full.reason(), Reason::OperationLimit);
    *clock.0.lock().expect("lock") += REMEMBERED;
    let expired = registry.expire();
    assert_eq!(expired.len(), MAX_ENDED - KEPT);
    assert!(registry.known(&request(2)).expect("unknown").is_none(), "the oldest is forgotten");
    assert!(registry.known(&request(MAX_ENDED as u128 + 1)).expect("known").is_some(), "the newest is not");
    assert!(registry.find(&runs.operation().name()).is_ok(), "what runs is never forgotten");
    drop(begin(&registry, 9999, &disks[0]).expect("room"));
}

#[test]
fn a_restored_operation_is_found_by_its_request_goes_on_once_and_ends() {
    let (registry, disks) = (registry(), disks(2));
    let waits = |id: u128| {
        let started_at = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        let id = Uuid::from_u128(id + 100);
        Arc::new(Operation::new(id, OperationKind::Install, request(id.as_u128()), "sda".to_owned(), started_at))
    };
    let (first, second) = (waits(1), waits(2));
    registry.restore(first.clone());
    registry.restore(second.clone());
    let known = registry.known(&first.request).expect("the same").expect("known");
    assert!(Arc::ptr_eq(&known, &first));
    assert_eq!(registry.resume(Uuid::from_u128(7), &disks[0]).expect_err("none").reason(), Reason::OperationNotFound);
    let running = registry.resume(first.id, &disks[0]).expect("it goes on");
    assert!(Arc::ptr_eq(running.operation(), &first));
    assert_eq!(registry.resume(second.id, &disks[0]).expect_err("held").reason(), Reason::OperationInProgress);
    running.finish(good(&disks[0]));
    assert_eq!(registry.resume(first.id, &disks[1]).expect_err("done").reason(), Reason::OperationNotFound);
    registry.end_restored(&second, Failure::from(&RegistryError::Stopping));
    assert!(second.snapshot().is_done() && first.snapshot().is_done());
}

#[test]
fn no_more_run_than_there_is_memory_for() {
    let (registry, disks) = (registry(), disks(MAX_RUNNING + 1));
    let mut running: Vec<_> =
        (0..MAX_RUNNING).map(|at| begin(&registry, at as u128 + 1, &disks[at]).expect("room")).collect();
    assert_eq!(begin(&registry, 99, &disks[MAX_RUNNING]).expect_err("full").reason(), Reason::OperationLimit);
    drop(running.pop());
    drop(begin(&registry, 99, &disks[MAX_RUNNING]).expect("room"));
}

#[test]
fn a_stop_lets_nothing_begin_and_waits_for_what_runs() {
    let (registry, disks) = (registry(), disks(2));
    let running = begin(&registry, 1, &disks[0]).expect("free");
    registry.stop();
    assert_eq!(begin(&registry, 2, &disks[1]).expect_err("stopping").reason(), Reason::AgentStopping);
    let cancel = running.operation().cancel.clone();
    registry.cancel_all();
    assert!(cancel.is_cancelled());
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let mut idle = looked(registry.idle());
        assert!(!idle.poll_once(), "one still runs");
        running.finish(good(&disks[0]));
        idle.future.await;
        registry.idle().await;
    });
}

/// A future that can be looked at.
struct Looked<F> {
    future: std::pin::Pin<Box<F>>,
}

fn looked<F: Future>(future: F) -> Looked<F> {
    Looked { future: Box::pin(future) }
}

impl<F: Future<Output = ()>> Looked<F> {
    /// Whether it is done.
    fn poll_once(&mut self) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        self.future.as_mut().poll(&mut context).is_ready()
    }
}
