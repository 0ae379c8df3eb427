//! What an agent still knows after it was killed, and what it refuses when it cannot note it.

use std::fs::{self, File};
use std::process::Command;

use bms_agent::rpc::proto::v1::push_image_request::Message;
use bms_agent::rpc::proto::v1::{OperationKind, PlanInstallRequest, PushBegin, WatchOperationRequest};
use tonic::Code;

use crate::support::authority::ClientCertificate;
use crate::support::client::{Client, Push, begin, metadata, outcome};
use crate::support::secure::Secure;
use crate::support::{Daemon, Image, LoopDisk, MIB, Seed, run};

async fn complete(mut push: Push, image: &Image) {
    push.offer_all(image).await;
    push.send_groups(image, image.data_groups()).await;
    push.finish(image).await;
    outcome(push.end().await).expect("installed");
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn what_had_ended_is_answered_again_and_not_done_again() {
    let mut daemon = Daemon::start();
    let (image, disk) = (Image::new(8 * MIB, &mut Seed::quiet(91)), LoopDisk::new(16 * MIB));
    let request = begin(&image, &disk);
    let client = Client::connect(&daemon).await;
    let push = client.push(request.clone()).await.expect("accepted");
    let operation = push.operation.clone();
    complete(push, &image).await;
    let before = client.operation(&operation).await.expect("known");
    daemon.kill();
    daemon.restart();

    let client = Client::connect(&daemon).await;
    let after = client.operation(&operation).await.expect("known");
    // How fast it was, and parts of a millisecond, are not kept.
    assert!(after.result == before.result && after.done, "to the last field");
    assert_eq!(metadata(&after).progress, metadata(&before).progress);
    assert_eq!(metadata(&after).request_id, request.request_id);
    let writes = disk.writes();
    let again = client.push(request.clone()).await.expect("the same request");
    assert_eq!(again.operation, operation);
    assert_eq!(outcome(again.end().await).expect("the same end").root, blake3::hash(&image.bytes).as_bytes());
    assert_eq!(disk.writes(), writes, "nothing was written again");
    let other = PushBegin { image: Some(Image::new(9 * MIB, &mut Seed::quiet(1)).spec()), ..request.clone() };
    let fault = client.push(other).await.expect_err("another request");
    assert_eq!((fault.code, fault.reason.as_str()), (Code::InvalidArgument, "REQUEST_ID_REUSED"));
    // Whoever followed it before the restart is told the end.
    let watch = WatchOperationRequest { name: operation.clone(), after_sequence: 1 };
    let mut states = client.watches().watch_operation(watch).await.expect("watch").into_inner();
    assert!(states.message().await.expect("a state").expect("one").operation.expect("it").done);

    client.delete(&operation).await.expect("forgotten");
    daemon.kill();
    daemon.restart();
    let client = Client::connect(&daemon).await;
    assert_eq!(client.operation(&operation).await.expect_err("for good").reason, "OPERATION_NOT_FOUND");
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn a_push_that_was_interrupted_says_so_and_the_next_one_sends_what_is_missing() {
    let mut daemon = Daemon::start();
    let (image, disk) = (Image::new(16 * MIB, &mut Seed::quiet(92)), LoopDisk::new(24 * MIB));
    let request = begin(&image, &disk);
    let client = Client::connect(&daemon).await;
    let mut push = client.push(request.clone()).await.expect("accepted");
    push.offer_all(&image).await;
    push.await_wants(image.data_groups().len()).await;
    let operation = push.operation.clone();
    daemon.kill();
    drop(push);
    daemon.restart();

    let client = Client::connect(&daemon).await;
    for _ in 0..2 {
        let again = client.push(request.clone()).await.expect("the same request");
        assert_eq!(again.operation, operation);
        let fault = outcome(again.end().await).expect_err("it did not end");
        assert_eq!((fault.code, fault.reason.as_str()), (Code::Unavailable, "OPERATION_INTERRUPTED"));
        assert_eq!(fault.metadata["disk"], disk.name);
    }
    assert!(!disk.is_bootable());
    complete(client.push(begin(&image, &disk)).await.expect("a new request"), &image).await;
    assert_eq!(disk.hash(image.len()), image.root());
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn a_cancel_that_was_answered_holds_over_a_kill() {
    let mut daemon = Daemon::start();
    let (image, disk) = (Image::new(8 * MIB, &mut Seed::quiet(93)), LoopDisk::new(16 * MIB));
    let client = Client::connect(&daemon).await;
    let push = client.push(begin(&image, &disk)).await.expect("accepted");
    client.cancel(&push.operation).await;
    daemon.kill();
    daemon.restart();
    let client = Client::connect(&daemon).await;
    let fault = outcome(client.ended(&push.operation).await).expect_err("cancelled");
    assert_eq!((fault.code, fault.reason.as_str()), (Code::Cancelled, "OPERATION_CANCELLED"));
}

/// Row 139 of the table of bad inputs: none of these is ever called done.
#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn what_was_noted_and_is_damaged_is_told_and_stops_nothing() {
    let mut daemon = Daemon::start();
    let (image, disk) = (Image::new(8 * MIB, &mut Seed::quiet(94)), LoopDisk::new(16 * MIB));
    for damage in ["cut", "future", "huge", "empty"] {
        daemon.install(&image.path(), &disk, &[]).done();
        let (path, entry) = daemon.noted().into_iter().find(|(_, entry)| !entry["end"].is_null()).expect("noted");
        daemon.kill();
        let text = entry.to_string();
        match damage {
            "cut" => fs::write(&path, &text[..text.len() - 7]),
            "future" => fs::write(&path, text.replace("\"schema\":1", "\"schema\":99")),
            "huge" => File::options().write(true).open(&path).and_then(|file| file.set_len(1 << 30)),
            _ => fs::write(&path, ""),
        }
        .expect("damaged");
        daemon.restart();
        let client = Client::connect(&daemon).await;
        let name = format!("operations/{}", path.file_stem().expect("a name").to_str().expect("UTF-8"));
        let told = client.operation(&name).await.expect("its name is known");
        assert_eq!(metadata(&told).kind(), OperationKind::Unspecified, "{damage}");
        let fault = outcome(told).expect_err("never done");
        assert_eq!((fault.code, fault.reason.as_str()), (Code::DataLoss, "OPERATION_RECORD_DAMAGED"), "{damage}");
        let shown = daemon.ctl(&["operation", "show", &name]);
        assert!(shown.json["kind"].is_null() && shown.code == 0, "{damage}: {}", shown.json);
        daemon.ctl(&["operation", "delete", &name]).done();
        assert!(!path.exists(), "the operator has seen it");
    }
    daemon.install(&image.path(), &disk, &[]).done();
}

/// Something mounted over the state directory until it is dropped.
struct Over(String);

impl Over {
    fn mount(daemon: &Daemon, options: &[&str]) -> Self {
        let at = daemon.state().display().to_string();
        run("mount", &[options, &[&at]].concat());
        Self(at)
    }
}

impl Drop for Over {
    fn drop(&mut self) {
        // The daemon may have files open there; what is left goes with it.
        drop(Command::new("umount").args(["--lazy", &self.0]).status());
    }
}

async fn assert_refused(daemon: &Daemon, what: &str, reasons: &[&str]) {
    let (image, disk) = (Image::new(8 * MIB, &mut Seed::quiet(95)), LoopDisk::new(16 * MIB));
    let (client, writes) = (Client::connect(daemon).await, disk.writes());
    for _ in 0..2 {
        let fault = client.push(begin(&image, &disk)).await.expect_err(what);
        assert_eq!(fault.code, Code::ResourceExhausted, "{what}: {fault:?}");
        assert!(reasons.contains(&fault.reason.as_str()), "{what}: {fault:?}");
    }
    assert_eq!(client.operation_names().await, [""; 0], "{what}: nothing has begun");
    assert_eq!(disk.writes(), writes, "{what}: the disk was not touched");
    assert_eq!(client.disk(&disk).await.interrupted_install, None, "{what}");
}

/// F40 and F41 of the table of faults.
#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn a_state_directory_that_is_full_or_read_only_refuses_before_a_disk_is_touched() {
    let mut daemon = Daemon::start();
    daemon.kill();
    let room = Over::mount(&daemon, &["-t", "tmpfs", "-o", "size=256k", "none"]);
    daemon.restart();
    assert_refused_when_full(&daemon).await;
    let (image, disk) = (Image::new(8 * MIB, &mut Seed::quiet(96)), LoopDisk::new(16 * MIB));
    daemon.install(&image.path(), &disk, &[]).done();
    drop(room);
    daemon.kill();

    daemon.restart();
    let state = daemon.state().display().to_string();
    let readable = Over::mount(&daemon, &["--bind", &state]);
    run("mount", &["-o", "remount,bind,ro", &state]);
    assert_refused(&daemon, "read-only", &["STATE_UNAVAILABLE", "AUDIT_UNAVAILABLE"]).await;
    drop(readable);
    daemon.install(&image.path(), &disk, &[]).done();
}

async fn assert_refused_when_full(daemon: &Daemon) {
    let filler = daemon.state().join("filler");
    let mut file = File::create(&filler).expect("file");
    // Until the kernel says that there is no room.
    while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
    assert_refused(daemon, "full", &["STATE_UNAVAILABLE", "AUDIT_UNAVAILABLE"]).await;
    fs::remove_file(filler).expect("room again");
}

/// Rows 44, 46 and 133 of the table of bad inputs.
#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn what_another_caller_asked_for_is_not_ones_own() {
    let secure = Secure::start();
    let named = |role: &str, name| secure.authority.client(&ClientCertificate { name, ..ClientCertificate::of(role) });
    let (image, disk) = (Image::new(8 * MIB, &mut Seed::quiet(97)), LoopDisk::new(16 * MIB));
    let owner = secure.client(&named("operator", "owner")).await;
    let renewed = secure.client(&named("operator", "owner")).await;
    let other = secure.client(&named("operator", "other")).await;
    let admin = secure.client(&named("admin", "boss")).await;
    let request = begin(&image, &disk);
    let push = owner.push(request.clone()).await.expect("accepted");

    let fault = other.push(request.clone()).await.expect_err("another's request id");
    assert_eq!((fault.code, fault.reason.as_str()), (Code::NotFound, "OPERATION_NOT_FOUND"), "row 44");
    assert!(!format!("{fault:?}").contains(push.operation.trim_start_matches("operations/")), "{fault:?}");
    let same = renewed.push(request.clone()).await.expect("the same name, another certificate");
    assert_eq!(same.operation, push.operation);
    for refused in [other.try_cancel(&push.operation).await, other.delete(&push.operation).await] {
        let fault = refused.expect_err("another's operation");
        assert_eq!((fault.code, fault.reason.as_str()), (Code::PermissionDenied, "ROLE_REQUIRED"), "row 133");
    }
    assert!(!owner.operation(&push.operation).await.expect("known").done);
    for _ in 0..2 {
        renewed.try_cancel(&push.operation).await.expect("row 134: twice is no harm");
    }
    let fault = outcome(owner.ended(&push.operation).await).expect_err("cancelled");
    assert_eq!(fault.reason, "OPERATION_CANCELLED");
    push.send(Message::Finish(image.finish())).await;
    drop((push, same));

    let planned = PlanInstallRequest { disk: request.disk.clone(), image: request.image.clone(), ..Default::default() };
    let plan_token = owner.provisioning().plan_install(planned).await.expect("a plan").into_inner().token;
    let stolen = PushBegin { plan_token, ..begin(&image, &disk) };
    let fault = other.push(stolen).await.expect_err("another's plan");
    assert_eq!((fault.code, fault.reason.as_str()), (Code::PermissionDenied, "PLAN_TOKEN_INVALID"), "row 46");

    let theirs = owner.push(begin(&image, &disk)).await.expect("accepted");
    admin.try_cancel(&theirs.operation).await.expect("an admin may");
    owner.ended(&theirs.operation).await;
    admin.delete(&theirs.operation).await.expect("an admin may");
    drop(theirs);
    drop((owner, renewed, other, admin));
    secure.settled().await;
}
