//! Rows 70 to 92: images that are not what they are said to be, whoever brings them.

use std::fs;
use std::path::{Path, PathBuf};

use bms_agent::image::group::{GroupSize, Layout};
use bms_agent::rpc::proto::v1::push_image_request::Message;
use bms_agent::rpc::proto::v1::{
    GroupOffer, HttpImage, ImageSpec, PlanInstallRequest, PushFinish, RepositoryImage, image_source,
};
use prost::Message as _;
use tempfile::TempDir;
use tonic::Code;

use super::messages::{PLAN, file, no_disk, web};
use super::{MALFORMED, Rows, Then, former, install, push, refused};
use crate::support::client::{begin, data};
use crate::support::liar::{Liar, Lie};
use crate::support::repository::Repository;
use crate::support::{GIB, Image, LoopDisk, MIB, Seed};

const DATA_LOSS: Code = Code::DataLoss;
/// What is wrong with the order or number of things: the client's mistake, which no other source would mend.
const INVALID: Code = Code::InvalidArgument;

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn digests_and_lengths_that_cannot_be_are_refused() {
    let rows = Rows::start("");
    let client = rows.client("operator").await;
    let pushed =
        |image| PlanInstallRequest { disk: no_disk(), image: Some(image), ..Default::default() }.encode_to_vec();
    let spec = ImageSpec { size_bytes: MIB, ..ImageSpec::default() };
    let url = "https://images.example/disk";
    let hex = blake3::hash(b"image").to_hex().to_string();
    let roots = [vec![1], vec![0; 31], vec![0; 33], hex.clone().into_bytes(), hex.to_uppercase().into_bytes()];
    for root in roots.into_iter().chain([b"ignored".to_vec(), vec![7; 20], vec![7; 64]]) {
        let row = format!("70: a root of {} bytes", root.len());
        let told = client.refusal(PLAN, pushed(ImageSpec { root: root.clone(), ..spec.clone() })).await;
        assert_eq!((told.what(), told.names()), (MALFORMED, vec!["image.root"]), "{row}");
        let told = client.refusal(PLAN, web(HttpImage { root, ..file(url) })).await;
        assert_eq!((told.what(), told.names()), (MALFORMED, vec!["source.http.root"]), "{row}");
        rows.after(&row).await;
    }
    let told = client.refusal(PLAN, web(HttpImage { root: Vec::new(), ..file(url) })).await;
    assert_eq!((told.what(), told.names()), (MALFORMED, vec!["source.http.root"]), "70: none");
    // A length that is no multiple of a sector is right: the image is padded with zeroes.
    for (row, size_bytes) in
        [("71: 0", 0), ("72: 2^63", 1 << 63), ("72: 2^64 - 1", u64::MAX), ("72: -512", 512_u64.wrapping_neg())]
    {
        let told = client.refusal(PLAN, pushed(ImageSpec { size_bytes, ..spec.clone() })).await;
        assert_eq!((told.what(), told.names()), (MALFORMED, vec!["image.size_bytes"]), "{row}");
        let told = client.refusal(PLAN, web(HttpImage { size_bytes, ..file(url) })).await;
        assert_eq!((told.what(), told.names()), (MALFORMED, vec!["source.http.size_bytes"]), "{row}");
        rows.after(row).await;
    }
}

/// All offers of an image, and all its groups.
fn whole(image: &Image) -> (Vec<Message>, Vec<Message>) {
    let offers = image.offers().into_iter().map(Message::Offer).collect();
    (offers, image.data_groups().into_iter().map(|group| Message::Data(data(image, group))).collect())
}

fn offer(first_group: u64, group_count: u64, chaining_values: Vec<u8>) -> Message {
    Message::Offer(GroupOffer { first_group, group_count, chaining_values })
}

