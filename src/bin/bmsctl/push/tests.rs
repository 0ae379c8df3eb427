//! A push against an agent of a few lines, over a real socket: what arrives, and how it ends when the agent ends it.

use std::collections::{BTreeMap, HashMap};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use bms_agent::image::group::{GroupSize, Layout};
use bms_agent::image::source::{OpenOptions, open};
use bms_agent::reason::Reason;
use bms_agent::rpc::proto::longrunning::operations_server::{Operations, OperationsServer};
use bms_agent::rpc::proto::longrunning::{
    CancelOperationRequest, DeleteOperationRequest, GetOperationRequest, ListOperationsRequest, ListOperationsResponse,
    Operation, WaitOperationRequest, operation,
};
use bms_agent::rpc::proto::v1::provisioning_service_server::{ProvisioningService, ProvisioningServiceServer};
use bms_agent::rpc::proto::v1::push_image_request::Message;
use bms_agent::rpc::proto::v1::push_image_response::Message as Answer;
use bms_agent::rpc::proto::v1::{
    CaptureImageRequest, CheckCompatibilityRequest, CheckCompatibilityResponse, Encoding, GroupData, GroupOffer,
    GroupWant, InspectImageRequest, InspectImageResponse, InstallImageRequest, PlanInstallRequest, PlanInstallResponse,
    PushAccepted, PushBegin, PushImageRequest, PushImageResponse, StreamCaptureRequest, StreamCaptureResponse,
};
use prost::Message as _;
use prost_types::Any;
use tempfile::{NamedTempFile, TempDir};
use tokio::net::UnixListener;
use tokio::sync::{Notify, mpsc};
use tokio_stream::Stream;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{Compression, Push, drive};
use crate::cli::Address;
use crate::cli::OutputFormat;
use crate::connect::Agent;
use crate::error::CtlError;
use crate::exit::Exit;
use crate::output::Output;

const GROUP: usize = 64 << 10;
const OPERATION: &str = "operations/1";

/// What the agent of a test does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Script {
    /// Wants every data group whose number is no multiple of the number.
    Skip(u64),
    /// Refuses the push at once.
    Refuse,
    /// Accepts it, and ends with an error at the first data.
    Fail,
    /// Accepts it, and breaks the call with an error at the first data.
    Break,
    /// Accepts it, and ends the stream at the first data without a word.
    Vanish,
    /// Accepts it, wants nothing and waits to be cancelled.
    AwaitCancel,
}

/// What the agent saw.
#[derive(Debug, Default)]
struct Seen {
    offers: BTreeMap<u64, Vec<u8>>,
    groups: BTreeMap<u64, Vec<u8>>,
    encodings: HashMap<i32, u64>,
    offers_digest: Vec<u8>,
    half_closed: bool,
}

#[derive(Debug, Clone)]
struct Fake {
    script: Script,
    layout: Layout,
    seen: Arc<Mutex<Seen>>,
    begun: Arc<Notify>,
    cancelled: Arc<Notify>,
}

type Answers = mpsc::Sender<Result<PushImageResponse, Status>>;

fn status(reason: Reason, code: Code) -> Status {
    let details = ErrorDetails::with_error_info(reason.name(), "bms-agent", HashMap::new());
    Status::with_error_details(code, reason.hint(), details)
}

fn finished(result: operation::Result) -> Answer {
    let metadata = Some(Any { type_url: "/bms.agent.v1.OperationMetadata".to_owned(), value: Vec::new() });
    Answer::Finished(Operation { name: OPERATION.to_owned(), metadata, done: true, result: Some(result) })
}

fn failed(reason: Reason, code: Code) -> Answer {
    let status = tonic_types::Status::decode(status(reason, code).details()).expect("a google.rpc.Status");
    finished(operation::Result::Error(status))
}

