//! Where installs are cut off: a small disk in memory, two images for it, pushed or pulled, and what must hold afterwards.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::ctl::{Answer, Running};
use super::repository::Repository;
use super::site::begin;
use super::{Daemon, Image, LoopDisk, MIB, Seed, eventually};

/// Small enough for hundreds of installs.
const IMAGE_BYTES: u64 = 24 * MIB;

/// How an image gets to the agent. A pull has an entry in the journal while it runs; a push has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Push,
    Pull,
}

/// What is on the disk of an install that was cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// The former image, whole: the install had not begun.
    Former,
    /// No boot region.
    Unbootable,
    /// The new image, whole.
    Complete,
}

/// The disk and the images.
#[derive(Debug)]
pub(crate) struct Ground {
    images: [Image; 2],
    ids: [String; 2],
    repository: Repository,
    pub(crate) disk: LoopDisk,
    _dir: TempDir,
}

impl Ground {
    pub(crate) fn new(seed: &mut Seed) -> Self {
        let dir = tempfile::tempdir().expect("directory");
        let repository = Repository::directory(dir.path()).init(&[]);
        let images = [Image::new(IMAGE_BYTES, seed), Image::new(IMAGE_BYTES, seed)];
        let import = |image: &Image, version| {
            let imported = repository.import(&image.path(), "system", &["--version", version]);
            imported["image_id"].as_str().expect("an id").to_owned()
        };
        let ids = [import(&images[0], "1"), import(&images[1], "2")];
        let disk = LoopDisk::below(Path::new("/dev/shm"), IMAGE_BYTES + 2 * MIB);
        Self { images, ids, repository, disk, _dir: dir }
    }

    /// A daemon that knows the repository, with these lines in its configuration.
    pub(crate) fn daemon(&self, lines: &str) -> Daemon {
        Daemon::start_in_memory_with(&format!("allow_loop_devices = true\n{lines}\n{}", self.repository.table()))
    }

    /// The image of this number; they take turns.
    pub(crate) fn image(&self, number: u64) -> &Image {
        &self.images[usize::from(number % 2 == 1)]
    }

    fn id(&self, number: u64) -> &str {
        &self.ids[usize::from(number % 2 == 1)]
    }

    /// Puts the other image onto the disk, whole: its table must never be seen over content of the new one.
    pub(crate) fn lay_other_than(&self, number: u64) {
        self.disk.write(0, &self.image(number + 1).bytes);
    }

    /// Starts to install an image.
    pub(crate) fn begin(&self, daemon: &Daemon, way: Way, number: u64) -> Running {
        match way {
            Way::Push => daemon.begin_install(&self.image(number).path(), &self.disk, &[]),
            Way::Pull => begin(daemon, self.id(number), &self.disk, &["--repository", "main"]),
        }
    }

    /// Waits until an install has written to the disk, which had taken so many writes before, or is over.
    pub(crate) fn await_written(&self, writes: u64, running: &mut Running) {
        spin(|| self.disk.writes() > writes || running.is_finished());
    }

    /// How long an install takes at least, from begin to end.
    pub(crate) fn measure(&self, daemon: &Daemon, way: Way) -> Duration {
        let install = |number| {
            self.lay_other_than(number);
            let since = Instant::now();
            self.begin(daemon, way, number).finish().done();
            since.elapsed()
        };
        [0, 1, 0].map(install).into_iter().min().expect("three")
    }

    /// How an agent that is gone has left an install of this image. Only pulls go on, whatever the journal has of others.
    pub(crate) fn cut(&self, daemon: &Daemon, way: Way, number: u64, known: HashSet<String>) -> Cut {
        let pending = if way == Way::Pull { in_journal(daemon) } else { Vec::new() };
        Cut { known, left: self.look(number), pending }
    }

