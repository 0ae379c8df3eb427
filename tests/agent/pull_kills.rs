//! Servers and agents that are killed while an image is fetched: a server that comes back is all an install needs, and an
//! agent that comes back goes on by itself, unless the machine was booted anew or a user had cancelled.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bms_agent::audit::Kind;
use serde_json::Value;
use uuid::Uuid;

use crate::support::chaos::{Fault, Plan};
use crate::support::client::{Client, outcome};
use crate::support::garage::Garage;
use crate::support::ground::{in_journal, let_pass};
use crate::support::nginx::Nginx;
use crate::support::repository::{Repository, s3};
use crate::support::site::{Site, begin, disk_for};
use crate::support::{Daemon, Image, LoopDisk, MIB, Seed, eventually};

const KILLS: usize = 30;
/// The longest that a server stays dead, in milliseconds.
const LONGEST_DEATH: u64 = 300;

/// A server that can be killed.
trait Mortal {
    fn kill(&mut self);
    fn restart(&mut self);
}

impl Mortal for Nginx {
    fn kill(&mut self) {
        self.kill();
    }

    fn restart(&mut self) {
        self.restart();
    }
}

impl Mortal for Garage {
    fn kill(&mut self) {
        self.kill();
    }

    fn restart(&mut self) {
        self.restart();
    }
}

/// How long an install takes at least: a share of that lies within any install.
fn shortest_of_three(install: impl Fn()) -> Duration {
    let timed = |_| {
        let since = Instant::now();
        install();
        since.elapsed()
    };
    (0..3).map(timed).min().expect("three")
}

/// Kills a server at random moments of installs; each install ends well.
fn assert_installs_survive(server: &mut impl Mortal, reader: &Repository, image: &Image, seed: &mut Seed) {
    let daemon = Daemon::start_with(&format!(
        "allow_loop_devices = true\n{}retry_seconds = 60\nstall_seconds = 2",
        reader.table()
    ));
    let disk = disk_for(image, seed);
    let install = || begin(&daemon, "system:1", &disk, &["--repository", "main"]);
    let length = shortest_of_three(|| {
        install().finish().done();
    });
    let mut hits = 0;
    for _ in 0..KILLS {
        let mut running = install();
        let_pass(length.mul_f64(seed.below(1000) as f64 / 1000.0));
        server.kill();
        hits += usize::from(!running.is_finished());
        let_pass(Duration::from_millis(seed.below(LONGEST_DEATH)));
        server.restart();
        let installed = running.finish().done();
        assert_eq!(installed["progress"]["verified_bytes"], image.len());
        assert_eq!(disk.hash(image.len()), image.root());
    }
    eprintln!("{hits} of {KILLS} kills hit installs of {length:.1?}");
    assert!(hits >= KILLS / 2, "most of the moments must lie within an install");
}

#[test]
#[ignore = "needs root, loop devices and nginx: tests/run.sh"]
fn kills_of_a_web_server_do_not_end_an_install() {
    let mut seed = Seed::new(51);
    let dir = tempfile::tempdir().expect("directory");
    let image = Image::new(64 * MIB, &mut seed);
    Repository::directory(dir.path()).init(&[]).import(&image.path(), "system", &["--version", "1"]);
    let mut nginx = Nginx::serve(dir.path());
    let reader = Repository::of(&format!("location = {:?}", nginx.url()));
    assert_installs_survive(&mut nginx, &reader, &image, &mut seed);
}

#[test]
#[ignore = "needs root, loop devices and an S3 server: tests/run.sh"]
fn kills_of_an_s3_server_do_not_end_an_install() {
    let mut seed = Seed::new(52);
    let mut garage = Garage::start();
    let dir = tempfile::tempdir().expect("directory");
    let repository = Repository::of(&s3(&garage, &dir.path().join("keys"), "tests")).init(&[]);
    let image = Image::new(64 * MIB, &mut seed);
    repository.import(&image.path(), "system", &["--version", "1"]);
    assert_installs_survive(&mut garage, &repository, &image, &mut seed);
}

/// What is on a disk that could boot must be one of these, whole.
fn assert_unbootable_or_whole(disk: &LoopDisk, images: [&Image; 2]) -> bool {
    let is_bootable = disk.is_bootable();
    if is_bootable {
        let root = disk.hash(images[0].len());
        assert!(images.iter().any(|image| image.root() == root), "a partition table over neither image");
    }
    is_bootable
}

