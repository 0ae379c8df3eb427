//! Every field that a request can have wrong, and what a good one becomes.

use uuid::Uuid;

use super::super::proto::v1::{self, push_image_request::Message};
use super::{
    capture_image_request, feed_event, install_request, operation_name, pull_request, request, stream_capture_request,
    verify_request,
};
use crate::agent::{ImageSource, VerifyAgainst};
use crate::disk::identity::Transport;
use crate::image::group::{ChainingValue, GroupSize};
use crate::image::manifest::{CaptureMode, Kind};
use crate::image::source::Format;
use crate::operation::Caller;
use crate::provision::feed::{Encoding, FeedEvent, Offered};
use crate::reason::{DomainError as _, Reason};
use crate::rpc::role::Method;

fn disk() -> v1::DiskSelector {
    v1::DiskSelector { serial: Some("S1".to_owned()), ..Default::default() }
}

fn image() -> v1::ImageSpec {
    v1::ImageSpec { size_bytes: 1 << 30, ..Default::default() }
}

/// The fields that are wrong.
fn violations(disk: Option<v1::DiskSelector>, image: Option<v1::ImageSpec>) -> Vec<&'static str> {
    let error = install_request(disk, image, None, &user("user 0")).expect_err("wrong");
    assert_eq!(error.reason(), Reason::RequestMalformed);
    error.metadata().into_iter().map(|(field, _)| field).collect()
}

const METHOD: Method = Method::DiskServiceVerifyDisk;

fn user(name: &str) -> Caller {
    Caller { name: name.to_owned(), ..Caller::default() }
}

#[test]
fn a_good_request_is_taken_over_field_by_field() {
    let selector = v1::DiskSelector {
        wwn: Some("eui.1".to_owned()),
        by_path: Some("pci-1".to_owned()),
        name: Some("nvme0n1".to_owned()),
        model: Some("M".to_owned()),
        transport: v1::Transport::Nvme.into(),
        rotational: Some(false),
        size_bytes: Some(5),
        min_size_bytes: Some(4),
        logical_block_size_bytes: Some(512),
        diskseq: Some(7),
        backing_file: Some("/x".to_owned()),
        ..disk()
    };
    let spec =
        v1::ImageSpec { size_bytes: 77, group_size_bytes: 1 << 16, root: vec![3; 32], logical_block_size_bytes: 4096 };
    let options = v1::InstallOptions { in_place: true, ..v1::InstallOptions::default() };
    let request = install_request(Some(selector), Some(spec), Some(options), &user("user 0")).expect("good");
    assert_eq!(request.selector.serial.as_deref(), Some("S1"));
    assert_eq!(request.selector.wwn.as_deref(), Some("eui.1"));
    assert_eq!(request.selector.by_path.as_deref(), Some("pci-1"));
    assert_eq!(request.selector.name.as_deref(), Some("nvme0n1"));
    assert_eq!(request.selector.model.as_deref(), Some("M"));
    assert_eq!(request.selector.transport, Some(Transport::Nvme));
    assert_eq!(request.selector.rotational, Some(false));
    assert_eq!((request.selector.size_bytes, request.selector.min_size_bytes), (Some(5), Some(4)));
    assert_eq!((request.selector.logical_block_size, request.selector.diskseq), (Some(512), Some(7)));
    assert_eq!(request.selector.backing_file.as_deref(), Some("/x"));
    assert_eq!((request.image.layout.len_bytes(), request.image.layout.group_size().bytes()), (77, 1 << 16));
    assert_eq!((request.image.root, request.image.logical_block_size), (Some([3; 32]), Some(4096)));
    assert!(request.options.in_place && !request.options.wipe_rest);
}

#[test]
fn what_is_left_out_has_its_default() {
    let request = install_request(Some(disk()), Some(image()), None, &user("user 0")).expect("good");
    assert_eq!(request.image.layout.group_size().bytes(), 256 << 10);
    assert_eq!((request.image.root, request.image.logical_block_size), (None, None));
    assert!(!request.options.in_place && !request.options.wipe_rest);
}

