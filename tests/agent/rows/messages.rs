//! Rows 33 to 49: messages that are none, or say what cannot be, to every method that takes one.

use bms_agent::rpc::proto::longrunning::{
    CancelOperationRequest, DeleteOperationRequest, GetOperationRequest, ListOperationsRequest, Operation,
    WaitOperationRequest,
};
use bms_agent::rpc::proto::v1::push_image_request::Message;
use bms_agent::rpc::proto::v1::{
    CaptureImageRequest, CheckCompatibilityRequest, DiskSelector, HttpImage, ImageSource, ImageSpec,
    InspectImageRequest, InstallImageRequest, InstallOptions, PlanInstallRequest, PlanInstallResponse, Profile,
    PushBegin, PushImageRequest, RepositoryImage, StreamCaptureRequest, VerifyDiskRequest, WatchOperationRequest,
    check_compatibility_request, image_source,
};
use bms_agent::rpc::role::Method;
use prost::Message as _;
use tonic::Code;
use uuid::Uuid;

use super::{MALFORMED, Rows};
use crate::support::client::{Client, begin};
use crate::support::{Image, LoopDisk, MIB, Seed};

pub(super) const PLAN: &str = "/bms.agent.v1.ProvisioningService/PlanInstall";
pub(super) const INSTALL: &str = "/bms.agent.v1.ProvisioningService/InstallImage";
pub(super) const PUSH: &str = "/bms.agent.v1.ProvisioningService/PushImage";
pub(super) const CAPTURE: &str = "/bms.agent.v1.ProvisioningService/CaptureImage";
const STREAM: &str = "/bms.agent.v1.ProvisioningService/StreamCapture";
const INSPECT_IMAGE: &str = "/bms.agent.v1.ProvisioningService/InspectImage";
pub(super) const COMPATIBILITY: &str = "/bms.agent.v1.ProvisioningService/CheckCompatibility";
pub(super) const VERIFY: &str = "/bms.agent.v1.DiskService/VerifyDisk";
pub(super) const INSPECT_DISK: &str = "/bms.agent.v1.DiskService/InspectDisk";
const WATCH: &str = "/bms.agent.v1.OperationService/WatchOperation";
pub(super) const LIST: &str = "/google.longrunning.Operations/ListOperations";
const GET: &str = "/google.longrunning.Operations/GetOperation";
const DELETE: &str = "/google.longrunning.Operations/DeleteOperation";
pub(super) const CANCEL: &str = "/google.longrunning.Operations/CancelOperation";
const WAIT: &str = "/google.longrunning.Operations/WaitOperation";

/// Where the library ends the stream without a word.
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

/// A method, a message of it, and the field that is wrong.
type Call = (&'static str, Vec<u8>, &'static str);

/// No disk has it.
const NO_SERIAL: &str = "no such serial";

pub(super) fn no_disk() -> Option<DiskSelector> {
    Some(DiskSelector { serial: Some(NO_SERIAL.to_owned()), ..DiskSelector::default() })
}

pub(super) fn plan(disk: DiskSelector) -> PlanInstallRequest {
    let image = Some(ImageSpec { size_bytes: MIB, ..ImageSpec::default() });
    PlanInstallRequest { disk: Some(disk), image, ..PlanInstallRequest::default() }
}

fn with_options(options: InstallOptions) -> Vec<u8> {
    let options = Some(options);
    PlanInstallRequest { options, ..plan(no_disk().expect("some")) }.encode_to_vec()
}

fn with_profile(profile: Profile) -> Vec<u8> {
    with_options(InstallOptions { profile: Some(profile), ..InstallOptions::default() })
}

fn repository_image(repository: &str, image: &str) -> Option<ImageSource> {
    let image = RepositoryImage { repository: repository.to_owned(), image: image.to_owned() };
    Some(ImageSource { source: Some(image_source::Source::Repository(image)) })
}

/// A plan for a file on a web server.
pub(super) fn web(image: HttpImage) -> Vec<u8> {
    let source = Some(ImageSource { source: Some(image_source::Source::Http(image)) });
    PlanInstallRequest { disk: no_disk(), source, ..PlanInstallRequest::default() }.encode_to_vec()
}

pub(super) fn file(url: &str) -> HttpImage {
    HttpImage { url: url.to_owned(), size_bytes: MIB, root: vec![7; 32], ..HttpImage::default() }
}

