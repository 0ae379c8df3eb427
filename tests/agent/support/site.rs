//! A repository that a web server serves, with one image: what the tests of installs under faults begin with.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use super::chaos::{Chaos, Plan};
use super::ctl::{Answer, Running};
use super::nginx::Nginx;
use super::repository::Repository;
use super::{Daemon, Image, LoopDisk, MIB, Seed};

/// Groups of a chunk in these repositories: what is missing of a chunk is asked for by range.
pub(crate) const GROUPS_PER_CHUNK: u64 = 4;
const CHUNK_BYTES: &str = "262144";

/// An image in a directory, a web server over it, and a network before that.
#[derive(Debug)]
pub(crate) struct Site {
    dir: TempDir,
    pub(crate) nginx: Nginx,
    pub(crate) chaos: Chaos,
    pub(crate) image: Image,
    pub(crate) id: String,
}

impl Site {
    /// A site with an image of so many bytes. Before the image was there, the network was asked for all its objects.
    pub(crate) fn new(len_bytes: u64, seed: &mut Seed) -> Self {
        let dir = tempfile::tempdir().expect("directory");
        let (hidden, served) = (dir.path().join("hidden"), dir.path().join("served"));
        let repository = Repository::directory(&hidden).init(&["--chunk-size", CHUNK_BYTES]);
        let image = Image::in_small_groups(len_bytes, seed);
        let id = import(&repository, &image, "1");
        let nginx = Nginx::serve(&served);
        let chaos = Chaos::in_front_of(nginx.address(), Plan::calm());
        for path in files(&hidden) {
            ask(&chaos, path.strip_prefix(&hidden).expect("below"));
        }
        fs::rename(&hidden, &served).expect("served");
        Self { dir, nginx, chaos, image, id }
    }

    /// Adds an image.
    pub(crate) fn add(&self, image: &Image, version: &str) -> String {
        import(&Repository::directory(&self.dir.path().join("served")), image, version)
    }

    /// A daemon that sees the repository as `main` through the network, with these lines in its table; and as `hasty`,
    /// where it gives up after a second.
    pub(crate) fn daemon(&self, lines: &str) -> Daemon {
        self.daemon_with("", lines)
    }

    /// The same with other lines in its configuration.
    pub(crate) fn daemon_with(&self, config: &str, lines: &str) -> Daemon {
        let table = |name: &str, lines: &str| {
            format!("[repositories.{name}]\nlocation = {:?}\n{lines}\n", self.chaos.endpoint())
        };
        let hasty = table("hasty", "retry_seconds = 1\nstall_seconds = 1");
        Daemon::start_with(&format!("allow_loop_devices = true\n{config}\n{}{hasty}", table("main", lines)))
    }

    /// Starts to install the image.
    pub(crate) fn begin(&self, daemon: &Daemon, disk: &LoopDisk, options: &[&str]) -> Running {
        begin(daemon, &self.id, disk, &[&["--repository", "main"], options].concat())
    }

    /// Installs the image.
    pub(crate) fn install(&self, daemon: &Daemon, disk: &LoopDisk, options: &[&str]) -> Answer {
        self.begin(daemon, disk, options).finish()
    }

    /// The disk holds the image, and an install says that it read all of it back.
    pub(crate) fn assert_whole(&self, installed: &Value, disk: &LoopDisk) {
        assert_eq!(installed["progress"]["verified_bytes"], self.image.len(), "{installed}");
        assert_eq!(disk.hash(self.image.len()), self.image.root());
    }

    /// Installs the image in place; it fetches what is missing, and nothing else.
    pub(crate) fn complete(&self, daemon: &Daemon, disk: &LoopDisk) {
        let missing = self.image.missing_bytes_on(disk);
        let installed = self.install(daemon, disk, &["--in-place"]).done();
        let fetched = received(&installed);
        // Noise does not get shorter, and a frame adds some bytes.
        assert!(
            (missing..=missing + missing / 100).contains(&fetched),
            "{fetched} bytes for {missing} that are missing"
        );
        self.assert_whole(&installed, disk);
    }
}

/// Starts to install an image of a repository.
pub(crate) fn begin(daemon: &Daemon, image: &str, disk: &LoopDisk, options: &[&str]) -> Running {
    daemon.begin_install(Path::new(image), disk, options)
}

/// Bytes that an install has fetched.
pub(crate) fn received(installed: &Value) -> u64 {
    installed["progress"]["received_bytes"].as_u64().unwrap_or_else(|| panic!("bytes in {installed}"))
}

fn import(repository: &Repository, image: &Image, version: &str) -> String {
    let options = ["--version", version, "--group-size", "64K"];
    let imported = repository.import(&image.path(), "system", &options);
    imported["image_id"].as_str().expect("an id").to_owned()
}

/// All files below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("directory").map(|entry| entry.expect("entry").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Asks for an object that is not there.
fn ask(chaos: &Chaos, object: &Path) {
    let host = chaos.endpoint().replace("http://", "");
    let mut stream = TcpStream::connect(&host).expect("connection");
    let request = format!("GET /{} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n", object.display());
    stream.write_all(request.as_bytes()).expect("request");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).expect("answer");
    assert_eq!(&answer, b"HTTP/1.1 404");
}

/// Makes one group of each chunk wrong, so that an install in place asks for a part of each.
pub(crate) fn scribble(image: &Image, disk: &LoopDisk, seed: &mut Seed) {
    let mut bytes = image.bytes.clone();
    for chunk in 0..image.layout.groups() / GROUPS_PER_CHUNK {
        let group = chunk * GROUPS_PER_CHUNK + seed.below(GROUPS_PER_CHUNK);
        if image.chaining_value(group).is_some() {
            bytes[image.group_range(group).start] ^= 1;
        }
    }
    disk.write(0, &bytes);
}

/// A disk with room for the image, and noise of a former tenant on it.
pub(crate) fn disk_for(image: &Image, seed: &mut Seed) -> LoopDisk {
    let disk = LoopDisk::new(image.len() + MIB);
    disk.fill(seed);
    disk
}