    /// What is on the disk. A partition table over anything else than a whole image is the end of a test.
    fn look(&self, number: u64) -> Left {
        if !self.disk.is_bootable() {
            return Left::Unbootable;
        }
        match self.disk.hash(IMAGE_BYTES) {
            root if root == self.image(number).root() => Left::Complete,
            root if root == self.image(number + 1).root() => Left::Former,
            root => panic!("a partition table over content that is neither image: {root}"),
        }
    }

    /// An install in place sends what is missing, and nothing else.
    pub(crate) fn complete(&self, daemon: &Daemon, number: u64) {
        let image = self.image(number);
        let missing = image.missing_bytes_on(&self.disk);
        let done: Value = self.complete_by(daemon, image).done();
        assert_eq!(done["progress"]["received_bytes"], missing, "only what is missing is sent");
        assert_eq!(self.look(number), Left::Complete);
        daemon.verify(&self.disk, &[]).done();
    }

    fn complete_by(&self, daemon: &Daemon, image: &Image) -> Answer {
        daemon.install(&image.path(), &self.disk, &["--in-place"])
    }

    /// What an agent that is back must do and say about an install of this image that was cut off.
    pub(crate) fn assert_named(&self, daemon: &Daemon, number: u64, cut: &Cut) {
        let new: Vec<_> =
            operations(daemon).into_iter().filter(|operation| !cut.known.contains(name(operation))).collect();
        for operation in new.iter().filter(|operation| is_done_well(operation)) {
            assert_eq!(self.look(number), Left::Complete, "{operation} says that it is done");
        }
        match &cut.pending[..] {
            [] => {
                let marker = &daemon.disk(&self.disk)["interrupted_install"];
                assert_eq!(!marker.is_null(), cut.left == Left::Unbootable, "{cut:?}: {marker}");
            }
            [pending] => {
                let ended = || daemon.ctl(&["operation", "show", pending]).json["done"] == true;
                eventually("the install that is in the journal goes on and ends", ended);
                let operation = daemon.ctl(&["operation", "show", pending]).done();
                assert!(is_done_well(&operation), "{operation}");
                assert_eq!(self.look(number), Left::Complete);
                eventually("the journal is empty", || daemon.pending().is_empty());
            }
            more => panic!("one install was begun, and these are in the journal: {more:?}"),
        }
    }
}

/// An install at the moment it was cut off.
#[derive(Debug)]
pub(crate) struct Cut {
    /// Operations from before it.
    known: HashSet<String>,
    pub(crate) left: Left,
    /// The pull that can go on.
    pub(crate) pending: Vec<String>,
}

/// Names of all operations that an agent knows.
pub(crate) fn known(daemon: &Daemon) -> HashSet<String> {
    operations(daemon).iter().map(|operation| name(operation).to_owned()).collect()
}

fn operations(daemon: &Daemon) -> Vec<Value> {
    let list = daemon.ctl(&["operation", "list"]).done();
    list["operations"].as_array().expect("a list").clone()
}

fn name(operation: &Value) -> &str {
    operation["name"].as_str().expect("a name")
}

fn is_done_well(operation: &Value) -> bool {
    operation["done"] == true && operation["error"].is_null()
}

/// Names of the operations in an agent's journal.
pub(crate) fn in_journal(daemon: &Daemon) -> Vec<String> {
    let name = |path: PathBuf| format!("operations/{}", path.file_stem().expect("a name").to_str().expect("UTF-8"));
    daemon.pending().into_iter().map(name).collect()
}

/// Waits for what is over in a moment, and misses as little of it as can be.
pub(crate) fn spin(mut is_so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < Duration::from_secs(60), "it takes longer than 60 s");
        std::thread::yield_now();
    }
}

/// How long after what it waits for a test strikes: 4 ms at most, and any install takes longer.
pub(crate) fn short(seed: &mut Seed) -> Duration {
    Duration::from_millis(4).mul_f64(seed.below(1000) as f64 / 1000.0)
}

/// Lets some time pass: the moment is the experiment, nothing is waited for.
pub(crate) fn let_pass(time: Duration) {
    let since = Instant::now();
    while let Some(left) = time.checked_sub(since.elapsed()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}