fn capture(change: impl FnOnce(&mut CaptureImageRequest)) -> Vec<u8> {
    let text = || "a".to_owned();
    let mut request = CaptureImageRequest {
        request_id: Uuid::new_v4().to_string(),
        disk: no_disk(),
        name: text(),
        version: text(),
        owner: text(),
        ..CaptureImageRequest::default()
    };
    change(&mut request);
    request.encode_to_vec()
}

/// Every text that a caller may send, as `text`. Free text has a length of its own.
fn with_text(text: &str) -> Vec<Call> {
    let own = || text.to_owned();
    let disk = |change: fn(&mut DiskSelector, String)| {
        let mut disk = DiskSelector::default();
        change(&mut disk, own());
        plan(disk).encode_to_vec()
    };
    let page = |filter, name, page_token| ListOperationsRequest { filter, name, page_token, page_size: 0 };
    vec![
        (PLAN, disk(|disk, text| disk.serial = Some(text)), "disk.serial"),
        (PLAN, disk(|disk, text| disk.wwn = Some(text)), "disk.wwn"),
        (PLAN, disk(|disk, text| disk.by_path = Some(text)), "disk.by_path"),
        (PLAN, disk(|disk, text| disk.name = Some(text)), "disk.name"),
        (PLAN, disk(|disk, text| disk.model = Some(text)), "disk.model"),
        (
            PLAN,
            with_options(InstallOptions { overrides: vec![own()], ..InstallOptions::default() }),
            "options.overrides",
        ),
        (PLAN, with_profile(Profile { name: own(), ..Profile::default() }), "options.profile"),
        (PLAN, with_profile(Profile { architecture: Some(own()), ..Profile::default() }), "options.profile"),
        (PLAN, with_profile(Profile { firmware: Some(own()), ..Profile::default() }), "options.profile"),
        (PLAN, web(file(&format!("https://images.example/{text}"))), "source.http.url"),
        (
            INSPECT_IMAGE,
            InspectImageRequest { source: repository_image(text, "a"), profile: None }.encode_to_vec(),
            "source.repository.repository",
        ),
        (
            INSPECT_IMAGE,
            InspectImageRequest { source: repository_image("", text), profile: None }.encode_to_vec(),
            "source.repository.image",
        ),
        (CAPTURE, capture(|request| request.name = own()), "name"),
        (CAPTURE, capture(|request| request.version = own()), "version"),
        (CAPTURE, capture(|request| request.owner = own()), "owner"),
        (CAPTURE, capture(|request| request.repository = own()), "repository"),
        (CAPTURE, capture(|request| request.request_id = own()), "request_id"),
        (WATCH, WatchOperationRequest { name: own(), after_sequence: 0 }.encode_to_vec(), "name"),
        (GET, GetOperationRequest { name: own() }.encode_to_vec(), "name"),
        (DELETE, DeleteOperationRequest { name: own() }.encode_to_vec(), "name"),
        (CANCEL, CancelOperationRequest { name: own() }.encode_to_vec(), "name"),
        (WAIT, WaitOperationRequest { name: own(), timeout: None }.encode_to_vec(), "name"),
        (LIST, page(own(), String::new(), String::new()).encode_to_vec(), "filter"),
        (LIST, page(String::new(), own(), String::new()).encode_to_vec(), "name"),
        (LIST, page(String::new(), String::new(), own()).encode_to_vec(), "page_token"),
    ]
}

