//! Both ends of the wire: the server on a thread of its own, a client like `bmsctl`, and a server that only listens.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use bms_agent::agent::Agent;
use bms_agent::rpc::listen::{self, Listeners};
use bms_agent::rpc::peer::UnixRoles;
use bms_agent::rpc::proto::longrunning::Operation;
use bms_agent::rpc::proto::longrunning::operation::Result as Ended;
use bms_agent::rpc::proto::v1::provisioning_service_client::ProvisioningServiceClient;
use bms_agent::rpc::proto::v1::provisioning_service_server::{ProvisioningService, ProvisioningServiceServer};
use bms_agent::rpc::proto::v1::push_image_request::Message;
use bms_agent::rpc::proto::v1::push_image_response::Message as Answer;
use bms_agent::rpc::proto::v1::{
    CaptureImageRequest, CheckCompatibilityRequest, CheckCompatibilityResponse, InspectImageRequest,
    InspectImageResponse, InstallImageRequest, PlanInstallRequest, PlanInstallResponse, PushBegin, PushImageRequest,
    PushImageResponse, StreamCaptureRequest, StreamCaptureResponse,
};
use bms_agent::rpc::server;
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

use crate::Failure;
use crate::image::{Image, request};

/// Windows and frames of `bmsctl`: src/bin/bmsctl/connect.rs.
const WINDOW_BYTES: u32 = 16 << 20;
const FRAME_BYTES: u32 = 1 << 20;
/// The same of the agent: src/rpc/server.rs.
const AGENT_WINDOW_BYTES: u32 = 8 << 20;
/// Messages between the client and its transport.
const REQUESTS: usize = 4;

/// How a connection is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tuning {
    /// As the agent and `bmsctl` do.
    Ours,
    /// As tonic does by itself.
    Defaults,
}