impl Fake {
    async fn session(self, mut requests: Streaming<PushImageRequest>, answers: Answers) {
        while let Ok(Some(request)) = requests.message().await {
            match request.message.expect("a message") {
                Message::Begin(_) => {
                    let accepted = PushAccepted { operation: OPERATION.to_owned(), plan: None };
                    say(&answers, Answer::Accepted(accepted)).await;
                    if self.script == Script::AwaitCancel {
                        self.begun.notify_one();
                        self.cancelled.notified().await;
                        say(&answers, failed(Reason::OperationCancelled, Code::Cancelled)).await;
                        return;
                    }
                }
                Message::Offer(offer) => {
                    for want in self.offered(&offer) {
                        say(&answers, Answer::Want(want)).await;
                    }
                }
                Message::Data(data) => match self.script {
                    Script::Fail => return say(&answers, failed(Reason::GroupDigestMismatch, Code::DataLoss)).await,
                    Script::Break => {
                        answers.send(Err(status(Reason::DiskIo, Code::Internal))).await.ok();
                        return;
                    }
                    Script::Vanish => return,
                    Script::Skip(_) | Script::Refuse | Script::AwaitCancel => self.received(&data),
                },
                Message::Finish(finish) => {
                    self.seen.lock().expect("no panic").offers_digest = finish.offers_digest;
                    let end = requests.message().await.expect("a well-formed end");
                    self.seen.lock().expect("no panic").half_closed = end.is_none();
                    say(&answers, finished(operation::Result::Response(Any::default()))).await;
                    return;
                }
            }
        }
    }

    /// Notes an offer, and answers its second half before its first.
    fn offered(&self, offer: &GroupOffer) -> Vec<GroupWant> {
        let end = offer.first_group + offer.group_count;
        let mut seen = self.seen.lock().expect("no panic");
        let mut values = offer.chaining_values.chunks(32);
        for group in offer.first_group..end {
            let value = values.next().map(<[u8]>::to_vec).unwrap_or_default();
            assert!(seen.offers.insert(group, value).is_none(), "group {group} was offered twice");
        }
        if offer.chaining_values.is_empty() {
            return Vec::new();
        }
        let middle = offer.first_group + offer.group_count / 2;
        let halves = [middle..end, offer.first_group..middle];
        halves.into_iter().filter(|half| !half.is_empty()).map(|half| self.want(half.start, half.end)).collect()
    }

    fn want(&self, first_group: u64, end: u64) -> GroupWant {
        let mut bitmap = Vec::new();
        if let Script::Skip(skipped) = self.script {
            let groups: Vec<u64> = (first_group..end).collect();
            let byte = |groups: &[u64]| {
                groups.iter().rev().fold(0, |byte, group| byte << 1 | u8::from(!group.is_multiple_of(skipped)))
            };
            bitmap = groups.chunks(8).map(byte).collect();
        }
        GroupWant { first_group, group_count: end - first_group, bitmap }
    }

    fn received(&self, data: &GroupData) {
        let range = self.layout.byte_range(data.first_group, data.group_count.into());
        let len = usize::try_from(range.end - range.start).expect("small");
        assert!(len <= 1 << 20, "a message of {len} bytes");
        let content = match data.encoding() {
            Encoding::Zstd => zstd::bulk::decompress(&data.payload, len).expect("one frame"),
            Encoding::Raw => data.payload.to_vec(),
            Encoding::Unspecified => panic!("no encoding"),
        };
        assert_eq!(content.len(), len);
        let mut seen = self.seen.lock().expect("no panic");
        *seen.encodings.entry(data.encoding).or_default() += 1;
        for (group, bytes) in (data.first_group..).zip(content.chunks(GROUP)) {
            assert!(seen.groups.insert(group, bytes.to_vec()).is_none(), "group {group} came twice");
        }
    }
}

async fn say(answers: &Answers, message: Answer) {
    answers.send(Ok(PushImageResponse { message: Some(message) })).await.expect("the client listens");
}

#[tonic::async_trait]
impl ProvisioningService for Fake {
    async fn plan_install(&self, _: Request<PlanInstallRequest>) -> Result<Response<PlanInstallResponse>, Status> {
        Ok(Response::new(PlanInstallResponse::default()))
    }

    async fn install_image(&self, _: Request<InstallImageRequest>) -> Result<Response<Operation>, Status> {
        Err(status(Reason::Internal, Code::Internal))
    }

    async fn check_compatibility(
        &self,
        _: Request<CheckCompatibilityRequest>,
    ) -> Result<Response<CheckCompatibilityResponse>, Status> {
        Err(status(Reason::Internal, Code::Internal))
    }

    async fn inspect_image(&self, _: Request<InspectImageRequest>) -> Result<Response<InspectImageResponse>, Status> {
        Err(status(Reason::Internal, Code::Internal))
    }

