//! Rows 127 to 138: captures that cannot become images, cancels, watchers, pages, and configurations.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use bms_agent::repository::{Format, Location, Repository, Settings};
use bms_agent::rpc::proto::longrunning::{CancelOperationRequest, ListOperationsRequest, Operation, operation};
use bms_agent::rpc::proto::v1::{
    CaptureImageRequest, GetHostRequest, StreamCaptureRequest, WatchOperationRequest, WatchOperationResponse,
};
use prost::Message as _;
use tempfile::TempDir;
use tonic::{Code, Streaming};
use uuid::Uuid;

use super::messages::{CANCEL, CAPTURE, LIST};
use super::{MALFORMED, Rows, refused};
use crate::support::client::{Client, Fault, Push, begin, outcome};
use crate::support::liar::{Liar, Lie};
use crate::support::{Image, KIB, LoopDisk, MIB, Seed, run};

/// A file system in memory, unmounted in the end.
struct Mounted(TempDir);

impl Mounted {
    fn of(bytes: u64) -> Self {
        let mounted = Self(tempfile::tempdir().expect("directory"));
        run("mount", &["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs", &mounted.path()]);
        mounted
    }

    fn path(&self) -> String {
        self.0.path().display().to_string()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run("umount", &[self.path()]);
    }
}

async fn init(place: &str, format: Format) {
    let settings = Settings::new(Location::Directory(place.into()));
    Repository::init(&settings, format).await.expect("made");
}

/// What a capture came to.
async fn capture(client: &Client, disk: &LoopDisk, repository: &str, name: &str) -> Result<(), (Code, String)> {
    let text = |text: &str| text.to_owned();
    let request = CaptureImageRequest {
        request_id: Uuid::new_v4().to_string(),
        disk: Some(disk.wire_selector()),
        repository: text(repository),
        name: text(name),
        version: text("1"),
        owner: text("o"),
        bit_exact: true,
        ..CaptureImageRequest::default()
    };
    let begun = client.ask(CAPTURE, request.encode_to_vec()).await.map_err(|told| (told.code, told.reason))?;
    let name = Operation::decode(begun[0].as_slice()).expect("an operation").name;
    match client.ended(&name).await.result.expect("it is done") {
        operation::Result::Response(_) => Ok(()),
        operation::Result::Error(status) => {
            let fault = Fault::from(status);
            Err((fault.code, fault.reason))
        }
    }
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn a_capture_that_has_no_room_no_right_or_no_name_leaves_no_image() {
    let directory = || tempfile::tempdir().expect("directory");
    let (small, one, large) = (Mounted::of(4 * MIB), directory(), directory());
    init(&small.path(), Format::default()).await;
    init(&large.path().display().to_string(), Format::default()).await;
    init(&one.path().display().to_string(), Format { max_private_images: 1, ..Format::default() }).await;
    let format = fs::read(one.path().join("repository.json")).expect("format");
    let liar = Liar::serve([("repository.json", Lie::File(format))]);
    let table = |name: &str, place: &str| format!("[repositories.{name}]\nlocation = {place:?}\nretry_seconds = 1\n");
    let tables = [
        table("small", &small.path()),
        table("one", &one.path().display().to_string()),
        table("large", &large.path().display().to_string()),
        table("web", &liar.url()),
    ];
    let rows = Rows::start(&tables.concat());
    let (client, disk) = (rows.client("operator").await, LoopDisk::new(16 * MIB));
    disk.fill(&mut Seed::quiet(116));
    capture(&client, &disk, "one", "first").await.expect("the first");
    rows.secure.rests();
    for (row, repository, name, expected) in [
        ("128: no room", "small", "a", (Code::ResourceExhausted, "REPOSITORY_FULL")),
        ("128: a store that is only read", "web", "a", (Code::FailedPrecondition, "REPOSITORY_READ_ONLY")),
        (
            "131: one private image more than allowed",
            "one",
            "second",
            (Code::ResourceExhausted, "IMAGE_QUOTA_EXCEEDED"),
        ),
        ("132: a name that is taken", "one", "first", (Code::AlreadyExists, "IMAGE_EXISTS")),
    ] {
        let (before, writes) = (disk.hash_all(), disk.writes());
        assert_eq!(refused(&capture(&client, &disk, repository, name).await), expected, "{row}");
        assert_eq!((disk.hash_all(), disk.writes()), (before, writes), "{row}");
        rows.after(row).await;
    }
    for place in [small.0.path(), one.path()] {
        let images = fs::read_dir(place.join("images")).map_or(0, Iterator::count);
        assert!(images <= usize::from(place == one.path()), "{images} images in {}", place.display());
    }
    // A disk that ends before it should: what is behind the end of its file cannot be read.
    File::options().write(true).open(&disk.backing).and_then(|file| file.set_len(8 * MIB)).expect("truncated");
    let request =
        StreamCaptureRequest { disk: Some(disk.wire_selector()), bit_exact: true, ..StreamCaptureRequest::default() };
    let mut answers = client.provisioning().stream_capture(request).await.expect("begun").into_inner();
    let fault = loop {
        match answers.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("130: it ended well"),
            Err(status) => break Fault::from(status),
        }
    };
    assert_eq!((fault.code, fault.reason.as_str()), (Code::DataLoss, "CAPTURE_UNREADABLE"), "130: a bad sector");
    // Several read at once: it is the first bad one of some run.
    let lba: u64 = fault.metadata["lba"].parse().expect("a number");
    assert!((8 * MIB / 512..16 * MIB / 512).contains(&lba), "130: which one: {lba}");
    drop(answers);
    assert_eq!(refused(&capture(&client, &disk, "large", "b").await).0, Code::DataLoss, "130: into a repository");
    rows.after("130").await;
}