#[test]
fn each_impossible_field_of_an_image_is_named() {
    let of = |image| violations(Some(disk()), Some(image));
    assert_eq!(violations(Some(disk()), None), ["image.size_bytes"]);
    for size_bytes in [0, 1 << 63, u64::MAX] {
        assert_eq!(of(v1::ImageSpec { size_bytes, ..image() }), ["image.size_bytes"]);
    }
    for group_size_bytes in [1, 1 << 15, (1 << 16) + 1, 1 << 25, u64::MAX] {
        assert_eq!(of(v1::ImageSpec { group_size_bytes, ..image() }), ["image.group_size_bytes"]);
    }
    for len in [1, 31, 33] {
        assert_eq!(of(v1::ImageSpec { root: vec![0; len], ..image() }), ["image.root"]);
    }
    for logical_block_size_bytes in [1, 511, 513, 1 << 17] {
        let image = v1::ImageSpec { logical_block_size_bytes, ..image() };
        assert_eq!(of(image), ["image.logical_block_size_bytes"]);
    }
}

#[test]
fn each_impossible_field_of_a_selector_is_named() {
    let of = |disk| violations(Some(disk), Some(image()));
    assert_eq!(violations(None, Some(image())), ["disk"], "a selector of nothing");
    assert_eq!(of(v1::DiskSelector { transport: 99, ..disk() }), ["disk.transport"]);
    for text in ["", "a\nb", "\u{7f}", "a\u{202e}b", "a\u{200b}", &"x".repeat(257)] {
        let text = Some(text.to_owned());
        let fields = [
            ("disk.serial", v1::DiskSelector { serial: text.clone(), ..disk() }),
            ("disk.wwn", v1::DiskSelector { wwn: text.clone(), ..disk() }),
            ("disk.by_path", v1::DiskSelector { by_path: text.clone(), ..disk() }),
            ("disk.name", v1::DiskSelector { name: text.clone(), ..disk() }),
            ("disk.model", v1::DiskSelector { model: text.clone(), ..disk() }),
        ];
        for (field, selector) in fields {
            assert!(of(selector).contains(&field), "{field} {text:?}");
        }
    }
    let long = v1::DiskSelector { backing_file: Some("x".repeat(4097)), ..disk() };
    assert!(of(long).contains(&"disk.backing_file"));
    assert_eq!(of(v1::DiskSelector { name: Some("/dev/sda".to_owned()), ..disk() }), ["disk"]);
    assert_eq!(of(v1::DiskSelector { logical_block_size_bytes: Some(500), ..disk() }), ["disk"]);
}

#[test]
fn all_violations_are_told_at_once() {
    let image = v1::ImageSpec { size_bytes: 0, group_size_bytes: 1, root: vec![1], logical_block_size_bytes: 1 };
    let fields = violations(Some(v1::DiskSelector { transport: 99, ..Default::default() }), Some(image));
    let expected = [
        "disk.transport",
        "disk",
        "image.size_bytes",
        "image.root",
        "image.logical_block_size_bytes",
        "image.group_size_bytes",
    ];
    assert_eq!(fields, expected);
}

#[test]
fn a_request_id_is_a_uuid_and_its_digest_is_that_of_the_request() {
    let id = Uuid::from_u128(7).to_string();
    let first = request(METHOD, &id, &image(), &user("user 0")).expect("good");
    let again = request(METHOD, &id, &image(), &user("user 0")).expect("good");
    assert_eq!((first.id, first.digest, &first.caller), (again.id, again.digest, &again.caller));
    let other = v1::ImageSpec { size_bytes: 5, ..image() };
    assert_ne!(first.digest, request(METHOD, &id, &other, &user("user 0")).expect("good").digest);
    for id in ["", "7", "00000000-0000-0000-0000-000000000000", "not-a-uuid"] {
        assert_eq!(request(METHOD, id, &image(), &user("user 0")).expect_err("wrong").metadata()[0].0, "request_id");
    }
}

