//! Installs from a URL: a file on a real web server, plain and compressed, behind a network that breaks, and files and
//! servers that are not what they should be.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::thread;

use tempfile::TempDir;

use crate::support::authority::Authority;
use crate::support::chaos::{Chaos, Fault, Plan};
use crate::support::ctl::Answer;
use crate::support::nginx::Nginx;
use crate::support::server::free_address;
use crate::support::{Daemon, Image, LoopDisk, MIB, Seed, eventually, run};

/// A directory with one image in all its forms.
struct Site {
    dir: TempDir,
    image: Image,
}

impl Site {
    fn new(len_bytes: u64, seed: &mut Seed) -> Self {
        let site = Self { dir: tempfile::tempdir().expect("directory"), image: Image::new(len_bytes, seed) };
        let raw = site.file("disk.raw");
        fs::write(&raw, &site.image.bytes).expect("written");
        for (program, level) in [("gzip", "-1"), ("xz", "-0"), ("zstd", "-1")] {
            run(program, &["--quiet", "--keep", level, &raw]);
        }
        site
    }

    fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Installs a file of the site as the image that it should be.
    fn install(&self, daemon: &Daemon, url: &str, disk: &LoopDisk, options: &[&str]) -> Answer {
        install(daemon, url, disk, (self.image.len(), &self.image.root()), options)
    }
}

fn install(daemon: &Daemon, url: &str, disk: &LoopDisk, (len, root): (u64, &str), options: &[&str]) -> Answer {
    let what = ["--size", &len.to_string(), "--root", root].map(str::to_owned);
    let what = what.each_ref().map(String::as_str);
    daemon.install(Path::new(url), disk, &[&what[..], options].concat())
}

/// A daemon that may fetch from these, and has little patience.
fn daemon(allowed: &[&str], retry_seconds: u64) -> Daemon {
    Daemon::start_with(&format!(
        "allow_loop_devices = true\nallowed_urls = {allowed:?}\n[http]\nstall_seconds = 1\nretry_seconds = {retry_seconds}"
    ))
}

/// A disk with noise on it, whose hash tells whether it was touched.
fn used_disk(len_bytes: u64) -> (LoopDisk, String) {
    let disk = LoopDisk::new(len_bytes);
    disk.fill(&mut Seed::quiet(9));
    let hash = disk.hash_all();
    (disk, hash)
}

fn reason(answer: &Answer) -> &str {
    answer.error()["reason"].as_str().unwrap_or_else(|| panic!("a reason in {}", answer.json))
}

#[test]
#[ignore = "needs root, loop devices and nginx: tests/run.sh"]
fn a_file_installs_in_every_form_and_again_in_place() {
    let site = Site::new(64 * MIB + 4096, &mut Seed::new(21));
    let nginx = Nginx::serve(site.path());
    let daemon = daemon(&[&nginx.url()], 10);
    let (disk, _) = used_disk(80 * MIB);
    let forms = [("disk.raw", "raw"), ("disk.raw.gz", "gz"), ("disk.raw.xz", "xz"), ("disk.raw.zst", "zst")];
    for (file, format) in forms {
        for options in [&["--format", format][..], &["--in-place"]] {
            if options == ["--in-place"] {
                disk.write(33 * MIB, &[7; 4096]);
            } else {
                disk.write(0, &vec![0x5a; 1 << 20]);
            }
            let url = format!("{}{file}?X-Signature=canary", nginx.url());
            let done = site.install(&daemon, &url, &disk, options).done();
            assert_eq!(done["result"]["root"], site.image.root(), "{file}");
            assert_eq!(disk.hash(site.image.len()), site.image.root(), "{file}");
            let received = done["progress"]["received_bytes"].as_u64().expect("bytes");
            let all = site.image.data_bytes();
            assert!(
                if options == ["--in-place"] { received < all / 2 } else { received == all },
                "{received} of {all}"
            );
            daemon.verify(&disk, &[]).done();
        }
    }
    assert!(!daemon.log().contains("canary"), "what may be a secret is not logged");
}

#[test]
#[ignore = "needs root, loop devices and nginx: tests/run.sh"]
fn a_network_that_breaks_only_delays() {
    let mut seed = Seed::new(22);
    let site = Site::new(32 * MIB, &mut seed);
    let nginx = Nginx::serve(site.path());
    let kinds = [Fault::Reset, Fault::ServerError, Fault::Stall, Fault::Truncate];
    let chaos = Chaos::in_front_of(nginx.address(), Plan { seed: seed.next(), kinds: kinds.to_vec(), per_mille: 500 });
    let daemon = daemon(&[&format!("{}/", chaos.endpoint())], 60);
    let disk = LoopDisk::new(33 * MIB);
    for file in ["disk.raw", "disk.raw.gz", "disk.raw.xz", "disk.raw.zst"] {
        disk.write(0, &vec![0x5a; 1 << 20]);
        site.install(&daemon, &format!("{}/{file}", chaos.endpoint()), &disk, &[]).done();
        assert_eq!(disk.hash(site.image.len()), site.image.root(), "{file}");
    }
    assert!(chaos.total() >= 3, "{} faults", chaos.total());
}

