//! Installs over a network that breaks and lies: complete and verified, or ended with the reason and without a boot
//! region; never a wrong byte.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::authority::Authority;
use crate::support::chaos::{Fault, Plan};
use crate::support::ctl::Answer;
use crate::support::garage::Garage;
use crate::support::nginx::Nginx;
use crate::support::repository::{Repository, s3};
use crate::support::site::{Site, begin, disk_for, scribble};
use crate::support::{Daemon, Image, LoopDisk, MIB, Seed, eventually};

/// Faults of each kind that must have happened.
const FAULTS: usize = 30;
/// Requests out of a thousand that meet one: several an install, and not the same request time and again.
const PER_MILLE: u64 = 40;
/// Moments at which a network breaks for good.
const STORMS: usize = 2;

/// Whether asking again helps, so that an install must not even end.
fn passes(fault: Fault) -> bool {
    match fault {
        Fault::Reset
        | Fault::ServerError
        | Fault::Stall
        | Fault::Truncate
        | Fault::FlipBit
        | Fault::HtmlPage
        | Fault::WrongRange
        | Fault::WholeObject => true,
        // A chunk of the image in the place of another is right in itself; and what is not there is not asked for again.
        Fault::OtherObject | Fault::OldContent | Fault::Trickle => false,
    }
}

/// How an install may end whose network does nothing else any more.
fn reasons(fault: Fault) -> &'static [&'static str] {
    match fault {
        Fault::Reset
        | Fault::ServerError
        | Fault::Stall
        | Fault::Truncate
        | Fault::WrongRange
        | Fault::WholeObject
        | Fault::Trickle => &["REPOSITORY_UNAVAILABLE"],
        Fault::FlipBit => &["IMAGE_DAMAGED", "REPOSITORY_INVALID"],
        // Instead of a part, it is no part.
        Fault::HtmlPage => &["IMAGE_DAMAGED", "REPOSITORY_INVALID", "REPOSITORY_UNAVAILABLE"],
        Fault::OtherObject => &["GROUP_DIGEST_MISMATCH", "IMAGE_DAMAGED"],
        // The objects were not there: a chunk, the manifest, or the repository itself.
        Fault::OldContent => &["IMAGE_DAMAGED", "IMAGE_NOT_FOUND", "REPOSITORY_INVALID"],
    }
}

/// A disk before an install, and what to install it with.
#[derive(Debug, Clone, Copy)]
enum Before {
    /// Another's content: all is fetched, chunk by chunk.
    Noise,
    /// The image with wrong groups: parts of chunks are fetched.
    Scribbled,
}

impl Before {
    fn nth(run: usize, fault: Fault) -> Self {
        match fault {
            Fault::WrongRange | Fault::WholeObject => Self::Scribbled,
            // The network was never asked for parts of what was not there.
            Fault::OldContent => Self::Noise,
            Fault::Reset
            | Fault::ServerError
            | Fault::Stall
            | Fault::Truncate
            | Fault::FlipBit
            | Fault::HtmlPage
            | Fault::OtherObject
            | Fault::Trickle => [Self::Noise, Self::Scribbled][run % 2],
        }
    }

    fn prepare(self, site: &Site, disk: &LoopDisk, seed: &mut Seed) -> &'static [&'static str] {
        match self {
            Self::Noise => {
                disk.fill(seed);
                &[]
            }
            Self::Scribbled => {
                scribble(&site.image, disk, seed);
                &["--in-place"]
            }
        }
    }
}

/// What a run that did not end well left: its reason, and nothing that could boot. One that was refused because the
/// calls before it met the faults has touched nothing.
fn assert_ended(answer: &Answer, before: &str, fault: Fault, daemon: &Daemon, disk: &LoopDisk) {
    let reason = answer.reason();
    assert!(reasons(fault).contains(&reason), "{fault:?}: {}", answer.json);
    let marker = &daemon.disk(disk)["interrupted_install"];
    if marker.is_null() {
        assert_eq!(disk.hash_all(), before, "{fault:?}: {}", answer.json);
    } else {
        assert!(!disk.is_bootable(), "{fault:?}: {reason}");
        assert_eq!(marker["reason"], reason);
    }
}

