//! The API as any client sees it.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::Command;

use bms_agent::rpc::proto::longrunning::{
    DeleteOperationRequest, GetOperationRequest, ListOperationsRequest, WaitOperationRequest,
};
use bms_agent::rpc::proto::v1::{
    BootMode, GetHostRequest, ListDisksRequest, ListDisksResponse, PushImageRequest, Transport, WatchOperationRequest,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::codegen::http::uri::PathAndQuery;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::support::client::{Client, Fault, begin, metadata, outcome};
use crate::support::{Daemon, Image, LoopDisk, MIB, Seed, run};

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn health_is_served() {
    let daemon = Daemon::start();
    let client = Client::connect(&daemon).await;
    for service in ["", "bms.agent.v1.ProvisioningService"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = HealthClient::new(client.channel.clone()).check(request).await.expect("health").into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service:?}");
    }
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn reflection_lists_all_services() {
    let daemon = Daemon::start();
    let client = Client::connect(&daemon).await;
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(client.channel.clone())
        .server_reflection_info(tokio_stream::iter([request]))
        .await
        .expect("reflection")
        .into_inner();
    let answer = answers.message().await.expect("an answer").expect("one").message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = answer else { panic!("{answer:?}") };
    let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    for service in [
        "bms.agent.v1.HostService",
        "bms.agent.v1.DiskService",
        "bms.agent.v1.ProvisioningService",
        "bms.agent.v1.OperationService",
        "google.longrunning.Operations",
    ] {
        assert!(names.contains(&service), "{service} is not in {names:?}");
    }
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn the_host_is_described() {
    let daemon = Daemon::start();
    let client = Client::connect(&daemon).await;
    let answer = client.hosts().get_host(GetHostRequest::default()).await.expect("host").into_inner();
    let host = answer.host.expect("a host");
    assert_eq!(host.agent_version, env!("CARGO_PKG_VERSION"));
    assert_eq!(host.architecture, run("uname", &["-m"]));
    assert_eq!(host.kernel_release, run("uname", &["-r"]));
    assert_ne!(host.boot_mode(), BootMode::Unspecified);
    assert!(host.cpu_count > 0 && host.memory_bytes > 0 && !host.boot_id.is_empty());
    assert!(host.hardware_model.is_some());
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn a_disk_is_listed_with_all_that_an_install_would_destroy() {
    let daemon = Daemon::start();
    let client = Client::connect(&daemon).await;
    let (image, disk) = (Image::with_block_size(8 * MIB, 4096, &mut Seed::quiet(19)), disk_of(4096));
    daemon.install(&image.path(), &disk, &[]).done();
    let listed = client.disk(&disk).await;
    assert_eq!((listed.size_bytes, listed.logical_block_size_bytes), (16 * MIB, 4096));
    assert_eq!(listed.transport(), Transport::Loop);
    assert_eq!(listed.backing_file.as_deref(), disk.backing.to_str());
    assert!(listed.diskseq > 0 && !listed.read_only && !listed.removable && listed.refusals.is_empty());
    assert_eq!(listed.partition_table, "gpt");
    let partitions: Vec<_> = listed.partitions.iter().map(|part| (part.number, part.offset_bytes)).collect();
    assert_eq!(partitions, [(1, MIB), (2, 2 * MIB)]);
    assert_eq!((listed.partitions[0].size_bytes, listed.partitions[0].label.as_str()), (MIB, "test"));
    assert!(listed.interrupted_install.is_none());
}

fn disk_of(block_size: u32) -> LoopDisk {
    LoopDisk::with_block_size(16 * MIB, block_size)
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn a_watch_goes_on_after_the_sequence_that_was_seen() {
    let daemon = Daemon::start();
    let client = Client::connect(&daemon).await;
    let (image, disk) = (Image::new(8 * MIB, &mut Seed::quiet(20)), disk_of(512));
    let name = daemon.install(&image.path(), &disk, &[]).done()["name"].as_str().expect("a name").to_owned();
    let watch = async |after_sequence| {
        let request = WatchOperationRequest { name: name.clone(), after_sequence };
        let mut states = client.watches().watch_operation(request).await.expect("watch").into_inner();
        let mut seen = Vec::new();
        while let Some(state) = states.message().await.expect("a state") {
            seen.push((state.sequence, state.operation.expect("an operation").done));
        }
        seen
    };
    let all = watch(0).await;
    let &(last, done) = all.last().expect("the present state at once");
    assert!(done, "{all:?}");
    assert_eq!(watch(last - 1).await, [(last, true)]);
    // Whoever saw the end is told of it again, and is not left waiting.
    assert_eq!(watch(last).await, [(last, true)]);
    let unknown = WatchOperationRequest { name: "operations/none".to_owned(), after_sequence: 0 };
    let fault = Fault::from(client.watches().watch_operation(unknown).await.expect_err("unknown"));
    assert_eq!((fault.code, fault.reason.as_str()), (Code::NotFound, "OPERATION_NOT_FOUND"));
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn operations_are_listed_page_by_page_newest_first_and_forgotten_on_demand() {
    let daemon = Daemon::start();
    let client = Client::connect(&daemon).await;
    let (image, disk) = (Image::new(8 * MIB, &mut Seed::quiet(21)), disk_of(512));
    daemon.install(&image.path(), &disk, &[]).done();
    for _ in 0..4 {
        daemon.verify(&disk, &[]).done();
    }
    let mut pages: Vec<Vec<String>> = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListOperationsRequest { page_size: 2, page_token, ..ListOperationsRequest::default() };
        let page = client.operations().list_operations(request).await.expect("a page").into_inner();
        let begun: Vec<_> = page.operations.iter().map(|operation| metadata(operation).started_at).collect();
        assert!(begun.is_sorted_by(|newer, older| {
            let at = |time: &Option<prost_types::Timestamp>| time.map(|time| (time.seconds, time.nanos));
            at(newer) >= at(older)
        }));
        pages.push(page.operations.into_iter().map(|operation| operation.name).collect());
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
    let oldest = pages.concat().pop().expect("five");
    outcome(client.ended(&oldest).await).expect("the install");

    let name = || oldest.clone();
    client.operations().delete_operation(DeleteOperationRequest { name: name() }).await.expect("forgotten");
    let gone = client.operations().get_operation(GetOperationRequest { name: name() }).await.expect_err("gone");
    assert_eq!(Fault::from(gone).reason, "OPERATION_NOT_FOUND");
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn a_list_with_impossible_arguments_is_told_of_all_of_them() {
    let daemon = Daemon::start();
    let client = Client::connect(&daemon).await;
    let request = ListOperationsRequest {
        name: "elsewhere".to_owned(),
        filter: "colour=red".to_owned(),
        page_size: -1,
        page_token: "7".to_owned(),
    };
    let fault = Fault::from(client.operations().list_operations(request).await.expect_err("impossible"));
    assert_eq!((fault.code, fault.reason.as_str()), (Code::InvalidArgument, "REQUEST_MALFORMED"));
    let mut fields: Vec<_> = fault.metadata.into_keys().collect();
    fields.sort();
    assert_eq!(fields, ["filter", "name", "page_size", "page_token"]);
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn a_method_that_there_is_not_is_unimplemented() {
    let daemon = Daemon::start();
    let mut grpc = tonic::client::Grpc::new(Client::connect(&daemon).await.channel);
    grpc.ready().await.expect("connected");
    let path = PathAndQuery::from_static("/bms.agent.v1.DiskService/FormatDisk");
    let codec = tonic_prost::ProstCodec::<ListDisksRequest, ListDisksResponse>::default();
    let answer = grpc.unary(tonic::Request::new(ListDisksRequest {}), path, codec).await;
    assert_eq!(answer.expect_err("no such method").code(), Code::Unimplemented);
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn a_message_that_is_too_long_is_refused() {
    let daemon = Daemon::start();
    let client = Client::connect(&daemon).await;
    let request = ListOperationsRequest { filter: "x".repeat(1 << 20), ..ListOperationsRequest::default() };
    let status = client.operations().list_operations(request).await.expect_err("too long");
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
    client.operations().list_operations(ListOperationsRequest::default()).await.expect("the agent still answers");
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn the_socket_is_for_its_owner_alone_and_the_peer_is_checked_besides() {
    let daemon = Daemon::start();
    let socket = daemon.socket();
    assert_eq!(socket.metadata().expect("socket").mode() & 0o7777, 0o600);
    let open = |mode| std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(socket.parent().expect("directory"), open(0o755)).expect("mode");
    let refused = as_nobody(&daemon, &["host", "show"]);
    assert_eq!(refused.status.code(), Some(3), "the file's mode stops them");
    // Were somebody to open the file, the kernel's word on who is calling would stop them still.
    std::fs::set_permissions(&socket, open(0o666)).expect("mode");
    let refused = as_nobody(&daemon, &["host", "show"]);
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("PEER_NOT_ALLOWED") && said.contains("65534"), "{said}");
    daemon.ctl(&["host", "show"]).done();
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn a_user_with_a_role_may_do_what_the_role_may_and_no_more() {
    let daemon = Daemon::start_with("[unix_roles]\nnobody = \"observer\"");
    assert_eq!(daemon.socket().metadata().expect("socket").mode() & 0o7777, 0o666);
    std::fs::set_permissions(daemon.socket().parent().expect("directory"), std::fs::Permissions::from_mode(0o755))
        .expect("mode");
    let shown = as_nobody(&daemon, &["host", "show"]);
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    let refused = as_nobody(&daemon, &["operation", "cancel", "operations/none"]);
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("ROLE_REQUIRED") && said.contains("operator"), "{said}");
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn more_calls_of_one_connection_than_there_may_be_are_refused_and_the_connection_lives() {
    let daemon = Daemon::start_with("allow_loop_devices = true");
    let (client, other) = (Client::connect(&daemon).await, Client::connect(&daemon).await);
    let (image, disk) = (Image::new(8 * MIB, &mut Seed::quiet(21)), LoopDisk::new(16 * MIB));
    // An operation that stands still: who waits for it waits up to 30 s.
    let push = other.push(begin(&image, &disk)).await.expect("accepted");
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let (mut operations, name) = (client.operations(), push.operation.clone());
        calls.spawn(async move { operations.wait_operation(WaitOperationRequest { name, timeout: None }).await });
    }
    for _ in 0..8 {
        let status = calls.join_next().await.expect("a call").expect("no panic").expect_err("too many");
        let fault = Fault::from(status);
        assert_eq!((fault.code, fault.reason.as_str()), (Code::ResourceExhausted, "CALL_LIMIT"));
    }
    other.cancel(&push.operation).await;
    while let Some(ended) = calls.join_next().await {
        assert!(ended.expect("no panic").expect("an answer").into_inner().done);
    }
    client.hosts().get_host(GetHostRequest::default()).await.expect("the same connection");
}

/// A first message may be long, and no budget counts it.
#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn pushes_that_do_not_say_what_they_want_are_few() {
    let daemon = Daemon::start_with("allow_loop_devices = true");
    let mut silent = Vec::new();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let client = Client::connect(&daemon).await;
        for _ in 0..4 {
            let (sender, receiver) = tokio::sync::mpsc::channel::<PushImageRequest>(1);
            silent.push(sender);
            let mut provisioning = client.provisioning();
            calls.spawn(async move { provisioning.push_image(ReceiverStream::new(receiver)).await.map(drop) });
        }
    }
    for _ in 0..4 {
        let status = calls.join_next().await.expect("a call").expect("no panic").expect_err("too many");
        let fault = Fault::from(status);
        assert_eq!((fault.code, fault.reason.as_str()), (Code::ResourceExhausted, "CALL_LIMIT"));
    }
    drop(silent);
    while let Some(ended) = calls.join_next().await {
        assert_eq!(ended.expect("no panic").expect_err("no begin").code(), Code::InvalidArgument);
    }
    let (image, disk) = (Image::new(8 * MIB, &mut Seed::quiet(22)), LoopDisk::new(16 * MIB));
    daemon.install(&image.path(), &disk, &[]).done();
}

/// Runs `bmsctl` as a user who is neither root nor the agent's.
fn as_nobody(daemon: &Daemon, arguments: &[&str]) -> std::process::Output {
    // A copy where everybody may run it: the build's own directory may be closed to others.
    let program = daemon.socket().with_file_name("bmsctl");
    if !program.exists() {
        // By a process of its own: what another test starts meanwhile would inherit a descriptor of this one, and a program
        // that anybody has open for writing does not start.
        let copy = program.to_str().expect("UTF-8");
        run("install", &["-m", "755", env!("CARGO_BIN_EXE_bmsctl"), copy]);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program).arg("--socket");
    command.arg(daemon.socket()).args(arguments).output().expect("setpriv")
}
