//! Many at once: one operation a disk, cancels, retries, clients that go away, and a daemon that is asked to stop.

use std::path::Path;
use std::time::{Duration, Instant};

use bms_agent::rpc::proto::longrunning::ListOperationsRequest;
use bms_agent::rpc::proto::v1::push_image_request::Message;
use bms_agent::rpc::proto::v1::{
    GroupOffer, ImageSpec, OperationMetadata, PlanInstallRequest, PushBegin, Stage, WatchOperationRequest,
};
use tonic::Code;
use uuid::Uuid;

use crate::support::client::{Client, begin, metadata, outcome};
use crate::support::{Daemon, Image, KIB, LoopDisk, MIB, Seed};

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn a_second_operation_on_a_disk_is_aborted_and_names_the_first() {
    let daemon = Daemon::start();
    let client = Client::connect(&daemon).await;
    let (image, disk) = (Image::new(8 * MIB, &mut Seed::quiet(9)), LoopDisk::new(16 * MIB));
    let mut first = client.push(begin(&image, &disk)).await.expect("accepted");

    let second = client.push(begin(&image, &disk)).await.expect_err("the disk is held");
    assert_eq!((second.code, second.reason.as_str()), (Code::Aborted, "OPERATION_IN_PROGRESS"));
    assert_eq!(second.metadata["operation"], first.operation);
    let typed = daemon.install(&image.path(), &disk, &[]);
    assert_eq!(typed.refusal(), "OPERATION_IN_PROGRESS");
    assert_eq!(typed.error()["metadata"]["operation"], first.operation);

    first.offer_all(&image).await;
    first.send_groups(&image, image.data_groups()).await;
    first.finish(&image).await;
    outcome(first.end().await).expect("the first is not disturbed");
    assert_eq!(disk.hash(image.len()), image.root());
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn two_disks_at_once_are_both_right() {
    let daemon = Daemon::start();
    let mut seed = Seed::quiet(10);
    let images = [Image::new(128 * MIB, &mut seed), Image::new(128 * MIB, &mut seed)];
    let disks = [LoopDisk::new(144 * MIB), LoopDisk::new(144 * MIB)];
    let running: Vec<_> =
        images.iter().zip(&disks).map(|(image, disk)| daemon.begin_install(&image.path(), disk, &[])).collect();
    for (running, (image, disk)) in running.into_iter().zip(images.iter().zip(&disks)) {
        assert_eq!(running.finish().done()["result"]["root"], image.root());
        assert_eq!(disk.hash(image.len()), image.root());
    }
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn a_cancel_at_any_moment_ends_within_two_seconds_and_leaves_a_marker() {
    let mut seed = Seed::new(11);
    // Two seconds are the agent's, and none of a disk that others write to.
    let daemon = Daemon::start_alone_in_memory();
    let client = Client::connect(&daemon).await;
    let disk = LoopDisk::below(Path::new("/dev/shm"), 272 * MIB);
    let image = Image::new(256 * MIB, &mut seed);
    let full = Instant::now();
    daemon.install(&image.path(), &disk, &[]).done();
    let length = full.elapsed();
    let mut cancelled = 0;
    for round in 0..10 {
        disk.fill(&mut seed);
        let running = daemon.begin_install(&image.path(), &disk, &[]);
        let operation = running_operation(&client).await;
        // The first at once, so that one at least is certain to be in time; the others at a random moment.
        tokio::time::sleep(length.mul_f64(seed.below(900) as f64 / 1000.0 * f64::from(round.min(1)))).await;
        let asked = Instant::now();
        client.cancel(&operation).await;
        let ended = client.ended(&operation).await;
        assert!(asked.elapsed() < Duration::from_secs(2), "round {round}: {:?}", asked.elapsed());
        let answer = running.finish();
        match outcome(ended) {
            Ok(_) => assert_eq!(disk.hash(image.len()), image.root(), "it was done before the cancel"),
            Err(fault) => {
                assert_eq!((fault.code, fault.reason.as_str()), (Code::Cancelled, "OPERATION_CANCELLED"));
                assert_eq!(answer.code, 5);
                let marker = client.disk(&disk).await.interrupted_install.expect("a marker");
                assert_eq!((marker.reason.as_str(), &marker.operation), ("OPERATION_CANCELLED", &operation));
                assert!(!disk.is_bootable());
                cancelled += 1;
            }
        }
    }
    eprintln!("{cancelled} of 10 cancels came before the end");
    assert!(cancelled > 0);
}

/// The one operation that runs; waits until there is one.
async fn running_operation(client: &Client) -> String {
    let begin = Instant::now();
    loop {
        let request = ListOperationsRequest { filter: "done=false".to_owned(), ..ListOperationsRequest::default() };
        let list = client.operations().list_operations(request).await.expect("list").into_inner().operations;
        if let Some(operation) = list.first() {
            return operation.name.clone();
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "no operation began");
    }
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn a_request_is_done_once_and_its_id_stands_for_nothing_else() {
    let daemon = Daemon::start();
    let client = Client::connect(&daemon).await;
    let (image, disk) = (Image::new(8 * MIB, &mut Seed::quiet(12)), LoopDisk::new(16 * MIB));
    let request = begin(&image, &disk);
    let first = client.push(request.clone()).await.expect("accepted");
    let again = client.push(request.clone()).await.expect("the same request");
    assert_eq!(again.operation, first.operation);
    first.offer_all(&image).await;
    first.send_groups(&image, image.data_groups()).await;
    first.send(Message::Finish(image.finish())).await;
    outcome(first.end().await).expect("installed");
    let told = again.end().await;
    assert_eq!(outcome(told).expect("told of the same end").root, blake3::hash(&image.bytes).as_bytes());
    let later = client.push(request.clone()).await.expect("the same request, once it is done");
    outcome(later.end().await).expect("the same end");

    let other = PushBegin { image: Some(Image::new(9 * MIB, &mut Seed::quiet(1)).spec()), ..request };
    let fault = client.push(other).await.expect_err("another request");
    assert_eq!((fault.code, fault.reason.as_str()), (Code::InvalidArgument, "REQUEST_ID_REUSED"));
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn bmsctl_may_repeat_a_request() {
    let daemon = Daemon::start();
    let (image, disk) = (Image::new(64 * MIB, &mut Seed::quiet(13)), LoopDisk::new(80 * MIB));
    let id = Uuid::new_v4().to_string();
    let first = daemon.install(&image.path(), &disk, &["--request-id", &id]).done();
    // Each run makes a plan and has a token of its own; that does not make it another request.
    let second = daemon.install(&image.path(), &disk, &["--request-id", &id]).done();
    assert_eq!(first["name"], second["name"]);
    let other = daemon.install(&image.path(), &disk, &["--request-id", &id, "--in-place"]);
    assert_eq!(other.refusal(), "REQUEST_ID_REUSED");
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn a_broken_push_is_continued_by_the_next_one() {
    let daemon = Daemon::start();
    let client = Client::connect(&daemon).await;
    let mut seed = Seed::quiet(14);
    let (image, disk) = (Image::new(64 * MIB, &mut seed), LoopDisk::new(80 * MIB));
    disk.fill(&mut seed);
    let groups = image.data_groups();
    let mut push = client.push(begin(&image, &disk)).await.expect("accepted");
    push.offer_all(&image).await;
    assert_eq!(push.await_wants(groups.len()).await, groups, "an empty disk lacks everything");
    push.send_groups(&image, groups[..groups.len() / 2].iter().copied()).await;
    let operation = push.operation.clone();
    // What has not arrived when a connection breaks is lost.
    let arrived = |state: &OperationMetadata| state.progress.is_some_and(|progress| progress.written_bytes >= 4 * MIB);
    watch_until(&client, &operation, arrived).await;
    drop(push);

    let fault = outcome(client.ended(&operation).await).expect_err("nobody finished");
    assert_eq!((fault.code, fault.reason.as_str()), (Code::Unavailable, "PUSH_INTERRUPTED"));
    let marker = client.disk(&disk).await.interrupted_install.expect("a marker");
    assert_eq!(marker.reason, "PUSH_INTERRUPTED");
    assert!(!disk.is_bootable());

    let missing = image.missing_bytes_on(&disk);
    let done = daemon.install(&image.path(), &disk, &[]).done();
    assert_eq!(done["progress"]["received_bytes"], missing, "the marker alone makes it go on in place");
    assert!(missing < image.data_bytes());
    assert_eq!(disk.hash(image.len()), image.root());
}

/// Its connection is alive, and so it would hold the disk and one of the few places for as long as it likes.
#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn a_push_that_stands_still_is_ended_and_lets_go_of_its_disk() {
    let daemon = Daemon::start_with("allow_loop_devices = true\nstream_stall_seconds = 3");
    let client = Client::connect(&daemon).await;
    let mut seed = Seed::quiet(26);
    let (image, disk) = (Image::new(8 * MIB, &mut seed), LoopDisk::new(16 * MIB));
    disk.fill(&mut seed);
    let groups = image.data_groups();
    let push = client.push(begin(&image, &disk)).await.expect("accepted");
    push.offer_all(&image).await;
    push.send_groups(&image, groups[..groups.len() / 2].iter().copied()).await;
    let fault = outcome(client.ended(&push.operation).await).expect_err("nothing more came");
    assert_eq!((fault.code, fault.reason.as_str()), (Code::Unavailable, "PUSH_INTERRUPTED"));
    assert_eq!(fault.metadata["seconds"], "3");
    let marker = client.disk(&disk).await.interrupted_install.expect("a marker");
    assert_eq!(marker.reason, "PUSH_INTERRUPTED");
    assert!(!disk.is_bootable());
    daemon.install(&image.path(), &disk, &[]).done();
    assert_eq!(disk.hash(image.len()), image.root());
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn an_install_completes_without_its_client_once_that_has_finished() {
    let daemon = Daemon::start();
    let (sender, watcher) = (Client::connect(&daemon).await, Client::connect(&daemon).await);
    let (image, disk) = (Image::new(64 * MIB, &mut Seed::quiet(15)), LoopDisk::new(80 * MIB));
    let mut push = sender.push(begin(&image, &disk)).await.expect("accepted");
    push.offer_all(&image).await;
    push.send_groups(&image, image.data_groups()).await;
    push.finish(&image).await;
    let operation = push.operation.clone();
    watch_until(&watcher, &operation, |state| state.stage() >= Stage::ReadBack).await;
    drop((push, sender));
    outcome(watcher.ended(&operation).await).expect("installed");
    assert_eq!(disk.hash(image.len()), image.root());
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn a_plan_token_is_good_once_unaltered_and_for_the_disk_that_was_seen() {
    let daemon = Daemon::start();
    let client = Client::connect(&daemon).await;
    let (image, mut disk) = (Image::new(8 * MIB, &mut Seed::quiet(16)), LoopDisk::new(16 * MIB));
    let token = plan(&client, &image, &disk).await;
    for at in [0, 8, 24, token.len() - 1] {
        let mut altered = token.clone();
        altered[at] ^= 1;
        let fault = client.push(PushBegin { plan_token: altered, ..begin(&image, &disk) }).await.expect_err("altered");
        assert_eq!((fault.code, fault.reason.as_str()), (Code::PermissionDenied, "PLAN_TOKEN_INVALID"), "byte {at}");
    }
    let mut push = client.push(PushBegin { plan_token: token.clone(), ..begin(&image, &disk) }).await.expect("good");
    push.offer_all(&image).await;
    push.send_groups(&image, image.data_groups()).await;
    push.finish(&image).await;
    outcome(push.end().await).expect("installed");
    let used = client.push(PushBegin { plan_token: token, ..begin(&image, &disk) }).await.expect_err("used");
    assert_eq!((used.code, used.reason.as_str()), (Code::FailedPrecondition, "PLAN_STALE"));

    let token = plan(&client, &image, &disk).await;
    disk.reattach();
    let before = disk.hash_all();
    let stale = client.push(PushBegin { plan_token: token, ..begin(&image, &disk) }).await.expect_err("another disk");
    assert_eq!((stale.code, stale.reason.as_str()), (Code::FailedPrecondition, "PLAN_STALE"));
    assert_eq!(disk.hash_all(), before);
}

/// Follows an operation until it is where a test wants it, or is done.
async fn watch_until(client: &Client, operation: &str, is_there: impl Fn(&OperationMetadata) -> bool) {
    let request = WatchOperationRequest { name: operation.to_owned(), after_sequence: 0 };
    let mut states = client.watches().watch_operation(request).await.expect("watch").into_inner();
    while let Some(state) = states.message().await.expect("a state") {
        let state = state.operation.expect("an operation");
        if state.done || is_there(&metadata(&state)) {
            return;
        }
    }
}

async fn plan(client: &Client, image: &Image, disk: &LoopDisk) -> Vec<u8> {
    let PushBegin { disk, image, options, .. } = begin(image, disk);
    let planned = client.provisioning().plan_install(PlanInstallRequest { disk, image, options, source: None }).await;
    planned.expect("a plan").into_inner().token
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn a_daemon_that_is_asked_to_stop_lets_an_install_end_first() {
    let mut daemon = Daemon::start();
    let client = Client::connect(&daemon).await;
    let (image, disk) = (Image::new(256 * MIB, &mut Seed::quiet(17)), LoopDisk::new(272 * MIB));
    let running = daemon.begin_install(&image.path(), &disk, &[]);
    running_operation(&client).await;
    daemon.ask_to_stop();
    running.finish().done();
    drop(client);
    assert!(daemon.stopped().success());
    assert_eq!(disk.hash(image.len()), image.root());
    assert!(!daemon.socket().exists());
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn an_install_that_outlasts_the_drain_is_cancelled_and_says_so() {
    let mut daemon = Daemon::start_with("allow_loop_devices = true\ndrain_seconds = 0");
    let client = Client::connect(&daemon).await;
    let (image, disk) = (Image::new(8 * MIB, &mut Seed::quiet(18)), LoopDisk::new(16 * MIB));
    let push = client.push(begin(&image, &disk)).await.expect("accepted");
    daemon.ask_to_stop();
    let fault = outcome(push.end().await).expect_err("nobody sends it to its end");
    assert_eq!(fault.reason, "OPERATION_CANCELLED");
    drop(client);
    assert!(daemon.stopped().success());
    daemon.restart();
    assert_eq!(daemon.disk(&disk)["interrupted_install"]["reason"], "OPERATION_CANCELLED");
}

/// What it is asked for stays with the agent, which takes nothing more from it then: that is no silence of the caller.
#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn a_push_whose_caller_does_not_read_what_is_wanted_is_ended_as_well() {
    const GROUPS: u64 = 16 << 10;
    let daemon = Daemon::start_with("allow_loop_devices = true\nstream_stall_seconds = 1");
    let (client, watcher) = (Client::connect_with_little_room(&daemon).await, Client::connect(&daemon).await);
    let disk = LoopDisk::new(GROUPS * 64 * KIB);
    let image = ImageSpec { size_bytes: GROUPS * 64 * KIB, group_size_bytes: 64 * KIB, ..ImageSpec::default() };
    let begin = PushBegin {
        request_id: Uuid::new_v4().to_string(),
        disk: Some(disk.wire_selector()),
        image: Some(image),
        ..PushBegin::default()
    };
    let push = client.push(begin).await.expect("accepted");
    let offers = async {
        for first_group in 0..GROUPS {
            let offer = GroupOffer { first_group, group_count: 1, chaining_values: vec![7; 32] };
            push.send(Message::Offer(offer)).await;
        }
    };
    let ((), ended) = tokio::join!(offers, watcher.ended(&push.operation));
    let fault = outcome(ended).expect_err("it does not read");
    assert_eq!((fault.code, fault.reason.as_str()), (Code::Unavailable, "PUSH_INTERRUPTED"));
    assert_eq!(fault.metadata["seconds"], "1");
}