    async fn capture_image(&self, _: Request<CaptureImageRequest>) -> Result<Response<Operation>, Status> {
        Err(status(Reason::Internal, Code::Internal))
    }

    type StreamCaptureStream = Pin<Box<dyn Stream<Item = Result<StreamCaptureResponse, Status>> + Send>>;

    async fn stream_capture(
        &self,
        _: Request<StreamCaptureRequest>,
    ) -> Result<Response<Self::StreamCaptureStream>, Status> {
        Err(status(Reason::Internal, Code::Internal))
    }

    type PushImageStream = Pin<Box<dyn Stream<Item = Result<PushImageResponse, Status>> + Send>>;

    async fn push_image(
        &self,
        request: Request<Streaming<PushImageRequest>>,
    ) -> Result<Response<Self::PushImageStream>, Status> {
        if self.script == Script::Refuse {
            return Err(status(Reason::DiskMounted, Code::FailedPrecondition));
        }
        let (answers, receiver) = mpsc::channel(1);
        tokio::spawn(self.clone().session(request.into_inner(), answers));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

#[tonic::async_trait]
impl Operations for Fake {
    async fn cancel_operation(&self, request: Request<CancelOperationRequest>) -> Result<Response<()>, Status> {
        assert_eq!(request.into_inner().name, OPERATION);
        self.cancelled.notify_one();
        Ok(Response::new(()))
    }

    async fn list_operations(
        &self,
        _: Request<ListOperationsRequest>,
    ) -> Result<Response<ListOperationsResponse>, Status> {
        Err(status(Reason::Internal, Code::Internal))
    }

    async fn get_operation(&self, _: Request<GetOperationRequest>) -> Result<Response<Operation>, Status> {
        Err(status(Reason::Internal, Code::Internal))
    }

    async fn delete_operation(&self, _: Request<DeleteOperationRequest>) -> Result<Response<()>, Status> {
        Err(status(Reason::Internal, Code::Internal))
    }

    async fn wait_operation(&self, _: Request<WaitOperationRequest>) -> Result<Response<Operation>, Status> {
        Err(status(Reason::Internal, Code::Internal))
    }
}

/// An image file, an agent that follows a script, and the connection between.
struct Bench {
    _dir: TempDir,
    _server: AbortOnDropHandle<()>,
    file: NamedTempFile,
    layout: Layout,
    fake: Fake,
    agent: Agent,
}

impl Bench {
    /// Twenty runs and a bit: noise, a hole of two runs and a bit, text, and a short last group.
    async fn new(script: Script) -> Self {
        let mut file = NamedTempFile::new().expect("temporary file");
        let mut noise = vec![0; 200 * GROUP];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        file.write_all(&noise).expect("written");
        file.seek(SeekFrom::Start(340 * GROUP as u64)).expect("sought");
        file.write_all(&b"text ".repeat(200_000)).expect("written");
        let dir = tempfile::tempdir().expect("temporary directory");
        let socket = dir.path().join("agent.sock");
        let listener = UnixListener::bind(&socket).expect("bind");
        let layout =
            Layout::new(file.as_file().metadata().expect("metadata").len(), GroupSize::new(64 << 10).expect("valid"));
        let fake = Fake { script, layout, seen: Arc::default(), begun: Arc::default(), cancelled: Arc::default() };
        let served = tonic::transport::Server::builder()
            .add_service(ProvisioningServiceServer::new(fake.clone()).max_decoding_message_size(32 << 20))
            .add_service(OperationsServer::new(fake.clone()))
            .serve_with_incoming(UnixListenerStream::new(listener));
        let server = AbortOnDropHandle::new(tokio::spawn(async move { served.await.expect("served") }));
        let agent = Agent::connect(&Address::Socket(socket)).await.expect("it listens");
        Self { _dir: dir, _server: server, file, layout, fake, agent }
    }

    async fn push(&self, compression: Compression, interrupt: impl AsyncFnMut()) -> Result<Operation, CtlError> {
        let source = open(self.file.path(), &OpenOptions::default()).expect("raw");
        let push = Push { source, layout: self.layout, compression, begin: PushBegin::default() };
        drive(&self.agent, push, &Output::new(OutputFormat::Json), interrupt).await
    }

    fn content(&self) -> Vec<u8> {
        std::fs::read(self.file.path()).expect("readable")
    }
}

/// Nobody interrupts.
async fn never() {
    std::future::pending::<()>().await;
}

/// Pushes all but every `skipped`th group, and checks every byte of what the agent saw.
async fn push_arrives(skipped: u64, compression: Compression) -> Seen {
    let bench = Bench::new(Script::Skip(skipped)).await;
    let operation = bench.push(compression, never).await.expect("finished");
    assert!(operation.done);
    let content = bench.content();
    let seen = std::mem::take(&mut *bench.fake.seen.lock().expect("no panic"));
    let mut digest_input = Vec::new();
    for (group, bytes) in (0..).zip(content.chunks(GROUP)) {
        if bytes.iter().all(|&byte| byte == 0) {
            assert!(seen.offers[&group].is_empty(), "group {group} is a hole");
            assert!(!seen.groups.contains_key(&group), "a hole is never sent");
            digest_input.extend_from_slice(&[0; 33]);
            continue;
        }
        let value = bench.layout.chaining_value(group, bytes).0;
        assert_eq!(seen.offers[&group], value, "group {group}");
        let expected = (!group.is_multiple_of(skipped)).then_some(bytes);
        assert_eq!(seen.groups.get(&group).map(Vec::as_slice), expected, "group {group}");
        digest_input.push(1);
        digest_input.extend_from_slice(&value);
    }
    assert_eq!(u64::try_from(seen.offers.len()), Ok(bench.layout.groups()));
    assert_eq!(seen.offers_digest, blake3::hash(&digest_input).as_bytes());
    assert!(seen.half_closed, "nothing follows the finish");
    seen
}

#[tokio::test]
async fn exactly_the_wanted_groups_arrive() {
    let seen = push_arrives(3, Compression::None).await;
    assert_eq!(seen.encodings.keys().collect::<Vec<_>>(), [&i32::from(Encoding::Raw)]);
}

#[tokio::test]
async fn a_compressed_push_sends_noise_as_it_is() {
    let seen = push_arrives(7, Compression::Zstd).await;
    assert!(seen.encodings[&Encoding::Raw.into()] > 0 && seen.encodings[&Encoding::Zstd.into()] > 0);
}

#[tokio::test]
async fn nothing_is_sent_that_the_disk_holds_already() {
    let seen = push_arrives(1, Compression::None).await;
    assert!(seen.groups.is_empty());
}

#[tokio::test]
async fn a_refused_push_reads_as_a_refusal() {
    let error = Bench::new(Script::Refuse).await.push(Compression::None, never).await.expect_err("refused");
    assert_eq!(error.exit(), Exit::Refused);
    assert_eq!(error.failure().expect("from the agent").reason, Reason::DiskMounted.name());
}

#[tokio::test]
async fn an_error_of_the_operation_ends_the_push_at_once() {
    let operation = Bench::new(Script::Fail).await.push(Compression::None, never).await.expect("finished");
    let error = crate::watch::outcome(operation).expect_err("failed");
    assert_eq!((error.exit(), error.operation_name()), (Exit::Mismatch, Some(OPERATION)));
}

#[tokio::test]
async fn a_status_after_the_agent_began_is_the_operations_error() {
    let error = Bench::new(Script::Break).await.push(Compression::None, never).await.expect_err("broken");
    assert_eq!((error.exit(), error.operation_name()), (Exit::Failed, Some(OPERATION)));
}

#[tokio::test]
async fn a_stream_that_ends_without_a_result_is_an_error() {
    let error = Bench::new(Script::Vanish).await.push(Compression::None, never).await.expect_err("vanished");
    assert!(matches!(error, CtlError::Answer { .. }), "{error}");
}

#[tokio::test]
async fn an_interrupt_cancels_the_operation_and_waits_for_its_end() {
    let bench = Bench::new(Script::AwaitCancel).await;
    let begun = Arc::clone(&bench.fake.begun);
    let ended = bench.push(Compression::None, async || begun.notified().await).await;
    let error = ended.and_then(crate::watch::outcome).expect_err("cancelled");
    assert_eq!((error.exit(), error.operation_name()), (Exit::Cancelled, Some(OPERATION)), "{error}");
}