#[test]
#[ignore = "needs root, loop devices and nginx: tests/run.sh"]
fn a_network_that_lies_never_makes_a_disk_bootable() {
    let mut seed = Seed::new(23);
    let site = Site::new(32 * MIB, &mut seed);
    let nginx = Nginx::serve(site.path());
    let chaos = Chaos::in_front_of(nginx.address(), Plan::calm());
    let daemon = daemon(&[&format!("{}/", chaos.endpoint())], 3);
    let disk = LoopDisk::new(33 * MIB);
    let mut flipped = 0;
    for file in ["disk.raw", "disk.raw.gz", "disk.raw.xz", "disk.raw.zst"] {
        let before = disk.is_bootable();
        // The first request of an install is the plan's, which sees too little to notice.
        chaos.set(Fault::FlipBit, 3);
        let answer = site.install(&daemon, &format!("{}/{file}", chaos.endpoint()), &disk, &[]);
        chaos.plan(Plan::calm());
        if answer.code == 0 {
            assert_eq!(disk.hash(site.image.len()), site.image.root());
            continue;
        }
        flipped += 1;
        let named = ["ROOT_MISMATCH", "SOURCE_DAMAGED", "SOURCE_FORMAT", "SOURCE_LENGTH"];
        assert!(named.contains(&reason(&answer)), "{file}: {}", answer.json);
        assert!(answer.code == 2 && disk.is_bootable() == before || !disk.is_bootable(), "{file}");
    }
    assert!(flipped >= 3, "{flipped} of 4 were noticed");
}

#[test]
#[ignore = "needs root, loop devices and nginx: tests/run.sh"]
fn what_is_not_what_it_should_be_never_boots() {
    let site = Site::new(24 * MIB, &mut Seed::new(24));
    let nginx = Nginx::serve(site.path());
    let daemon = daemon(&[&nginx.url()], 3);
    let (root, len) = (site.image.root(), site.image.len());
    let cut = |name: &str| {
        let whole = fs::read(site.file(name)).expect("read");
        fs::write(site.file(&format!("cut.{name}")), &whole[..whole.len() * 2 / 3]).expect("written");
        format!("cut.{name}")
    };
    let other_root = blake3::hash(b"another image").to_string();
    let broken = [
        ("disk.raw".to_owned(), len, &other_root, "ROOT_MISMATCH"),
        ("disk.raw.zst".to_owned(), len, &other_root, "ROOT_MISMATCH"),
        ("disk.raw.gz".to_owned(), len - MIB, &root, "SOURCE_LENGTH"),
        ("disk.raw.xz".to_owned(), len + 1, &root, "SOURCE_LENGTH"),
        ("disk.raw.zst".to_owned(), len - 1, &root, "SOURCE_LENGTH"),
        (cut("disk.raw.gz"), len, &root, "SOURCE_DAMAGED"),
        (cut("disk.raw.xz"), len, &root, "SOURCE_DAMAGED"),
        (cut("disk.raw.zst"), len, &root, "SOURCE_DAMAGED"),
    ];
    let disk = LoopDisk::new(32 * MIB);
    for (file, len, root, expected) in &broken {
        disk.write(0, &site.image.bytes[..1 << 20]);
        let answer = install(&daemon, &format!("{}{file}", nginx.url()), &disk, (*len, root), &[]);
        assert_eq!(reason(&answer), *expected, "{file}");
        assert!(!disk.is_bootable(), "{file}: {expected}");
        assert_eq!(daemon.disk(&disk)["interrupted_install"]["reason"], *expected);
    }
}

#[test]
#[ignore = "needs root, loop devices and nginx: tests/run.sh"]
fn over_tls_the_named_authority_alone_is_trusted() {
    let site = Site::new(8 * MIB, &mut Seed::new(27));
    let (ours, theirs) = (Authority::new(), Authority::new());
    fs::write(site.file("ca.pem"), ours.pem()).expect("written");
    let (known, unknown) = (Nginx::serve_tls(site.path(), &ours), Nginx::serve_tls(site.path(), &theirs));
    let daemon = Daemon::start_with(&format!(
        "allow_loop_devices = true\nallowed_urls = [{:?}, {:?}]\n[http]\nca = {:?}",
        known.url(),
        unknown.url(),
        site.file("ca.pem")
    ));
    let (disk, before) = used_disk(16 * MIB);
    // At once, and not after the time that a server that does not answer is given.
    let answer = site.install(&daemon, &format!("{}disk.raw", unknown.url()), &disk, &[]);
    assert_eq!(reason(&answer), "SOURCE_UNTRUSTED");
    assert_eq!(disk.hash_all(), before);
    site.install(&daemon, &format!("{}disk.raw.zst", known.url()), &disk, &[]).done();
    assert_eq!(disk.hash(site.image.len()), site.image.root());
}

