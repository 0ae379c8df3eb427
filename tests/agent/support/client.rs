//! A gRPC client that says whatever a test wants: also what `bmsctl` never would.

use std::collections::HashMap;
use std::path::PathBuf;

use bms_agent::rpc::proto::longrunning::operations_client::OperationsClient;
use bms_agent::rpc::proto::longrunning::{
    CancelOperationRequest, DeleteOperationRequest, GetOperationRequest, ListOperationsRequest, Operation,
    WaitOperationRequest, operation,
};
use bms_agent::rpc::proto::v1::disk_service_client::DiskServiceClient;
use bms_agent::rpc::proto::v1::host_service_client::HostServiceClient;
use bms_agent::rpc::proto::v1::operation_service_client::OperationServiceClient;
use bms_agent::rpc::proto::v1::provisioning_service_client::ProvisioningServiceClient;
use bms_agent::rpc::proto::v1::push_image_request::Message;
use bms_agent::rpc::proto::v1::push_image_response::Message as Answer;
use bms_agent::rpc::proto::v1::{
    self, Encoding, GroupData, InstallOptions, InstallResult, ListDisksRequest, PushBegin, PushImageRequest,
    PushImageResponse,
};
use hyper_util::rt::TokioIo;
use prost::Message as _;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};
use tonic_types::{RpcStatusExt as _, StatusExt as _};
use uuid::Uuid;

use super::{Daemon, Image, LoopDisk};

/// Messages that may wait for the connection.
const WAITING: usize = 16;

/// A connection to the daemon.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) channel: Channel,
}

/// Why a call or an operation failed.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) code: Code,
    pub(crate) reason: String,
    pub(crate) metadata: HashMap<String, String>,
}

impl From<Status> for Fault {
    fn from(status: Status) -> Self {
        let info = status.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
        Self { code: status.code(), reason: info.reason, metadata: info.metadata }
    }
}

impl From<tonic_types::Status> for Fault {
    fn from(status: tonic_types::Status) -> Self {
        let info = status.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
        Self { code: Code::from_i32(status.code), reason: info.reason, metadata: info.metadata }
    }
}

impl Client {
    pub(crate) async fn connect(daemon: &Daemon) -> Self {
        Self::connect_by(daemon, Endpoint::from_static("http://agent")).await
    }

    /// A client that lets the agent send no more than 64 KiB that it has not read.
    pub(crate) async fn connect_with_little_room(daemon: &Daemon) -> Self {
        let endpoint = Endpoint::from_static("http://agent").initial_stream_window_size(65_535);
        Self::connect_by(daemon, endpoint).await
    }

    async fn connect_by(daemon: &Daemon, endpoint: Endpoint) -> Self {
        let socket = daemon.socket();
        let open = move |_| open(socket.clone());
        let channel = endpoint.connect_with_connector(tower::service_fn(open)).await;
        Self { channel: channel.expect("connection") }
    }

    pub(crate) fn hosts(&self) -> HostServiceClient<Channel> {
        HostServiceClient::new(self.channel.clone())
    }

    pub(crate) fn disks(&self) -> DiskServiceClient<Channel> {
        DiskServiceClient::new(self.channel.clone())
    }

    pub(crate) fn provisioning(&self) -> ProvisioningServiceClient<Channel> {
        ProvisioningServiceClient::new(self.channel.clone())
    }

    pub(crate) fn operations(&self) -> OperationsClient<Channel> {
        OperationsClient::new(self.channel.clone())
    }

    pub(crate) fn watches(&self) -> OperationServiceClient<Channel> {
        OperationServiceClient::new(self.channel.clone())
    }

    /// What the agent says of a disk.
    pub(crate) async fn disk(&self, disk: &LoopDisk) -> v1::Disk {
        let disks = self.disks().list_disks(ListDisksRequest {}).await.expect("list").into_inner().disks;
        disks.into_iter().find(|listed| listed.name == disk.name).expect("the disk is listed")
    }

    pub(crate) async fn cancel(&self, operation: &str) {
        let request = CancelOperationRequest { name: operation.to_owned() };
        self.operations().cancel_operation(request).await.expect("cancel");
    }

    /// The same, by a caller who perhaps may not.
    pub(crate) async fn try_cancel(&self, operation: &str) -> Result<(), Fault> {
        let request = CancelOperationRequest { name: operation.to_owned() };
        Ok(self.operations().cancel_operation(request).await.map(drop)?)
    }

    /// Forgets an operation.
    pub(crate) async fn delete(&self, operation: &str) -> Result<(), Fault> {
        let request = DeleteOperationRequest { name: operation.to_owned() };
        Ok(self.operations().delete_operation(request).await.map(drop)?)
    }

    /// An operation, as it is now.
    pub(crate) async fn operation(&self, operation: &str) -> Result<Operation, Fault> {
        let request = GetOperationRequest { name: operation.to_owned() };
        Ok(self.operations().get_operation(request).await?.into_inner())
    }

    /// Names of all operations.
    pub(crate) async fn operation_names(&self) -> Vec<String> {
        let list =
            self.operations().list_operations(ListOperationsRequest::default()).await.expect("list").into_inner();
        list.operations.into_iter().map(|operation| operation.name).collect()
    }