#[test]
#[ignore = "needs root, loop devices and nginx: tests/run.sh"]
fn single_faults_of_a_network_do_not_end_an_install_unless_asking_again_is_no_help() {
    let mut seed = Seed::new(41);
    let site = Site::new(40 * MIB, &mut seed);
    let daemon = site.daemon("retry_seconds = 20\nstall_seconds = 1");
    let disk = disk_for(&site.image, &mut seed);
    for fault in Fault::ALL {
        let since = Instant::now();
        let (mut run, mut ended) = (0, 0);
        while site.chaos.count(fault) < FAULTS {
            let options = Before::nth(run, fault).prepare(&site, &disk, &mut seed);
            let before = disk.hash_all();
            site.chaos.plan(Plan { seed: seed.next(), kinds: vec![fault], per_mille: PER_MILLE });
            let answer = site.install(&daemon, &disk, options);
            site.chaos.plan(Plan::calm());
            if passes(fault) || answer.code == 0 {
                site.assert_whole(&answer.done(), &disk);
            } else {
                assert_ended(&answer, &before, fault, &daemon, &disk);
                site.complete(&daemon, &disk);
                ended += 1;
            }
            run += 1;
        }
        let happened = site.chaos.count(fault);
        eprintln!("{fault:?}: {happened} in {run} installs, {ended} ended; {:.1?}", since.elapsed());
    }
}

#[test]
#[ignore = "needs root, loop devices and nginx: tests/run.sh"]
fn a_network_that_breaks_for_good_ends_an_install_with_the_reason_and_it_completes_when_all_is_well() {
    let mut seed = Seed::new(42);
    let site = Site::new(40 * MIB, &mut seed);
    let daemon = site.daemon("");
    let disk = disk_for(&site.image, &mut seed);
    for fault in Fault::ALL {
        for run in 0..STORMS {
            let options = Before::nth(run, fault).prepare(&site, &disk, &mut seed);
            let before = disk.hash_all();
            let happened = site.chaos.count(fault);
            // Two calls look at two objects each; then come repository, manifest, tree, and at least a hundred more.
            let moment = 4 + seed.below(60);
            site.chaos.plan_after(moment, Plan::always(fault));
            let since = Instant::now();
            let options = [options, &["--repository", "hasty"]].concat();
            let answer = begin(&daemon, &site.id, &disk, &options).finish();
            site.chaos.plan(Plan::calm());
            assert!(since.elapsed() < Duration::from_secs(60), "{fault:?}: {:?}", since.elapsed());
            assert!(site.chaos.count(fault) > happened, "{fault:?} after {moment} requests");
            assert_ne!(answer.code, 0, "{fault:?} after {moment} requests");
            assert_ended(&answer, &before, fault, &daemon, &disk);
            assert!(!disk.is_bootable(), "it had begun");
            eprintln!("{fault:?} after {moment} requests: {} in {:.1?}", answer.reason(), since.elapsed());
            site.complete(&daemon, &disk);
        }
    }
}

#[test]
#[ignore = "needs root, loop devices and nginx: tests/run.sh"]
fn a_server_that_stays_dead_or_sends_a_byte_a_second_ends_an_install_in_time() {
    let mut seed = Seed::new(43);
    let mut site = Site::new(40 * MIB, &mut seed);
    let daemon = site.daemon("retry_seconds = 3\nstall_seconds = 2");
    let disk = disk_for(&site.image, &mut seed);
    let unavailable = |answer: &Answer, since: Instant| {
        assert_eq!((answer.code, answer.reason()), (1, "REPOSITORY_UNAVAILABLE"), "{}", answer.json);
        assert!((2..60).contains(&since.elapsed().as_secs()), "{:?}", since.elapsed());
        assert!(!disk.is_bootable());
        assert_eq!(daemon.disk(&disk)["interrupted_install"]["reason"], "REPOSITORY_UNAVAILABLE");
        answer.error()["metadata"]["retries"].as_str().and_then(|text| text.parse::<u32>().ok()).expect("retries")
    };

    site.chaos.plan_after(20, Plan::always(Fault::Stall));
    // From here on, for the time that a request is tried again begins before anybody sees that it stalls.
    let since = Instant::now();
    let running = site.begin(&daemon, &disk, &[]);
    eventually("it stalls", || site.chaos.count(Fault::Stall) > 0);
    site.nginx.kill();
    site.chaos.plan(Plan::calm());
    assert!(unavailable(&running.finish(), since) > 0);
    site.nginx.restart();
    site.complete(&daemon, &disk);

    site.chaos.plan_after(20, Plan::always(Fault::Trickle));
    disk.fill(&mut seed);
    let since = Instant::now();
    unavailable(&site.install(&daemon, &disk, &[]), since);
    assert!(site.chaos.count(Fault::Trickle) > 0);
    site.chaos.plan(Plan::calm());
    eventually("nothing fetches any more", || !daemon.threads().iter().any(|name| name == "fetch"));
    site.complete(&daemon, &disk);
}