/// A server that redirects everything to one place.
fn redirect_to(target: &str) -> SocketAddr {
    let listener = TcpListener::bind(free_address()).expect("an address");
    let address = listener.local_addr().expect("bound");
    let answer = format!("HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    thread::spawn(move || {
        use std::io::{BufRead as _, BufReader, Write as _};
        for connection in listener.incoming() {
            let Ok(connection) = connection else { return };
            let mut lines = BufReader::new(&connection).lines();
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            // A client that is gone needs no answer.
            drop((&connection).write_all(answer.as_bytes()));
        }
    });
    address
}

#[test]
#[ignore = "needs root, loop devices and nginx: tests/run.sh"]
fn what_cannot_be_fetched_is_refused_before_the_disk_is_touched() {
    let site = Site::new(8 * MIB, &mut Seed::new(25));
    fs::create_dir(site.path().join("os")).expect("directory");
    fs::copy(site.file("disk.raw"), site.file("os/disk.raw")).expect("copied");
    fs::write(site.file("os/disk.qcow2"), b"QFI\xfb\0\0\0\x03 and so on").expect("written");
    let nginx = Nginx::serve(site.path());
    let other = Nginx::serve(site.path());
    let allowed = format!("{}os/", nginx.url());
    let away = redirect_to(&format!("{}os/disk.raw", other.url()));
    let out = redirect_to(&format!("{}disk.raw", nginx.url()));
    let dead = free_address();
    let daemon =
        daemon(&[&allowed, &format!("http://{away}/"), &format!("http://{out}/"), &format!("http://{dead}/")], 2);
    let (disk, before) = used_disk(16 * MIB);
    for (url, expected) in [
        (format!("{allowed}none.raw"), "SOURCE_NOT_FOUND"),
        (format!("{allowed}disk.qcow2"), "SOURCE_FORMAT"),
        (format!("http://{away}/disk.raw"), "SOURCE_POLICY"),
        (format!("http://{out}/disk.raw"), "SOURCE_POLICY"),
        (format!("http://{dead}/disk.raw"), "SOURCE_UNAVAILABLE"),
        (format!("{}disk.raw", nginx.url()), "SOURCE_NOT_ALLOWED"),
        (format!("{allowed}../disk.raw"), "SOURCE_NOT_ALLOWED"),
        (format!("{}os/disk.raw", other.url()), "SOURCE_NOT_ALLOWED"),
        (format!("{allowed}disk.raw#part"), "REQUEST_MALFORMED"),
        (allowed.replace("http://", "http://user:canary@") + "disk.raw", "REQUEST_MALFORMED"),
    ] {
        let answer = site.install(&daemon, &url, &disk, &[]);
        assert_eq!(reason(&answer), expected, "{url}");
        assert!(!answer.json.to_string().contains("canary"), "{}", answer.json);
    }
    for (len, options) in [(8 * MIB + 1, &[][..]), (8 * MIB - 1, &[]), (8 * MIB, &["--format", "gz"])] {
        let url = format!("{allowed}disk.raw");
        let answer = install(&daemon, &url, &disk, (len, &site.image.root()), options);
        assert_eq!(reason(&answer), if options.is_empty() { "SOURCE_LENGTH" } else { "SOURCE_FORMAT" });
    }
    assert_eq!(disk.hash_all(), before, "nothing was written");
    let unavailable = site.install(&daemon, &format!("http://{dead}/disk.raw"), &disk, &[]);
    let retries = unavailable.error()["metadata"]["retries"].as_str().expect("retries").parse::<u64>();
    assert!(retries.expect("a number") >= 2, "{}", unavailable.json);
    site.install(&daemon, &format!("{allowed}disk.raw"), &disk, &[]).done();
}

#[test]
#[ignore = "needs root, loop devices and nginx: tests/run.sh"]
fn an_install_goes_on_when_the_agent_is_back() {
    let site = Site::new(128 * MIB, &mut Seed::new(26));
    let nginx = Nginx::serve(site.path());
    let mut daemon = daemon(&[&nginx.url()], 60);
    let disk = LoopDisk::new(130 * MIB);
    let (len, root) = (site.image.len().to_string(), site.image.root());
    let url = format!("{}disk.raw.xz", nginx.url());
    let running = daemon.begin_install(Path::new(&url), &disk, &["--size", &len, "--root", &root]);
    eventually("the install has begun", || !daemon.disk(&disk)["interrupted_install"].is_null());
    daemon.kill();
    drop(running);
    assert!(!disk.is_bootable());
    daemon.restart();
    let operations = || daemon.ctl(&["operation", "list"]).done()["operations"].as_array().expect("a list").clone();
    eventually("the install goes on by itself", || !operations().is_empty());
    let name = operations()[0]["name"].as_str().expect("a name").to_owned();
    daemon.ctl(&["operation", "watch", &name]);
    assert_eq!(disk.hash(site.image.len()), root);
    daemon.verify(&disk, &[]).done();
}