#[test]
fn a_verification_has_a_root_and_a_size_or_neither() {
    let of = |root: Vec<u8>, size_bytes| {
        let request = v1::VerifyDiskRequest { disk: Some(disk()), root, size_bytes, ..Default::default() };
        verify_request(&request)
    };
    assert!(matches!(of(Vec::new(), 0).expect("good").1, VerifyAgainst::Record));
    let (_, against) = of(vec![5; 32], 99).expect("good");
    assert!(matches!(against, VerifyAgainst::Root(layout, root) if layout.len_bytes() == 99 && root == [5; 32]));
    for (root, size) in [(vec![5; 32], 0), (vec![5; 32], 1 << 63), (Vec::new(), 1)] {
        assert_eq!(of(root, size).expect_err("wrong").metadata()[0].0, "size_bytes");
    }
    assert_eq!(of(vec![5; 31], 0).expect_err("wrong").metadata()[0].0, "root");
}

fn event(message: Message) -> FeedEvent {
    feed_event(v1::PushImageRequest { message: Some(message) })
}

#[test]
fn messages_of_a_push_become_what_they_say() {
    let offer = |first_group, group_count, values: Vec<u8>| {
        event(Message::Offer(v1::GroupOffer { first_group, group_count, chaining_values: values }))
    };
    let holes = offer(3, u64::MAX, Vec::new());
    assert!(matches!(holes, FeedEvent::Offer { first: 3, groups: Offered::Holes(u64::MAX) }), "{holes:?}");
    let data = offer(4, 2, [[1; 32], [2; 32]].concat());
    let FeedEvent::Offer { first: 4, groups: Offered::Data(values) } = data else { panic!("{data:?}") };
    assert_eq!(values, [ChainingValue([1; 32]), ChainingValue([2; 32])]);
    for (sent, expected) in [(v1::Encoding::Raw, Encoding::Raw), (v1::Encoding::Zstd, Encoding::Zstd)] {
        let payload = vec![9; 5].into();
        let data = v1::GroupData { first_group: 5, group_count: 6, encoding: sent.into(), payload };
        let FeedEvent::Data(part) = event(Message::Data(data)) else { panic!("no data") };
        assert_eq!((part.first, part.count, part.encoding, part.payload.as_ref()), (5, 6, expected, &[9; 5][..]));
    }
    let finish = event(Message::Finish(v1::PushFinish { offers_digest: vec![8; 32] }));
    assert!(matches!(finish, FeedEvent::Finish { offers_digest } if offers_digest == [8; 32]));
}

#[test]
fn messages_that_make_no_sense_break_the_push() {
    let offer = |group_count, len: usize| {
        Some(Message::Offer(v1::GroupOffer { first_group: 0, group_count, chaining_values: vec![0; len] }))
    };
    let data = |encoding| {
        Some(Message::Data(v1::GroupData { first_group: 0, group_count: 1, encoding, payload: Vec::new().into() }))
    };
    let finish = |len: usize| Some(Message::Finish(v1::PushFinish { offers_digest: vec![0; len] }));
    let messages = [
        None,
        Some(Message::Begin(v1::PushBegin::default())),
        offer(0, 0),
        offer(0, 32),
        offer(1, 31),
        offer(1, 33),
        offer(1, 64),
        offer(2, 32),
        offer(u64::MAX, 32),
        data(0),
        data(3),
        data(-1),
        finish(0),
        finish(31),
        finish(33),
    ];
    for message in messages {
        let text = format!("{message:?}");
        let event = feed_event(v1::PushImageRequest { message });
        let FeedEvent::Broken(error) = event else { panic!("{text} became {event:?}") };
        assert_eq!(error.reason(), Reason::PushProtocol);
    }
}