/// An install that is refused at once, and touches nothing.
fn assert_refused_at_once(daemon: &Daemon, image: &str, disk: &LoopDisk, reason: &str) -> Value {
    let before = disk.hash_all();
    let since = Instant::now();
    let answer = begin(daemon, image, disk, &["--repository", "main"]).finish();
    assert_eq!(answer.refusal(), reason, "{}", answer.json);
    // A call tries again for 15 s where that may help.
    assert!(since.elapsed() < Duration::from_secs(14), "without retries: {:?}", since.elapsed());
    assert_eq!(disk.hash_all(), before);
    answer.json
}

#[test]
#[ignore = "needs root, loop devices and nginx: tests/run.sh"]
fn a_server_whose_certificate_nobody_trusts_is_refused_at_once() {
    let mut seed = Seed::new(44);
    let dir = tempfile::tempdir().expect("directory");
    let image = Image::new(16 * MIB, &mut seed);
    Repository::directory(dir.path()).init(&[]).import(&image.path(), "system", &["--version", "1"]);
    let authority = Authority::new();
    let nginx = Nginx::serve_tls(dir.path(), &authority);
    let pem = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(pem.path(), authority.pem()).expect("written");
    let disk = disk_for(&image, &mut seed);
    let location = format!("location = {:?}\nretry_seconds = 30", nginx.url());

    let daemon = start(&Repository::of(&location));
    assert_refused_at_once(&daemon, "system:1", &disk, "SOURCE_UNTRUSTED");
    drop(daemon);
    assert_eq!(nginx.requests(), [""; 0]);

    let daemon = start(&Repository::of(&format!("{location}\nca = {:?}", pem.path())));
    begin(&daemon, "system:1", &disk, &["--repository", "main"]).finish().done();
    assert_eq!(disk.hash(image.len()), image.root());
}

#[test]
#[ignore = "needs root, loop devices and an S3 server: tests/run.sh"]
fn a_server_that_knows_other_credentials_is_refused_at_once_and_none_of_them_is_told() {
    let mut seed = Seed::new(45);
    let garage = Garage::start();
    let dir = tempfile::tempdir().expect("directory");
    let credentials = dir.path().join("keys");
    let repository = Repository::of(&format!("{}\nretry_seconds = 30", s3(&garage, &credentials, "tests"))).init(&[]);
    let image = Image::new(16 * MIB, &mut seed);
    repository.import(&image.path(), "system", &["--version", "1"]);
    let wrong = "ff".repeat(32);
    let keys = std::fs::read_to_string(&credentials).expect("credentials");
    std::fs::write(&credentials, keys.replace(garage.secret_key(), &wrong)).expect("written");
    let daemon = start(&repository);
    let disk = disk_for(&image, &mut seed);
    let told = assert_refused_at_once(&daemon, "system:1", &disk, "REPOSITORY_DENIED");
    assert!(!told.to_string().contains(&wrong) && !daemon.log().contains(&wrong));
    std::fs::write(&credentials, keys).expect("written");
    begin(&daemon, "system:1", &disk, &["--repository", "main"]).finish().done();
    assert_eq!(disk.hash(image.len()), image.root());
}

fn start(repository: &Repository) -> Daemon {
    Daemon::start_with(&format!("allow_loop_devices = true\n{}", repository.table()))
}
