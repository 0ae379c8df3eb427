//! Floods from the network while an install runs: it completes, and who asks on the Unix socket is answered.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bms_agent::rpc::proto::v1::GetHostRequest;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use crate::hostile::floods;
use crate::support::client::Client;
use crate::support::hostile::converse;
use crate::support::secure::Secure;
use crate::support::{Daemon, GIB, Image, LoopDisk, MIB, Seed};

/// What a call may take that has nothing to do with disks: all but one of a hundred.
const CONTROL_CALL: Duration = Duration::from_millis(250);
/// `MemoryMax=` of the unit.
const MEMORY_MAX: u64 = 512 * MIB;
/// How many calls there are at least, so that a few may be slow by chance.
const CALLS: usize = 400;
/// How often somebody asks.
const EVERY: Duration = Duration::from_millis(10);
/// Connections of strangers at once; the daemon lets in 16.
const STRANGERS: usize = 24;

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn an_install_completes_and_calls_are_answered_during_floods() {
    let alone = |_, table: &str| Daemon::start_alone_with(&format!("allow_loop_devices = true\n{table}"));
    let secure = Secure::start_by(alone);
    let (image, disk) = (Image::new(GIB, &mut Seed::quiet(64)), LoopDisk::new(GIB));
    let over = AtomicBool::new(false);
    let (mut took, rounds) = thread::scope(|scope| {
        let (daemon, image, disk, over) = (&secure.daemon, &image, &disk, &over);
        let watch = scope.spawn(move || asked_during_installs(daemon, image, disk, over));
        let attack =
            async { tokio::join!(silence(&secure, over), no_certificate(&secure, over), frames(&secure, over)) };
        let rounds = runtime().block_on(attack);
        (watch.join().expect("the installs"), rounds)
    });
    took.sort_unstable();
    let p99 = took[took.len() * 99 / 100];
    let peak = secure.daemon.peak_resident_bytes();
    eprintln!(
        "{} calls: median {:?}, p99 {p99:?}, longest {:?}; {} MiB resident at most; rounds of silence, handshakes, frames: {rounds:?}",
        took.len(),
        took[took.len() / 2],
        took[took.len() - 1],
        peak / MIB
    );
    assert_eq!(disk.hash(image.len()), image.root());
    assert!(took.len() >= CALLS, "too few calls to tell: {}", took.len());
    assert!(rounds.0 > 0 && rounds.1 > 0 && rounds.2 > 0, "no flood: {rounds:?}");
    assert!(p99 <= CONTROL_CALL, "{p99:?}");
    assert!(peak < MEMORY_MAX, "{peak}");
    runtime().block_on(secure.settled());
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime")
}

/// Installs until there were enough calls, asks for the host all the while, and gives how long each answer took.
fn asked_during_installs(daemon: &Daemon, image: &Image, disk: &LoopDisk, over: &AtomicBool) -> Vec<Duration> {
    // However this ends, the floods end with it.
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let _over = Over(over);
    runtime().block_on(async {
        let client = Client::connect(daemon).await;
        let (mut ticks, mut took) = (tokio::time::interval(EVERY), Vec::new());
        while took.len() < CALLS {
            // All of the image is written each time: what a disk has counts only if an install is asked to go on in place.
            let mut install = daemon.begin_install(&image.path(), disk, &[]);
            while !install.is_finished() {
                ticks.tick().await;
                let begin = Instant::now();
                client.hosts().get_host(GetHostRequest::default()).await.expect("answered");
                took.push(begin.elapsed());
            }
            install.finish().done();
        }
        took
    })
}

/// Connections on which nothing is said.
async fn silence(secure: &Secure, over: &AtomicBool) -> usize {
    rounds(over, async || {
        let mut held = Vec::new();
        for _ in 0..STRANGERS {
            held.extend(TcpStream::connect(secure.address).await.ok());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    })
    .await
}

/// Handshakes without a certificate.
async fn no_certificate(secure: &Secure, over: &AtomicBool) -> usize {
    let config = secure.config(None);
    rounds(over, async || assert!(!secure.lets_in(config.clone()).await, "without a certificate")).await
}

/// Frames of somebody who has one.
async fn frames(secure: &Secure, over: &AtomicBool) -> usize {
    let config = secure.config(Some(&secure.identity("operator")));
    rounds(over, async || {
        for (_, script, _) in floods() {
            converse(secure, config.clone(), script).await;
        }
    })
    .await
}

async fn rounds(over: &AtomicBool, mut round: impl AsyncFnMut()) -> usize {
    let mut count = 0;
    while !over.load(Ordering::Relaxed) {
        round().await;
        count += 1;
    }
    count
}