#[tokio::test]
#[ignore = "needs root, loop devices and nginx: tests/run.sh"]
async fn an_agent_that_is_killed_goes_on_by_itself_with_the_same_operation() {
    let mut seed = Seed::new(53);
    let site = Site::new(64 * MIB, &mut seed);
    let other = Image::in_small_groups(64 * MIB, &mut seed);
    let images = [(&site.image, site.id.clone()), (&other, site.add(&other, "2"))];
    let mut daemon = site.daemon("");
    let disk = disk_for(&site.image, &mut seed);
    let length = shortest_of_three(|| {
        site.install(&daemon, &disk, &[]).done();
    });
    let (mut went_on, mut unbootable) = (0, 0);
    for kill in 1..=KILLS {
        let (image, id) = &images[kill % 2];
        let running = begin(&daemon, id, &disk, &["--repository", "main"]);
        let_pass(length.mul_f64(seed.below(1000) as f64 / 1000.0));
        daemon.kill();
        drop(running);
        unbootable += usize::from(!assert_unbootable_or_whole(&disk, [&site.image, &other]));
        let names = in_journal(&daemon);
        daemon.restart();
        let client = Client::connect(&daemon).await;
        if let [name] = &names[..] {
            went_on += 1;
            known(&client, name).await;
            let result = outcome(client.ended(name).await).expect("it goes on and ends well");
            assert_eq!(result.root, blake3::hash(&image.bytes).as_bytes());
            assert_eq!(disk.hash(image.len()), image.root());
            eventually("the journal is empty", || daemon.pending().is_empty());
            assert_audited(&daemon, name, image, id);
            continue;
        }
        // Not begun, or ended: nothing is in between.
        assert!(names.is_empty(), "{names:?}");
        assert!(disk.is_bootable());
    }
    eprintln!("{went_on} of {KILLS} went on, {unbootable} had left a disk without a boot region");
    assert!(went_on >= KILLS / 3 && unbootable >= KILLS / 3, "most of the moments must lie within an install");
}

/// The last line that says that an operation began names its image: the agent that goes on has written it.
fn assert_audited(daemon: &Daemon, operation: &str, image: &Image, id: &str) {
    let operation = operation.trim_start_matches("operations/").parse::<Uuid>().expect("an id");
    let records = daemon.audited();
    let mut begun = records.iter().filter(|record| record.event.kind == Kind::Begin);
    let last = begun.rfind(|record| record.event.operation == Some(operation)).expect("a line");
    let audited = last.event.image.as_ref().expect("an image");
    assert_eq!(audited.root.as_deref(), Some(image.root().as_str()), "{audited:?}");
    assert!(audited.name.as_deref().is_some_and(|name| name.contains(id)), "{audited:?}");
}

/// Waits until an agent that was restarted has looked at its disks, and knows an operation again.
async fn known(client: &Client, name: &str) {
    let since = Instant::now();
    while !client.operation_names().await.iter().any(|known| known == name) {
        assert!(since.elapsed() < Duration::from_secs(60), "{name} is not known any more");
        tokio::task::yield_now().await;
    }
}

/// An install that stands still in its middle, for as long as a test wants.
struct Halfway {
    site: Site,
    daemon: Daemon,
    disk: LoopDisk,
    operation: String,
}

impl Halfway {
    fn new(seed: &mut Seed, config: &str) -> Self {
        let site = Site::new(40 * MIB, seed);
        let daemon = site.daemon_with(config, "retry_seconds = 600\nstall_seconds = 600");
        let disk = disk_for(&site.image, seed);
        site.chaos.plan_after(40, Plan::always(Fault::Stall));
        let running = site.begin(&daemon, &disk, &[]);
        // Requests overtake each other, so how many stall is chance; those before the first that did are on their way.
        eventually("it stalls halfway", || {
            site.chaos.count(Fault::Stall) > 0 && site.image.missing_bytes_on(&disk) < site.image.data_bytes()
        });
        let mut operations = in_journal(&daemon);
        drop(running);
        let operation = operations.pop().expect("in the journal");
        Self { site, daemon, disk, operation }
    }

    /// Why the disk says that it has no boot region; null if the agent was killed.
    fn marker(&self) -> Value {
        assert!(!self.disk.is_bootable());
        let marker = self.daemon.disk(&self.disk)["interrupted_install"].clone();
        assert_eq!(Value::from(self.operation.trim_start_matches("operations/")), last_word(&marker["operation"]));
        marker["reason"].clone()
    }

    /// Nothing goes on, and a new install fetches only what is missing.
    async fn assert_stopped(&self, reason: &str) {
        let client = Client::connect(&self.daemon).await;
        let failure = outcome(client.ended(&self.operation).await).expect_err("it does not go on");
        assert_eq!(failure.reason, reason);
        assert_eq!(self.daemon.pending(), [""; 0].map(PathBuf::from));
        self.site.chaos.plan(Plan::calm());
        assert!(self.site.image.missing_bytes_on(&self.disk) < self.site.image.data_bytes(), "some had come");
        self.site.complete(&self.daemon, &self.disk);
    }

    async fn assert_goes_on(&self) {
        let client = Client::connect(&self.daemon).await;
        known(&client, &self.operation).await;
        outcome(client.ended(&self.operation).await).expect("it ends well");
        assert_eq!(self.disk.hash(self.site.image.len()), self.site.image.root());
    }
}