    /// Bytes that an operation has fetched.
    pub(crate) async fn received_bytes(&self, operation: &str) -> u64 {
        let request = GetOperationRequest { name: operation.to_owned() };
        let operation = self.operations().get_operation(request).await.expect("operation").into_inner();
        metadata(&operation).progress.expect("progress").received_bytes
    }

    /// Waits until an operation is done.
    pub(crate) async fn ended(&self, operation: &str) -> Operation {
        loop {
            let request = WaitOperationRequest { name: operation.to_owned(), timeout: None };
            let operation = self.operations().wait_operation(request).await.expect("wait").into_inner();
            if operation.done {
                return operation;
            }
        }
    }

    /// Begins a push.
    pub(crate) async fn push(&self, begin: PushBegin) -> Result<Push, Fault> {
        let (requests, receiver) = mpsc::channel(WAITING);
        requests.send(PushImageRequest { message: Some(Message::Begin(begin)) }).await.expect("room");
        let mut answers = self.provisioning().push_image(ReceiverStream::new(receiver)).await?.into_inner();
        let Some(Answer::Accepted(accepted)) = next(&mut answers).await? else { panic!("accepted comes first") };
        Ok(Push { requests: Some(requests), answers, operation: accepted.operation })
    }
}

async fn open(socket: PathBuf) -> std::io::Result<TokioIo<UnixStream>> {
    UnixStream::connect(socket).await.map(TokioIo::new)
}

async fn next(answers: &mut Streaming<PushImageResponse>) -> Result<Option<Answer>, Status> {
    Ok(answers.message().await?.map(|answer| answer.message.expect("an answer is of a known kind")))
}

/// A request to install `image` onto `disk`.
pub(crate) fn begin(image: &Image, disk: &LoopDisk) -> PushBegin {
    PushBegin {
        request_id: Uuid::new_v4().to_string(),
        disk: Some(disk.wire_selector()),
        image: Some(image.spec()),
        options: Some(InstallOptions::default()),
        plan_token: Vec::new(),
    }
}

/// The data of one group.
pub(crate) fn data(image: &Image, group: u64) -> GroupData {
    GroupData {
        first_group: group,
        group_count: 1,
        encoding: Encoding::Raw.into(),
        payload: image.group(group).to_vec().into(),
    }
}

/// A push that has begun. Dropping it is what a client does that crashes.
#[derive(Debug)]
pub(crate) struct Push {
    requests: Option<mpsc::Sender<PushImageRequest>>,
    answers: Streaming<PushImageResponse>,
    pub(crate) operation: String,
}

impl Push {
    /// Sends a message; says whether it was taken.
    pub(crate) async fn send(&self, message: Message) -> bool {
        let requests = self.requests.as_ref().expect("until the end");
        requests.send(PushImageRequest { message: Some(message) }).await.is_ok()
    }

    pub(crate) async fn offer_all(&self, image: &Image) {
        for offer in image.offers() {
            self.send(Message::Offer(offer)).await;
        }
    }

    pub(crate) async fn send_groups(&self, image: &Image, groups: impl IntoIterator<Item = u64>) {
        for group in groups {
            self.send(Message::Data(data(image, group))).await;
        }
    }

    /// Reads answers until `count` groups were answered: by then the agent has taken the offers.
    pub(crate) async fn await_wants(&mut self, count: usize) -> Vec<u64> {
        let mut wanted = Vec::new();
        let mut answered = 0;
        while answered < count {
            match next(&mut self.answers).await.expect("an answer") {
                Some(Answer::Want(want)) => {
                    answered += usize::try_from(want.group_count).expect("fits");
                    let bit = |index: u64| {
                        let byte = want.bitmap.get(usize::try_from(index / 8).expect("fits"));
                        want.bitmap.is_empty() || byte.is_some_and(|byte| byte >> (index % 8) & 1 == 1)
                    };
                    wanted.extend(
                        (0..want.group_count).filter(|&index| bit(index)).map(|index| want.first_group + index),
                    );
                }
                other => panic!("{other:?} while wants were due"),
            }
        }
        wanted
    }

    /// Says that everything was sent, and nothing more will come.
    pub(crate) async fn finish(&mut self, image: &Image) {
        self.send(Message::Finish(image.finish())).await;
        self.requests = None;
    }

    /// Says nothing more.
    pub(crate) fn close(&mut self) {
        self.requests = None;
    }

    /// Reads answers to the last: how the operation ended.
    pub(crate) async fn end(mut self) -> Operation {
        loop {
            match next(&mut self.answers).await.expect("an answer") {
                Some(Answer::Finished(operation)) => return operation,
                Some(Answer::Want(_)) => {}
                other => panic!("{other:?} before the end"),
            }
        }
    }
}

/// What an install did, or why it failed.
pub(crate) fn outcome(operation: Operation) -> Result<InstallResult, Fault> {
    match operation.result.expect("it is done") {
        operation::Result::Error(status) => Err(status.into()),
        operation::Result::Response(any) => Ok(InstallResult::decode(any.value.as_slice()).expect("a result")),
    }
}

/// What an operation says of itself.
pub(crate) fn metadata(operation: &Operation) -> v1::OperationMetadata {
    let any = operation.metadata.as_ref().expect("metadata");
    v1::OperationMetadata::decode(any.value.as_slice()).expect("metadata")
}
