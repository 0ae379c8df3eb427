//! Faults of callers and of their certificates while an image is pushed, and a daemon that has no descriptors left.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use bms_agent::clock::{Clock as _, SystemClock};
use bms_agent::rpc::proto::longrunning::WaitOperationRequest;
use bms_agent::rpc::proto::v1::GetHostRequest;
use tonic::{Code, Request};

use super::Rows;
use crate::support::authority::ClientCertificate;
use crate::support::client::{Client, Push, begin, outcome};
use crate::support::secure::{Secure, soon};
use crate::support::{Daemon, Image, LoopDisk, MIB, Seed, eventually};

/// Descriptors of a daemon that has few: it starts, serves and installs with them.
const FEW: u32 = 44;

/// A push that has all offers and half of the data.
async fn half(client: &Client, image: &Image, disk: &LoopDisk) -> (Push, Vec<u64>) {
    let mut push = client.push(begin(image, disk)).await.expect("begun");
    push.offer_all(image).await;
    let mut wanted = push.await_wants(image.data_groups().len()).await;
    let later = wanted.split_off(wanted.len() / 2);
    push.send_groups(image, wanted).await;
    (push, later)
}

async fn completes(mut push: Push, later: Vec<u64>, image: &Image, disk: &LoopDisk, what: &str) {
    push.send_groups(image, later).await;
    push.finish(image).await;
    outcome(push.end().await).expect(what);
    assert_eq!(disk.hash(image.len()), image.root(), "{what}");
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn who_stops_waiting_for_an_operation_does_not_stop_it() {
    let rows = Rows::start("");
    let (image, disk) = (Image::dense(4 * MIB, &mut Seed::quiet(120)), LoopDisk::new(8 * MIB));
    let (client, waiter) = (rows.client("operator").await, rows.client("observer").await);
    let (push, later) = half(&client, &image, &disk).await;
    let wait = || Request::new(WaitOperationRequest { name: push.operation.clone(), timeout: None });
    let mut late = wait();
    late.set_timeout(Duration::from_millis(50));
    let told = waiter.operations().wait_operation(late).await.expect_err("F28: its time is over");
    assert!(matches!(told.code(), Code::Cancelled | Code::DeadlineExceeded), "F28: {told:?}");
    for number in 1..=50 {
        let mut operations = waiter.operations();
        let call = tokio::time::timeout(Duration::from_millis(5), operations.wait_operation(wait()));
        assert!(call.await.is_err(), "F27: it still runs");
        // A connection may have 20 calls that are given up before the daemon has seen them: by this answer it has.
        if number % 10 == 0 {
            waiter.hosts().get_host(GetHostRequest::default()).await.expect("F27: others are answered");
        }
    }
    assert_eq!(client.operation_names().await, [push.operation.as_str()]);
    completes(push, later, &image, &disk, "F27: an operation that nobody waits for").await;
    drop((client, waiter));
    rows.secure.settled_but_for_memory("F27").await;
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn a_certificate_that_expires_or_is_revoked_meanwhile_ends_no_push_and_opens_no_connection() {
    let rows = Rows::start("");
    let secure = &rows.secure;
    let until = SystemClock.now() + Duration::from_secs(10);
    let brief = ClientCertificate { until: Some(until), ..ClientCertificate::of("operator") };
    let fired = ClientCertificate { serial: 99, ..ClientCertificate::of("operator") };
    let (brief, fired) = (secure.authority.client(&brief), secure.authority.client(&fired));
    let mut pushes = Vec::new();
    for (seed, identity) in [(121, &brief), (122, &fired)] {
        let (image, disk) = (Image::dense(4 * MIB, &mut Seed::quiet(seed)), LoopDisk::new(8 * MIB));
        let client = secure.client(identity).await;
        let (push, later) = half(&client, &image, &disk).await;
        pushes.push((client, push, later, image, disk));
    }
    secure.write("crl.pem", &secure.authority.revoke(&[99], 2999));
    secure.daemon.hang_up();
    soon("F32: who is revoked stays out", async || !secure.lets_in(secure.config(Some(&fired))).await).await;
    soon("F31: who has expired stays out", async || !secure.lets_in(secure.config(Some(&brief))).await).await;
    assert!(SystemClock.now() >= until, "F31: not before");
    for (client, push, later, image, disk) in pushes {
        // Calls begin on a connection for an hour: docs/access.md.
        client.hosts().get_host(GetHostRequest::default()).await.expect("F31, F32: the connection of before");
        completes(push, later, &image, &disk, "F31, F32: the push").await;
    }
    rows.secure.settled_but_for_memory("F32").await;
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn a_daemon_without_descriptors_accepts_again_when_it_has_some_and_its_push_goes_on() {
    let secure = Secure::start_by(|_, table| {
        Daemon::start_with_descriptors(FEW, &format!("allow_loop_devices = true\n{table}"))
    });
    let (image, disk) = (Image::dense(4 * MIB, &mut Seed::quiet(123)), LoopDisk::new(8 * MIB));
    let client = secure.client(&secure.identity("operator")).await;
    let (push, later) = half(&client, &image, &disk).await;
    let mut silent = Vec::new();
    let refused = || secure.daemon.log().matches("cannot accept connections for a moment").count();
    for _ in 0..60 {
        silent.push(UnixStream::connect(secure.daemon.socket()).expect("the kernel's queue has room"));
    }
    eventually("F35: there are no descriptors", || refused() > 0);
    client.operation_names().await;
    drop(silent);
    let late = secure.identity("observer");
    soon("F35: it accepts again", async || secure.lets_in(secure.config(Some(&late))).await).await;
    completes(push, later, &image, &disk, "F35: the push").await;
    let paused = refused();
    assert!(paused < 200, "F35: it tries again ten times a second, not as fast as it can: {paused}");
    drop(client);
    secure.settled_but_for_memory("F35").await;
}