fn last_word(name: &Value) -> Value {
    let name = name.as_str().unwrap_or_else(|| panic!("a name: {name}"));
    Value::from(name.trim_start_matches("operations/"))
}

#[tokio::test]
#[ignore = "needs root, loop devices and nginx: tests/run.sh"]
async fn an_agent_that_is_stopped_goes_on_and_fetches_only_what_is_missing() {
    let mut seed = Seed::new(54);
    let mut halfway = Halfway::new(&mut seed, "drain_seconds = 0");
    halfway.daemon.ask_to_stop();
    assert!(halfway.daemon.stopped().success());
    assert!(!halfway.disk.is_bootable());
    let missing = halfway.site.image.missing_bytes_on(&halfway.disk);
    assert!(missing < halfway.site.image.data_bytes(), "some had come");
    halfway.site.chaos.plan(Plan::calm());
    halfway.daemon.restart();
    halfway.assert_goes_on().await;
    let client = Client::connect(&halfway.daemon).await;
    let fetched = client.received_bytes(&halfway.operation).await;
    assert!((missing..=missing + missing / 100).contains(&fetched), "{fetched} for {missing} that were missing");
}

#[tokio::test]
#[ignore = "needs root, loop devices and nginx: tests/run.sh"]
async fn after_a_boot_nothing_goes_on_by_itself_and_the_disk_says_what_was_interrupted() {
    let mut seed = Seed::new(55);
    let mut halfway = Halfway::new(&mut seed, "");
    halfway.daemon.kill();
    let entry = halfway.daemon.pending().pop().expect("in the journal");
    let mut pending: Value = serde_json::from_slice(&fs::read(&entry).expect("read")).expect("JSON");
    assert_ne!(pending["pull"]["boot_id"], Value::Null);
    pending["pull"]["boot_id"] = Value::from("another");
    fs::write(&entry, pending.to_string()).expect("written");
    halfway.daemon.restart();
    assert_eq!(halfway.marker(), Value::Null, "it was killed");
    halfway.assert_stopped("DISK_CHANGED").await;
}

#[tokio::test]
#[ignore = "needs root, loop devices and nginx: tests/run.sh"]
async fn what_a_user_cancelled_does_not_go_on_even_if_the_agent_is_killed_at_once() {
    let mut seed = Seed::new(56);
    let mut halfway = Halfway::new(&mut seed, "");
    Client::connect(&halfway.daemon).await.cancel(&halfway.operation).await;
    halfway.daemon.kill();
    assert_eq!(halfway.daemon.pending(), [""; 0].map(PathBuf::from), "what was answered holds");
    halfway.daemon.restart();
    halfway.assert_stopped("OPERATION_CANCELLED").await;
}

#[tokio::test]
#[ignore = "needs root, loop devices and nginx: tests/run.sh"]
async fn a_cancelled_install_fetches_nothing_more_and_the_disk_says_why() {
    let mut seed = Seed::new(57);
    let mut halfway = Halfway::new(&mut seed, "");
    let client = Client::connect(&halfway.daemon).await;
    client.cancel(&halfway.operation).await;
    let failure = outcome(client.ended(&halfway.operation).await).expect_err("cancelled");
    assert_eq!(failure.reason, "OPERATION_CANCELLED");
    eventually("nothing fetches any more", || !halfway.daemon.threads().iter().any(|name| name == "fetch"));
    assert_eq!(halfway.marker(), "OPERATION_CANCELLED");
    halfway.daemon.ask_to_stop();
    assert!(halfway.daemon.stopped().success());
    halfway.daemon.restart();
    halfway.assert_stopped("OPERATION_CANCELLED").await;
}

/// Whoever has put something onto the disk while there was no agent wants it to stay.
#[tokio::test]
#[ignore = "needs root, loop devices and nginx: tests/run.sh"]
async fn a_disk_that_was_written_since_is_left_alone() {
    let mut seed = Seed::new(58);
    for how in ["stopped", "killed"] {
        let mut halfway = Halfway::new(&mut seed, "drain_seconds = 0");
        if how == "stopped" {
            halfway.daemon.ask_to_stop();
            assert!(halfway.daemon.stopped().success());
        } else {
            halfway.daemon.kill();
        }
        assert_eq!(halfway.daemon.pending().len(), 1, "{how}: it would go on");
        halfway.disk.write(0, &seed.bytes(MIB));
        let before = halfway.disk.hash_all();
        halfway.site.chaos.plan(Plan::calm());
        halfway.daemon.restart();
        let client = Client::connect(&halfway.daemon).await;
        let failure = outcome(client.ended(&halfway.operation).await).expect_err("it does not go on");
        assert_eq!(failure.reason, "OPERATION_INTERRUPTED", "{how}");
        assert_eq!(failure.metadata["disk"], halfway.disk.name, "{how}");
        assert_eq!(halfway.disk.hash_all(), before, "{how}");
        assert_eq!(halfway.daemon.pending(), [""; 0].map(PathBuf::from));
    }
}