/// All of them are refused, each for its field.
async fn refused(rows: &Rows, client: &Client, row: &str, calls: Vec<Call>) {
    for (path, message, field) in calls {
        let told = client.refusal(path, message).await;
        assert_eq!(told.what(), MALFORMED, "{row}: {path} {told:?}");
        assert!(told.fields.iter().any(|told| told == field), "{row}: {path} {field} {told:?}");
        rows.after(&format!("{row}: {path} {field}")).await;
    }
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn messages_that_are_none_are_told_so_by_every_method() {
    let rows = Rows::start("");
    let client = rows.client("admin").await;
    let deep = |depth: usize| [vec![0x0b; depth], vec![0x0c; depth]].concat();
    // Of 5 bytes, the second is no UTF-8. The first field of most messages is a message, so that its first is a tag.
    for (case, bytes) in [
        ("33: half a varint", vec![0x08, 0x80]),
        ("33: a wire type that there is not", vec![0x0f]),
        ("33: the number 0", vec![0x00, 0x00]),
        ("33: a field that is longer than the message", vec![0xfa, 0x07, 0x7f, 1]),
        ("33: the end of a group that never began", vec![0xfc, 0x07]),
        ("33: groups a thousand deep", deep(1000)),
    ] {
        for &method in Method::ALL.iter().filter(|method| method.path() != REFLECTION) {
            let told = client.refusal(method.path(), bytes.clone()).await;
            assert_eq!(told.what(), (Code::Internal, ""), "{case}: {} {told:?}", method.path());
        }
        assert!(client.ask(REFLECTION, bytes).await.expect("an end").is_empty(), "{case}: reflection");
        rows.after(case).await;
    }
    // Field 1 is a text in these, and a message of texts in the others.
    for path in [WATCH, GET, DELETE, CANCEL, WAIT, VERIFY, INSTALL, CAPTURE, "/grpc.health.v1.Health/Check"] {
        let told = client.refusal(path, vec![0x0a, 2, 0xc3, 0x28]).await;
        assert_eq!(told.what(), (Code::Internal, ""), "34: no UTF-8: {path} {told:?}");
    }
    for path in [PLAN, STREAM, INSPECT_DISK] {
        let told = client.refusal(path, vec![0x0a, 4, 0x0a, 2, 0xc3, 0x28]).await;
        assert_eq!(told.what(), (Code::Internal, ""), "34: no UTF-8: {path} {told:?}");
    }
    rows.after("34").await;
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn texts_that_deceive_or_are_too_long_are_refused_by_the_name_of_their_field() {
    let rows = Rows::start("");
    let client = rows.client("admin").await;
    for text in ["a\0", "a\r", "a\nb", "\u{1b}[2J", "a\u{202e}b", "a\u{2066}b"] {
        refused(&rows, &client, &format!("35: {text:?}"), with_text(text)).await;
        let free = |change: &dyn Fn(&mut CaptureImageRequest)| capture(|request| change(request));
        let label = |key: &str, value: &str| [(key.to_owned(), value.to_owned())].into();
        let mut calls = vec![
            (CAPTURE, free(&|request| request.labels = label(text, "a")), "labels"),
            (CAPTURE, free(&|request| request.labels = label("a", text)), "labels"),
        ];
        if text != "a\nb" {
            calls.push((CAPTURE, free(&|request| request.description = text.to_owned()), "description"));
        }
        refused(&rows, &client, &format!("35: {text:?}"), calls).await;
    }
    refused(&rows, &client, "36: 4,097 bytes", with_text(&"x".repeat(4097))).await;
    refused(&rows, &client, "36: 250,000 bytes", with_text(&"x".repeat(250_000))).await;
    let manifest =
        format!("{{\"schema\": 1, \"name\": \"a\", \"version\": \"1\", \"kind\": {:?}}}", "x".repeat(200_000));
    let image = check_compatibility_request::Image::Manifest(manifest.into_bytes());
    let manifest = CheckCompatibilityRequest { image: Some(image), ..CheckCompatibilityRequest::default() };
    refused(&rows, &client, "36: a manifest", vec![(COMPATIBILITY, manifest.encode_to_vec(), "manifest")]).await;
    let path = DiskSelector { backing_file: Some("/".repeat(4097)), ..DiskSelector::default() };
    refused(&rows, &client, "36: a path", vec![(PLAN, plan(path).encode_to_vec(), "disk.backing_file")]).await;
    let many = InstallOptions { overrides: vec!["HW-01".to_owned(); 17], ..InstallOptions::default() };
    refused(&rows, &client, "36: 17 overrides", vec![(PLAN, with_options(many), "options.overrides")]).await;
    let empty = with_text("").into_iter().filter(|(path, _, field)| {
        // These mean that nothing is said.
        *path != LIST && !matches!(*field, "source.repository.repository" | "repository" | "options.profile")
    });
    let empty = empty.filter(|(_, _, field)| *field != "source.http.url").collect();
    refused(&rows, &client, "36: empty", empty).await;
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn numbers_that_mean_nothing_and_messages_that_say_nothing_are_refused() {
    let rows = Rows::start("");
    let client = rows.client("admin").await;
    for number in [99, -1, i32::MAX] {
        let transport = DiskSelector { transport: number, ..no_disk().expect("some") };
        let stream = StreamCaptureRequest { disk: no_disk(), encoding: number, ..StreamCaptureRequest::default() };
        let profile = Profile::default;
        let calls = vec![
            (PLAN, plan(transport).encode_to_vec(), "disk.transport"),
            (STREAM, stream.encode_to_vec(), "encoding"),
            (CAPTURE, capture(|request| request.kind = number), "kind"),
            (
                PLAN,
                with_options(InstallOptions { inspection: number, ..InstallOptions::default() }),
                "options.inspection",
            ),
            (PLAN, with_profile(Profile { network_mode: number, ..profile() }), "options.profile"),
            (PLAN, with_profile(Profile { boot_source: number, ..profile() }), "options.profile"),
            (PLAN, with_profile(Profile { sdi: number, ..profile() }), "options.profile"),
            (
                PLAN,
                web(HttpImage { compression: number, ..file("https://images.example/disk") }),
                "source.http.compression",
            ),
        ];
        refused(&rows, &client, &format!("37: {number}"), calls).await;
    }
    let nothing = [
        (PLAN, "disk"),
        (INSTALL, "request_id"),
        (PUSH, "message"),
        (CAPTURE, "request_id"),
        (STREAM, "disk"),
        (INSPECT_IMAGE, "source"),
        (COMPATIBILITY, "image"),
        (VERIFY, "request_id"),
        (INSPECT_DISK, "disk"),
        (WATCH, "name"),
        (GET, "name"),
        (DELETE, "name"),
        (CANCEL, "name"),
        (WAIT, "name"),
    ];
    let calls = nothing.map(|(path, field)| (path, Vec::new(), field)).to_vec();
    refused(&rows, &client, "38: nothing at all", calls).await;
}

/// Requests that begin something, with these ids.
fn with_request_id(id: &str) -> Vec<Call> {
    let begin = PushBegin { request_id: id.to_owned(), ..PushBegin::default() };
    let push = PushImageRequest { message: Some(Message::Begin(begin)) };
    let install = InstallImageRequest { request_id: id.to_owned(), ..InstallImageRequest::default() };
    let verify = VerifyDiskRequest { request_id: id.to_owned(), ..VerifyDiskRequest::default() };
    vec![
        (PUSH, push.encode_to_vec(), "request_id"),
        (INSTALL, install.encode_to_vec(), "request_id"),
        (VERIFY, verify.encode_to_vec(), "request_id"),
        (CAPTURE, capture(|request| request.request_id = id.to_owned()), "request_id"),
    ]
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn a_request_id_is_a_uuid_and_stands_for_one_request() {
    let rows = Rows::start("");
    let (client, disk) = (rows.client("operator").await, LoopDisk::new(MIB));
    for id in ["", "7", "00000000-0000-0000-0000-000000000000", "3fa85f64-5717-4562-b3fc-2c963f66afa", "\u{1b}"] {
        refused(&rows, &client, &format!("41: {id:?}"), with_request_id(id)).await;
    }
    let root = blake3::hash(&disk.read_all()).as_bytes().to_vec();
    let request_id = Uuid::new_v4().to_string();
    let verify = VerifyDiskRequest { request_id, disk: Some(disk.wire_selector()), root, size_bytes: MIB };
    let mut names = Vec::new();
    for _ in 0..3 {
        let answers = client.ask(VERIFY, verify.encode_to_vec()).await.expect("43: the same request");
        names.push(Operation::decode(answers[0].as_slice()).expect("an operation").name);
        client.ended(&names[0]).await;
    }
    assert!(names.iter().all(|name| *name == names[0]), "43: {names:?}");
    assert_eq!(client.operation_names().await.len(), 1, "43: one operation");
    let other = VerifyDiskRequest { root: vec![7; 32], ..verify };
    let told = client.refusal(VERIFY, other.encode_to_vec()).await;
    assert_eq!(told.what(), (Code::InvalidArgument, "REQUEST_ID_REUSED"), "42: other arguments");
    rows.after("43").await;
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn long_messages_are_taken_up_to_the_limit_of_their_method_and_no_further() {
    let rows = Rows::start("");
    let client = rows.client("admin").await;
    // Field 1000, which no message has, as long as makes a message of this length.
    let padding = |len: usize| {
        let mut bytes = vec![0xc2, 0x3e];
        let body = (0..len).rev().find(|body| 2 + prost::length_delimiter_len(*body) + body == len).expect("a length");
        prost::encode_length_delimiter(body, &mut bytes).expect("room");
        bytes.resize(len, 0);
        bytes
    };
    let host = "/bms.agent.v1.HostService/GetHost";
    for len in [200_000, 256 << 10] {
        client.ask(host, padding(len)).await.expect("39: what is not known is left out");
        let told = client.refusal(INSPECT_DISK, padding(len)).await;
        assert_eq!(told.what(), MALFORMED, "39: the rest is looked at");
    }
    for &method in Method::ALL.iter().filter(|&&method| ![PUSH, REFLECTION].contains(&method.path())) {
        let told = client.refusal(method.path(), padding((256 << 10) + 1)).await;
        assert_eq!(told.what(), (Code::OutOfRange, ""), "40: 256 KiB + 1: {}", method.path());
    }
    assert!(client.ask(REFLECTION, padding((256 << 10) + 1)).await.expect("an end").is_empty(), "40: reflection");
    let longest = (16 << 20) + (64 << 10);
    assert_eq!(client.refusal(PUSH, padding(longest)).await.what(), MALFORMED, "40: a group and what is around it");
    assert_eq!(client.refusal(PUSH, padding(longest + 1)).await.what(), (Code::OutOfRange, ""), "40: and one byte");
    drop(client);
    // What is kept of 16 MiB is the library's buffers; they go with the connection.
    rows.after("40").await;
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn what_is_not_the_callers_to_say_is_denied() {
    let mut rows = Rows::start("");
    let (operator, image) = (rows.client("operator").await, Image::dense(2 * MIB, &mut Seed::quiet(101)));
    let disk = LoopDisk::new(4 * MIB);
    let denied = (Code::PermissionDenied, "ROLE_REQUIRED");
    let options = InstallOptions { overrides: vec!["HW-01".to_owned()], ..InstallOptions::default() };
    let begun = PushBegin { options: Some(options.clone()), ..begin(&image, &disk) };
    let install = InstallImageRequest { options: Some(options.clone()), ..InstallImageRequest::default() };
    let check =
        CheckCompatibilityRequest { overrides: options.overrides.clone(), ..CheckCompatibilityRequest::default() };
    for (path, message) in [
        (PLAN, with_options(options)),
        (PUSH, PushImageRequest { message: Some(Message::Begin(begun)) }.encode_to_vec()),
        (INSTALL, install.encode_to_vec()),
        (COMPATIBILITY, check.encode_to_vec()),
    ] {
        assert_eq!(operator.refusal(path, message).await.what(), denied, "49: an override: {path}");
    }
    rows.after("49").await;
    let planned = operator.ask(PLAN, planned(&image, &disk)).await.expect("a plan").remove(0);
    let token = PlanInstallResponse::decode(planned.as_slice()).expect("a plan").token;
    let push = |plan_token| {
        let begin = PushBegin { plan_token, ..begin(&image, &disk) };
        PushImageRequest { message: Some(Message::Begin(begin)) }.encode_to_vec()
    };
    let invalid = (Code::PermissionDenied, "PLAN_TOKEN_INVALID");
    for at in 0..token.len() {
        let mut altered = token.clone();
        altered[at] ^= 1 << (at % 8);
        assert_eq!(operator.refusal(PUSH, push(altered)).await.what(), invalid, "47: one bit of byte {at}");
    }
    let longer = [token.clone(), vec![0]].concat();
    for other in [&token[..87], longer.as_slice(), &[0; 88]] {
        assert_eq!(operator.refusal(PUSH, push(other.to_vec())).await.what(), invalid, "47: {} bytes", other.len());
    }
    rows.after("47").await;
    drop(operator);
    rows.secure.daemon.kill();
    rows.secure.daemon.restart();
    let operator = rows.client("operator").await;
    // The table has FAILED_PRECONDITION; an agent that was started again cannot tell its own old tokens from others.
    assert_eq!(operator.refusal(PUSH, push(token)).await.what(), invalid, "46: after a restart");
    assert_eq!(disk.read_all(), vec![0; 4 << 20], "nothing was written");
}

fn planned(image: &Image, disk: &LoopDisk) -> Vec<u8> {
    let PushBegin { disk, image, options, .. } = begin(image, disk);
    PlanInstallRequest { disk, image, options, source: None }.encode_to_vec()
}