fn capture() -> v1::CaptureImageRequest {
    v1::CaptureImageRequest {
        disk: Some(disk()),
        name: "web".to_owned(),
        version: "1".to_owned(),
        owner: "me".to_owned(),
        ..v1::CaptureImageRequest::default()
    }
}

#[test]
fn texts_of_a_capture_may_have_lines_and_nothing_that_deceives() {
    let described = |description: &str| {
        let request = v1::CaptureImageRequest { description: description.to_owned(), ..capture() };
        capture_image_request(request).map(|(_, image)| image.description)
    };
    assert_eq!(described("two\n\tlines").expect("good"), "two\n\tlines");
    for text in ["a\0", "a\r\n", "\u{1b}[2J", "a\u{202e}b"] {
        assert_eq!(described(text).expect_err("wrong").metadata()[0].0, "description");
        for (key, value) in [(text, "a"), ("a", text)] {
            let labels = [(key.to_owned(), value.to_owned())].into();
            let error = capture_image_request(v1::CaptureImageRequest { labels, ..capture() }).expect_err("wrong");
            assert_eq!(error.metadata()[0].0, "labels");
        }
    }
}

#[test]
fn the_name_of_an_operation_is_a_short_text() {
    assert_eq!(operation_name("operations/none").expect("a name"), "operations/none");
    for name in ["", "a\u{1b}", "a\u{202e}", &"x".repeat(257)] {
        assert_eq!(operation_name(name).expect_err("none").metadata()[0].0, "name");
    }
}

fn at_url(change: impl FnOnce(&mut v1::HttpImage)) -> v1::ImageSource {
    let mut image = v1::HttpImage {
        url: "https://images.example/os/disk.raw.zst?signature=canary".to_owned(),
        size_bytes: 1 << 30,
        root: vec![7; 32],
        logical_block_size_bytes: 4096,
        ..Default::default()
    };
    change(&mut image);
    v1::ImageSource { source: Some(v1::image_source::Source::Http(image)) }
}

#[test]
fn an_image_at_a_url_is_taken_over_field_by_field() {
    for (compression, expected) in [
        (v1::Compression::Unspecified, None),
        (v1::Compression::None, Some(Format::Raw)),
        (v1::Compression::Gzip, Some(Format::Gzip)),
        (v1::Compression::Xz, Some(Format::Xz)),
        (v1::Compression::Zstd, Some(Format::Zstd)),
    ] {
        let source = at_url(|image| image.compression = compression.into());
        let request = pull_request(Some(disk()), Some(source), None, &user("user 0")).expect("good");
        let ImageSource::Http { url, format, spec } = request.source else { panic!("another source") };
        assert_eq!(url.0.as_str(), "https://images.example/os/disk.raw.zst?signature=canary");
        assert_eq!((format, spec.layout.len_bytes(), spec.root), (expected, 1 << 30, Some([7; 32])));
        assert_eq!(spec.logical_block_size, Some(4096));
    }
}

#[test]
fn a_capture_is_private_and_without_free_space_unless_it_says_otherwise() {
    let (request, image) = capture_image_request(capture()).expect("good");
    assert_eq!((request.mode, request.group_size, image.kind), (CaptureMode::UsedBlocks, None, Kind::Private));
    assert_eq!((image.name.as_str(), image.version.as_str(), image.owner.as_str()), ("web", "1", "me"));
    let all = v1::CaptureImageRequest {
        repository: "main".to_owned(),
        kind: v1::ImageKind::Public.into(),
        description: "text".to_owned(),
        labels: [("a".to_owned(), "b".to_owned())].into(),
        bit_exact: true,
        group_size_bytes: 1 << 20,
        ..capture()
    };
    let (request, image) = capture_image_request(all).expect("good");
    assert_eq!((request.mode, image.kind), (CaptureMode::BitExact, Kind::Public));
    assert_eq!(request.group_size.map(GroupSize::bytes), Some(1 << 20));
    assert_eq!(
        (image.repository.as_str(), image.description.as_str(), image.labels["a"].as_str()),
        ("main", "text", "b")
    );
}