/// What a push of an image of 64 groups can have wrong. Each ends its operation.
fn pushes(image: &Image, other: &Image) -> Vec<(&'static str, Vec<Message>, (Code, &'static str))> {
    let (offers, groups) = whole(image);
    let finish = || Message::Finish(image.finish());
    let value = |group| image.chaining_value(group).expect("data").0.to_vec();
    let payload = |group, change: &dyn Fn(&mut Vec<u8>)| {
        let mut wrong = data(image, group);
        let mut bytes = wrong.payload.to_vec();
        change(&mut bytes);
        wrong.payload = bytes.into();
        Message::Data(wrong)
    };
    let as_group = |from, to| {
        let mut wrong = data(image, from);
        wrong.first_group = to;
        Message::Data(wrong)
    };
    // A run is looked at when it is whole, or when another one begins: with group 40.
    let after = |messages: Vec<Message>| [offers.clone(), messages, vec![groups[40].clone()]].concat();
    let without = |group: usize| [&groups[..group], &groups[group + 1..]].concat();
    vec![
        ("73: a group behind the last", after(vec![as_group(0, 64)]), (INVALID, "PUSH_PROTOCOL")),
        ("73: the group 2^64 - 1", after(vec![as_group(0, u64::MAX)]), (INVALID, "PUSH_PROTOCOL")),
        ("73: offers behind the last", vec![offer(63, 2, [value(0), value(1)].concat())], (INVALID, "PUSH_PROTOCOL")),
        ("73: a byte more", after(vec![payload(3, &|bytes| bytes.push(0))]), (INVALID, "GROUP_DATA_MALFORMED")),
        (
            "74: a byte less",
            after(vec![payload(3, &|bytes| bytes.truncate(bytes.len() - 1))]),
            (INVALID, "GROUP_DATA_MALFORMED"),
        ),
        ("74: nothing at all", Vec::new(), (Code::Unavailable, "PUSH_INTERRUPTED")),
        ("74: half, and then silence", after(groups[..32].to_vec()), (Code::Unavailable, "PUSH_INTERRUPTED")),
        ("74: half is all", after([&groups[..32], &[finish()]].concat()), (INVALID, "PUSH_INCOMPLETE")),
        (
            "75: a bit of the first byte",
            after(vec![payload(0, &|bytes| bytes[0] ^= 1)]),
            (DATA_LOSS, "GROUP_DIGEST_MISMATCH"),
        ),
        (
            "75: a bit of the last byte",
            after(vec![payload(63, &|bytes| *bytes.last_mut().expect("some") ^= 0x80)]),
            (DATA_LOSS, "GROUP_DIGEST_MISMATCH"),
        ),
        ("76: two groups exchanged", after(vec![as_group(1, 2), as_group(2, 1)]), (DATA_LOSS, "GROUP_DIGEST_MISMATCH")),
        (
            "77: one twice, one never",
            after([without(5), vec![groups[6].clone(), finish()]].concat()),
            (INVALID, "PUSH_INCOMPLETE"),
        ),
        (
            "79: offers that overlap and differ",
            vec![offer(0, 2, [value(0), value(1)].concat()), offer(1, 1, value(0))],
            (INVALID, "OFFER_CONFLICT"),
        ),
        (
            "79: first data, then a hole",
            vec![offer(0, 1, value(0)), offer(0, 1, Vec::new())],
            (INVALID, "OFFER_CONFLICT"),
        ),
        (
            "79: offers with a gap",
            [&offers[..8], &offers[9..], &without(8), &[finish()]].concat(),
            (INVALID, "PUSH_INCOMPLETE"),
        ),
        ("79: data before its offer", vec![groups[0].clone(), groups[40].clone()], (INVALID, "GROUP_NOT_OFFERED")),
        ("79: no groups", vec![offer(0, 0, Vec::new())], (INVALID, "PUSH_PROTOCOL")),
        ("79: 2^64 - 1 holes", vec![offer(1, u64::MAX, Vec::new())], (INVALID, "PUSH_PROTOCOL")),
        (
            "78: offers of another image",
            [vec![Message::Offer(other.offers().remove(0))], groups.clone()].concat(),
            (DATA_LOSS, "GROUP_DIGEST_MISMATCH"),
        ),
        (
            "78: not the offers that were sent",
            [offers.clone(), groups.clone(), vec![Message::Finish(PushFinish { offers_digest: vec![7; 32] })]].concat(),
            (DATA_LOSS, "OFFERS_DIGEST_MISMATCH"),
        ),
    ]
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn a_push_that_is_not_its_image_ends_with_what_is_wrong_and_no_boot_region() {
    let rows = Rows::start("");
    let (image, other) = (Image::dense(4 * MIB, &mut Seed::quiet(104)), Image::dense(4 * MIB, &mut Seed::quiet(105)));
    let (client, disk) = (rows.client("operator").await, LoopDisk::new(8 * MIB));
    let (offers, groups) = whole(&image);
    let all = || [offers.clone(), groups.clone(), vec![Message::Finish(image.finish())]].concat();
    push(&client, begin(&image, &disk), all(), Then::Stays).await.expect("the image itself");
    client.disk(&disk).await;
    rows.secure.rests();
    for (row, messages, expected) in pushes(&image, &other) {
        disk.write(0, &former());
        let then = if expected.1 == "PUSH_INTERRUPTED" { Then::Leaves } else { Then::Stays };
        let result = push(&client, begin(&image, &disk), messages, then).await;
        assert_eq!(refused(&result), expected, "{row}");
        assert!(!disk.is_bootable(), "{row}");
        assert_eq!(client.disk(&disk).await.interrupted_install.expect("a marker").reason, expected.1, "{row}");
        rows.after(row).await;
    }
    let mut pinned = begin(&image, &disk);
    pinned.image.as_mut().expect("an image").root = blake3::hash(&other.bytes).as_bytes().to_vec();
    let result = push(&client, pinned, all(), Then::Stays).await;
    assert_eq!(refused(&result), (DATA_LOSS, "ROOT_MISMATCH"), "82: the groups of one image with the root of another");
    assert!(!disk.is_bootable());
    rows.after("82").await;
    push(&client, begin(&image, &disk), all(), Then::Stays).await.expect("after all that");
    assert_eq!(disk.hash(image.len()), image.root());
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn a_flipped_bit_is_found_wherever_it_is() {
    let rows = Rows::start("");
    let (client, disk) = (rows.client("operator").await, LoopDisk::new(5 * GIB));
    let (len, size) = (4 * GIB + MIB, GroupSize::default());
    let layout = Layout::new(len, size);
    let group_bytes = Seed::quiet(107).bytes(size.bytes());
    rows.secure.rests();
    for at in [0, 1 << 31, (1 << 32) + 5, len - 1] {
        let (group, within) = (at / size.bytes(), usize::try_from(at % size.bytes()).expect("small"));
        let value = layout.chaining_value(group, &group_bytes).0.to_vec();
        let mut wrong = group_bytes.clone();
        wrong[within] ^= 0x10;
        let image = Image::dense(2 * MIB, &mut Seed::quiet(108));
        let mut begin = begin(&image, &disk);
        begin.image = Some(ImageSpec { size_bytes: len, ..ImageSpec::default() });
        let mut part = data(&image, 0);
        (part.first_group, part.payload) = (group, wrong.into());
        // Holes before it, so that all of them count.
        let holes = if group == 0 { Vec::new() } else { vec![offer(0, group, Vec::new())] };
        let mut next = part.clone();
        next.first_group = (group + 9) % layout.groups();
        let messages = [holes, vec![offer(group, 1, value), Message::Data(part), Message::Data(next)]].concat();
        let result = push(&client, begin, messages, Then::Stays).await;
        assert_eq!(refused(&result), (DATA_LOSS, "GROUP_DIGEST_MISMATCH"), "75: a bit of byte {at}");
        rows.after("75").await;
    }
}

/// A repository of one image, in a directory.
struct Shelf {
    dir: TempDir,
    image: Image,
    id: String,
}

impl Shelf {
    fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir().expect("directory");
        let repository = Repository::directory(dir.path()).init(&[]);
        let image = Image::dense(4 * MIB, &mut Seed::quiet(seed));
        let imported = repository.import(&image.path(), "system", &["--version", "1", "--group-size", "64K"]);
        Self { dir, image, id: imported["image_id"].as_str().expect("an id").to_owned() }
    }

    fn source(&self) -> image_source::Source {
        image_source::Source::Repository(RepositoryImage { repository: "main".to_owned(), image: self.id.clone() })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join("images").join(&self.id).join(name)
    }

    fn chunks(&self) -> Vec<PathBuf> {
        let below = |path: &Path| fs::read_dir(path).expect("directory").map(|entry| entry.expect("entry").path());
        below(&self.dir.path().join("chunks")).flat_map(|dir| below(&dir).collect::<Vec<_>>()).collect()
    }
}

/// A row, and files with what is to be in them.
type Damage = (&'static str, Vec<(PathBuf, Vec<u8>)>);

/// What of a repository can be another's, or damaged.
fn damages(shelf: &Shelf, other: &Shelf) -> Vec<Damage> {
    let tree = fs::read(shelf.file("tree")).expect("tree");
    let manifest = fs::read(shelf.file("manifest.json")).expect("manifest");
    let of_other = |name: &str| fs::read(other.file(name)).expect("read");
    let flipped = |bytes: &[u8], at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 1;
        bytes
    };
    let exchanged = shelf.chunks().into_iter().zip(other.chunks());
    let exchanged = exchanged.map(|(own, others)| (own, fs::read(others).expect("a chunk"))).collect();
    let at = |name: &str, bytes: Vec<u8>| vec![(shelf.file(name), bytes)];
    vec![
        ("78: the tree of another image", at("tree", of_other("tree"))),
        ("78: half a tree", at("tree", tree[..tree.len() / 2].to_vec())),
        ("78: no tree", at("tree", Vec::new())),
        ("78: a bit of a tree", at("tree", flipped(&tree, tree.len() / 2))),
        ("78: a tree and more", at("tree", [tree.as_slice(), &[0; 64]].concat())),
        ("82: the chunks of another image", exchanged),
        ("82: the manifest of another image", at("manifest.json", of_other("manifest.json"))),
        ("82: a bit of a manifest", at("manifest.json", flipped(&manifest, manifest.len() / 2))),
    ]
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn a_repository_that_was_tampered_with_gives_no_system() {
    let (shelf, other) = (Shelf::new(109), Shelf::new(110));
    let rows = Rows::start(&format!("[repositories.main]\nlocation = {:?}\nretry_seconds = 1", shelf.dir.path()));
    let (client, disk) = (rows.client("operator").await, LoopDisk::new(8 * MIB));
    install(&client, &disk, shelf.source()).await.expect("as it is");
    client.disk(&disk).await;
    rows.secure.rests();
    for (row, files) in damages(&shelf, &other) {
        disk.write(0, &former());
        // Nothing of the image may be on the disk already: what is there is not fetched.
        disk.write(MIB, &vec![0x5a; 7 << 20]);
        let before = disk.hash_all();
        let right: Vec<_> = files.iter().map(|(path, _)| fs::read(path).expect("read")).collect();
        files.iter().for_each(|(path, bytes)| fs::write(path, bytes).expect("written"));
        let result = install(&client, &disk, shelf.source()).await;
        assert_eq!(refused(&result), (DATA_LOSS, "IMAGE_DAMAGED"), "{row}");
        assert!(disk.hash_all() == before || !disk.is_bootable(), "{row}");
        files.iter().zip(&right).for_each(|((path, _), bytes)| fs::write(path, bytes).expect("written"));
        rows.after(row).await;
    }
    // An image whose time is over: the same but for that, so that its id is another.
    let text = fs::read_to_string(shelf.file("manifest.json")).expect("manifest");
    let old = text.replacen('{', "{\n  \"not_after\": 1500000000,", 1);
    let id = blake3::hash(old.as_bytes()).to_string();
    let place = shelf.dir.path().join("images").join(&id);
    fs::create_dir(&place).expect("directory");
    fs::write(place.join("manifest.json"), old).expect("manifest");
    fs::copy(shelf.file("tree"), place.join("tree")).expect("tree");
    let source = image_source::Source::Repository(RepositoryImage { repository: "main".to_owned(), image: id });
    let result = install(&client, &disk, source).await;
    assert_eq!(refused(&result), (Code::FailedPrecondition, "IMAGE_EXPIRED"), "81: past its time");
    rows.after("81").await;
    install(&client, &disk, shelf.source()).await.expect("as it was");
    assert_eq!(disk.hash(shelf.image.len()), shelf.image.root());
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn urls_that_lead_where_nothing_may_be_fetched_are_refused() {
    let rows = Rows::start("allowed_urls = [\"https://images.example/os/\", \"http://[fd00::1]/\"]");
    let client = rows.client("operator").await;
    let not_allowed = (INVALID, "SOURCE_NOT_ALLOWED");
    for (url, expected) in [
        ("file:///etc/shadow", MALFORMED),
        ("gopher://images.example/os/a", MALFORMED),
        ("ftp://images.example/os/a", MALFORMED),
        ("data:text/plain,a", MALFORMED),
        ("unix:/run/systemd/private", MALFORMED),
        ("/etc/shadow", MALFORMED),
        ("https://canary@images.example/os/a", MALFORMED),
        ("https://user:canary@images.example/os/a", MALFORMED),
        ("https://images.example/os/a\r\nX-Canary: 1", MALFORMED),
        ("https://images.example/os/a#canary", MALFORMED),
        ("http://[fe80::1%25eth0]/a", MALFORMED),
        ("http://[fe80::1]/a", not_allowed),
        ("http://169.254.169.254/latest/meta-data/", not_allowed),
        ("http://[::ffff:169.254.169.254]/a", not_allowed),
        ("http://2852039166/a", not_allowed),
        ("http://127.0.0.1:22/a", not_allowed),
        ("http://localhost/a", not_allowed),
        ("http://images.example/os/a", not_allowed),
        ("https://images.example:444/os/a", not_allowed),
        ("https://images.example.attacker.example/os/a", not_allowed),
        ("https://images.example/os/../secret", not_allowed),
        ("https://images.example/os/%2e%2e/secret", not_allowed),
        ("https://images.example/os/..%2fsecret", not_allowed),
        ("https://images.example/os/%00", not_allowed),
        ("https://images.example/other", not_allowed),
    ] {
        let told = client.refusal(PLAN, web(file(url))).await;
        assert_eq!(told.what(), expected, "84: {url}: {told:?}");
        assert!(!told.message.contains("canary"), "84: {told:?}");
        rows.after(url).await;
    }
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn a_server_that_lies_about_length_never_makes_a_disk_bootable() {
    let image = Image::dense(4 * MIB, &mut Seed::quiet(112));
    let bytes = || image.bytes.clone();
    let liar = Liar::serve([
        ("right", Lie::File(bytes())),
        ("endless", Lie::Endless(bytes())),
        ("more", Lie::Length([bytes(), vec![7; 4096]].concat(), image.len() + 4096)),
        ("less", Lie::Length(image.bytes[..3 << 20].to_vec(), 3 * MIB)),
        ("cut", Lie::Length(image.bytes[..3 << 20].to_vec(), image.len())),
        ("longer", Lie::Length([bytes(), vec![7; 4096]].concat(), image.len())),
        ("huge", Lie::Length(bytes(), 1 << 62)),
    ]);
    let rows = Rows::start(&format!("allowed_urls = [{:?}]\n[http]\nstall_seconds = 1\nretry_seconds = 1", liar.url()));
    let (client, disk) = (rows.client("operator").await, LoopDisk::new(8 * MIB));
    let source = |name: &str| {
        let root = blake3::hash(&image.bytes).as_bytes().to_vec();
        let url = format!("{}{name}", liar.url());
        image_source::Source::Http(HttpImage { url, size_bytes: image.len(), root, ..HttpImage::default() })
    };
    install(&client, &disk, source("right")).await.expect("as it should be");
    client.disk(&disk).await;
    rows.secure.rests();
    let length = (DATA_LOSS, "SOURCE_LENGTH");
    for (row, name, expected) in [
        ("89: a file without an end", "endless", length),
        ("73: more than was declared", "more", length),
        ("74: less than was declared", "less", length),
        ("90: half of what was announced", "cut", (Code::Unavailable, "SOURCE_UNAVAILABLE")),
        ("90: a length that no file has", "huge", length),
    ] {
        disk.write(0, &former());
        let result = install(&client, &disk, source(name)).await;
        assert_eq!(refused(&result), expected, "{row}");
        let touched = client.disk(&disk).await.interrupted_install.is_some();
        assert!(!touched || !disk.is_bootable(), "{row}");
        rows.after(row).await;
    }
    // HTTP ends where it was announced: the bytes behind that are nobody's.
    install(&client, &disk, source("longer")).await.expect("90: more than was announced");
    assert_eq!(disk.hash(image.len()), image.root());
}