/// A runtime like the daemon's and the client's: one thread.
pub(crate) fn runtime() -> Result<Runtime, Failure> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// A server on a thread of its own. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Serving {
    socket: PathBuf,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    /// The agent's server.
    pub(crate) fn agent(socket: &Path, agent: Arc<Agent>) -> Result<Self, Failure> {
        let (runtime, stop) = (runtime()?, CancellationToken::new());
        let listener = runtime.block_on(listen::listen_unix(socket, UnixRoles::resolve(&BTreeMap::new())?))?;
        let listeners = Listeners { unix: listener, tcp: None };
        Self::start(socket, runtime, stop.clone(), server::serve(agent, listeners, stop))
    }

    /// Drives `server`, which ends when `stop` is set, on `runtime`.
    fn start<R: 'static>(
        socket: &Path,
        runtime: Runtime,
        stop: CancellationToken,
        server: impl Future<Output = R> + Send + 'static,
    ) -> Result<Self, Failure> {
        // An early end is seen by the client, whose calls then fail.
        let thread = std::thread::Builder::new().name("server".to_owned());
        let thread = thread.spawn(move || drop(runtime.block_on(server)))?;
        Ok(Self { socket: socket.to_owned(), stop, thread: Some(thread) })
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// A server that drops all that is pushed to it.
    pub(crate) fn null_sink(socket: &Path, tuning: Tuning) -> Result<Self, Failure> {
        let (runtime, stop) = (runtime()?, CancellationToken::new());
        let listener = runtime.block_on(async { UnixListener::bind(socket) })?;
        let mut server = match tuning {
            Tuning::Ours => Server::builder()
                .max_frame_size(FRAME_BYTES)
                .initial_stream_window_size(AGENT_WINDOW_BYTES)
                .initial_connection_window_size(AGENT_WINDOW_BYTES),
            Tuning::Defaults => Server::builder(),
        };
        let router = server.add_service(ProvisioningServiceServer::new(NullSink));
        let incoming = UnixListenerStream::new(listener);
        let serving = router.serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
        Self::start(socket, runtime, stop, serving)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop.cancel();
        // A server that panicked has said so, and its clients have failed.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

struct NullSink;

#[tonic::async_trait]
impl ProvisioningService for NullSink {
    type PushImageStream = tokio_stream::Empty<Result<PushImageResponse, Status>>;

    async fn plan_install(&self, _: Request<PlanInstallRequest>) -> Result<Response<PlanInstallResponse>, Status> {
        Ok(Response::new(PlanInstallResponse::default()))
    }

    type StreamCaptureStream = tokio_stream::Empty<Result<StreamCaptureResponse, Status>>;

    async fn install_image(&self, _: Request<InstallImageRequest>) -> Result<Response<Operation>, Status> {
        Ok(Response::new(Operation::default()))
    }

    async fn capture_image(&self, _: Request<CaptureImageRequest>) -> Result<Response<Operation>, Status> {
        Ok(Response::new(Operation::default()))
    }

    async fn stream_capture(
        &self,
        _: Request<StreamCaptureRequest>,
    ) -> Result<Response<Self::StreamCaptureStream>, Status> {
        Ok(Response::new(tokio_stream::empty()))
    }

    async fn check_compatibility(
        &self,
        _: Request<CheckCompatibilityRequest>,
    ) -> Result<Response<CheckCompatibilityResponse>, Status> {
        Ok(Response::new(CheckCompatibilityResponse::default()))
    }

    async fn inspect_image(&self, _: Request<InspectImageRequest>) -> Result<Response<InspectImageResponse>, Status> {
        Ok(Response::new(InspectImageResponse::default()))
    }

    async fn push_image(
        &self,
        request: Request<Streaming<PushImageRequest>>,
    ) -> Result<Response<Self::PushImageStream>, Status> {
        let mut messages = request.into_inner();
        while messages.message().await?.is_some() {}
        Ok(Response::new(tokio_stream::empty()))
    }
}

/// A connection to a server.
pub(crate) async fn connect(socket: &Path, tuning: Tuning) -> Result<Channel, Failure> {
    let endpoint = Endpoint::from_static("http://bms-agent");
    let endpoint = match tuning {
        Tuning::Ours => endpoint
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES),
        Tuning::Defaults => endpoint,
    };
    let socket = socket.to_owned();
    Ok(endpoint.connect_with_connector(tower::service_fn(move |_| open(socket.clone()))).await?)
}

async fn open(socket: PathBuf) -> std::io::Result<TokioIo<UnixStream>> {
    UnixStream::connect(socket).await.map(TokioIo::new)
}

/// Sends all data of an image to a server that answers nothing.
pub(crate) async fn pour(channel: Channel, image: &Image) -> Result<(), Failure> {
    let (requests, receiver) = mpsc::channel(REQUESTS);
    let mut client = ProvisioningServiceClient::new(channel);
    let send = async move {
        for request in image.data_requests(0, image.layout.groups()) {
            requests.send(request).await?;
        }
        Ok::<_, Failure>(())
    };
    let answered = async { Ok::<_, Failure>(client.push_image(ReceiverStream::new(receiver)).await?) };
    tokio::try_join!(send, answered)?;
    Ok(())
}

/// Pushes an image to the agent, to the end of the operation.
pub(crate) async fn push(channel: Channel, begin: PushBegin, image: &Image) -> Result<(), Failure> {
    let (requests, receiver) = mpsc::channel(REQUESTS);
    requests.send(request(Message::Begin(begin))).await?;
    let mut client = ProvisioningServiceClient::new(channel);
    let mut answers = client.push_image(ReceiverStream::new(receiver)).await?.into_inner();
    // The agent answers an offer at once and keeps its answers apart from the data: all offers may go first.
    for request in image.offer_requests() {
        requests.send(request).await?;
    }
    let mut waiting = image.layout.groups();
    let mut requests = Some(requests);
    while let Some(answer) = answers.message().await? {
        match (answer.message, &requests) {
            (Some(Answer::Want(want)), Some(open)) => {
                for request in image.data_requests(want.first_group, want.group_count) {
                    open.send(request).await?;
                }
                waiting -= want.group_count;
                if waiting == 0 {
                    open.send(image.finish_request()).await?;
                    requests = None;
                }
            }
            (Some(Answer::Finished(operation)), _) => {
                return match operation.result {
                    Some(Ended::Response(_)) => Ok(()),
                    Some(Ended::Error(status)) => Err(status.message.into()),
                    None => Err("the agent named no result".into()),
                };
            }
            (Some(Answer::Accepted(_) | Answer::Want(_)) | None, _) => {}
        }
    }
    Err("the agent ended the stream".into())
}