#[test]
fn each_impossible_field_of_a_capture_is_named() {
    let wrong = v1::CaptureImageRequest {
        disk: None,
        repository: "r".repeat(129),
        name: "a/b".to_owned(),
        version: String::new(),
        owner: "..".to_owned(),
        kind: 9,
        group_size_bytes: 5,
        ..capture()
    };
    let error = capture_image_request(wrong).expect_err("wrong");
    let fields: Vec<_> = error.metadata().into_iter().map(|(field, _)| field).collect();
    assert_eq!(fields, ["kind", "name", "version", "owner", "repository", "disk", "group_size_bytes"]);
    let stream = v1::StreamCaptureRequest { disk: Some(disk()), encoding: 7, ..v1::StreamCaptureRequest::default() };
    assert_eq!(stream_capture_request(stream).expect_err("wrong").metadata()[0].0, "encoding");
}

#[test]
fn all_that_is_wrong_with_an_image_at_a_url_is_told_and_no_secret() {
    let wrong = |change: fn(&mut v1::HttpImage)| {
        let error = pull_request(Some(disk()), Some(at_url(change)), None, &user("user 0")).expect_err("wrong");
        assert!(!error.to_string().contains("canary"), "{error}");
        error.metadata().into_iter().map(|(field, _)| field).collect::<Vec<_>>()
    };
    let all = [
        "source.http.url",
        "source.http.compression",
        "source.http.size_bytes",
        "source.http.root",
        "source.http.logical_block_size_bytes",
    ];
    assert_eq!(
        wrong(|image| *image = v1::HttpImage { compression: 77, logical_block_size_bytes: 3, ..Default::default() })
            [1..],
        all
    );
    for change in [
        |image: &mut v1::HttpImage| image.url = "ftp://images.example/canary".to_owned(),
        |image: &mut v1::HttpImage| image.url = "/canary".to_owned(),
        |image: &mut v1::HttpImage| image.url = "https://canary@images.example/".to_owned(),
        |image: &mut v1::HttpImage| image.url = "https://:canary@images.example/".to_owned(),
        |image: &mut v1::HttpImage| image.url = "https://images.example/#canary".to_owned(),
        |image: &mut v1::HttpImage| image.url = "https://images.example/\ncanary".to_owned(),
        |image: &mut v1::HttpImage| image.url += &"canary".repeat(400),
    ] {
        assert_eq!(wrong(change), ["source.http.url"]);
    }
    assert_eq!(wrong(|image| image.root.truncate(31)), ["source.http.root"]);
    assert_eq!(wrong(|image| image.size_bytes = u64::MAX), ["source.http.size_bytes"]);
}

#[test]
fn overrides_are_few_and_short_and_say_who() {
    let with = |ids: &[&str]| {
        let overrides = ids.iter().map(|&id| id.to_owned()).collect();
        let options = v1::InstallOptions { overrides, ..v1::InstallOptions::default() };
        install_request(Some(disk()), Some(image()), Some(options), &user("user 7"))
    };
    let request = with(&["HW-01", "HW-09"]).expect("good");
    let said: Vec<_> = request.admission.overrides.iter().map(|one| (one.id.as_str(), one.by.as_str())).collect();
    assert_eq!(said, [("HW-01", "user 7"), ("HW-09", "user 7")]);
    assert!(with(&["HW-01"; 16]).is_ok());
    for wrong in [&["HW-01"; 17][..], &[""], &["HW-01234567890123"], &["HW\n"]] {
        let error = with(wrong).expect_err("wrong").to_string();
        assert!(error.contains("options.overrides"), "{error}");
    }
}