/// A push that stands still.
async fn standing(client: &Client, image: &Image, disk: &LoopDisk) -> Push {
    let mut push = client.push(begin(image, disk)).await.expect("begun");
    push.offer_all(image).await;
    push.await_wants(image.data_groups().len()).await;
    push
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn a_cancel_of_nothing_is_not_found_and_one_more_changes_nothing() {
    let rows = Rows::start("");
    let (image, disk) = (Image::dense(2 * MIB, &mut Seed::quiet(117)), LoopDisk::new(8 * MIB));
    let client = rows.client("operator").await;
    let cancel = |name: &str| CancelOperationRequest { name: name.to_owned() }.encode_to_vec();
    let unknown = (Code::NotFound, "OPERATION_NOT_FOUND");
    for name in ["operations/none", "none", "operations/", &format!("operations/{}", Uuid::new_v4())] {
        assert_eq!(client.refusal(CANCEL, cancel(name)).await.what(), unknown, "133: {name}");
    }
    let push = standing(&client, &image, &disk).await;
    let name = push.operation.clone();
    for _ in 0..3 {
        client.ask(CANCEL, cancel(&name)).await.expect("134: once or again");
    }
    let fault = outcome(push.end().await).expect_err("cancelled");
    assert_eq!((fault.code, fault.reason.as_str()), (Code::Cancelled, "OPERATION_CANCELLED"), "134");
    // The table has FAILED_PRECONDITION. Whoever cancels twice cannot know whether the first has ended it by then.
    client.ask(CANCEL, cancel(&name)).await.expect("133: one that has ended");
    let again = outcome(client.ended(&name).await).expect_err("as it was");
    assert_eq!(again.reason, "OPERATION_CANCELLED", "133: and stays as it ended");
    rows.after("134").await;
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn pages_that_cannot_be_are_refused() {
    let rows = Rows::start("");
    let client = rows.client("observer").await;
    let known = Uuid::new_v4();
    for (row, page_size, page_token, field) in [
        ("136: -1", -1, String::new(), "page_size"),
        ("136: -2^31", i32::MIN, String::new(), "page_size"),
        ("136: 2^31 - 1", i32::MAX, String::new(), "page_size"),
        ("136: 1001", 1001, String::new(), "page_size"),
        ("136: a token that is none", 1, "7".to_owned(), "page_token"),
        ("136: a token of a name that is none", 1, "operations/7".to_owned(), "page_token"),
        ("136: a token of an operation that there is not", 1, format!("operations/{known}"), "page_token"),
    ] {
        let request = ListOperationsRequest { page_size, page_token, ..ListOperationsRequest::default() };
        let told = client.refusal(LIST, request.encode_to_vec()).await;
        assert_eq!((told.what(), told.names()), (MALFORMED, vec![field]), "{row}");
        rows.after(row).await;
    }
    // As a number of 64 bits, which is not one of 32 any more: cut to 0, as every implementation does, and so the default.
    client.ask(LIST, vec![0x10, 0x80, 0x80, 0x80, 0x80, 0x10]).await.expect("136: 2^32");
}

/// Watches an operation as often as one connection may.
async fn watch_all(client: &Client, name: &str) -> Vec<Streaming<WatchOperationResponse>> {
    let mut all = Vec::new();
    for _ in 0..64 {
        all.push(watch(client, name).await);
    }
    all
}

async fn watch(client: &Client, name: &str) -> Streaming<WatchOperationResponse> {
    let request = WatchOperationRequest { name: name.to_owned(), after_sequence: 0 };
    client.watches().watch_operation(request).await.expect("watched").into_inner()
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn watchers_that_never_read_cost_little_and_hold_up_nobody() {
    let rows = Rows::start("");
    let (image, disk) = (Image::dense(8 * MIB, &mut Seed::quiet(118)), LoopDisk::new(16 * MIB));
    let client = rows.client("operator").await;
    let mut push = standing(&client, &image, &disk).await;
    let (before, mut watchers, mut clients) = (rows.secure.daemon.resident_bytes(), Vec::new(), Vec::new());
    // All connections that there may be, but for the one that pushes: six certificates have 8 each.
    for _ in 0..6 {
        let identity = rows.secure.identity("observer");
        for _ in clients.len() % 8..8 {
            if clients.len() < 47 {
                clients.push(rows.secure.client(&identity).await);
            }
        }
    }
    for client in &clients {
        watchers.extend(watch_all(client, &push.operation).await);
    }
    let cost = rows.secure.daemon.resident_bytes().saturating_sub(before);
    eprintln!("135: {} watchers: {} KiB more", watchers.len(), cost / KIB);
    assert_eq!(watchers.len(), 47 * 64);
    assert!(cost < 64 * MIB, "135: {cost} bytes");
    let one_more = tokio::time::timeout(Duration::from_millis(300), watch(&clients[0], &push.operation));
    assert!(one_more.await.is_err(), "135: 64 streams are all that a connection has");

    let asked = Instant::now();
    client.hosts().get_host(GetHostRequest::default()).await.expect("135: others are answered");
    push.send_groups(&image, image.data_groups()).await;
    push.finish(&image).await;
    outcome(push.end().await).expect("135: the operation does not wait for who watches");
    eprintln!("135: done in {:?}", asked.elapsed());
    assert_eq!(disk.hash(image.len()), image.root());
    // Who reads at last is told of the end.
    for watcher in watchers.iter_mut().step_by(500) {
        let mut last = None;
        while let Some(state) = watcher.message().await.expect("a state") {
            last = state.operation;
        }
        assert!(last.expect("a state").done, "135");
    }
    drop((watchers, clients, client));
    rows.secure.settled_but_for_memory("135").await;
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn of_ten_thousand_watchers_who_went_away_nothing_is_left_while_the_operation_stands_still() {
    let rows = Rows::start("");
    let (image, disk) = (Image::dense(2 * MIB, &mut Seed::quiet(119)), LoopDisk::new(8 * MIB));
    let (operator, client) = (rows.client("operator").await, rows.client("observer").await);
    let push = standing(&operator, &image, &disk).await;
    for _ in 0..20 {
        drop(watch_all(&client, &push.operation).await);
    }
    rows.secure.rests();
    for _ in 0..160 {
        drop(watch_all(&client, &push.operation).await);
    }
    rows.after("135: ten thousand who went away").await;
    operator.cancel(&push.operation).await;
    outcome(push.end().await).expect_err("cancelled");
}

#[test]
fn a_configuration_that_is_unsafe_or_says_what_nobody_knows_ends_the_start_with_78() {
    let dir = tempfile::tempdir().expect("directory");
    let (socket, state) = (dir.path().join("agent.sock"), dir.path().join("state"));
    let own = format!("socket = {socket:?}\nstate_dir = {state:?}\n");
    let listen = "[tcp]\nlisten = [\"0.0.0.0:7443\"]\n";
    for (row, text, mode) in [
        ("138: a key that there is not", format!("{own}colour = \"red\"\n"), 0o600),
        ("138: a value of another kind", format!("{own}drain_seconds = \"soon\"\n"), 0o600),
        ("138: no TOML", format!("{own}[[[\n"), 0o600),
        ("138: writable by all", own.clone(), 0o666),
        ("138: TCP on all addresses without TLS", format!("{own}{listen}"), 0o600),
        ("138: a way to do without TLS", format!("{own}{listen}insecure = true\n"), 0o600),
    ] {
        let config = dir.path().join("config.toml");
        drop(fs::remove_file(&config));
        fs::write(&config, text).expect("written");
        fs::set_permissions(&config, fs::Permissions::from_mode(mode)).expect("mode");
        let output = Command::new(env!("CARGO_BIN_EXE_bms-agent")).arg("--config").arg(&config).output().expect("run");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{row}: {said}");
        assert!(!socket.exists() && !state.exists(), "{row}: nothing was begun");
    }
}
