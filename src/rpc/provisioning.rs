//! `ProvisioningService`: the plan, and the begin of a push. `push` carries a push on.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::{Request, Response, Status, Streaming};
use tower::Service;

use super::method::Method;
use super::proto::v1::provisioning_service_server::{ProvisioningService, ProvisioningServiceServer};
use super::proto::{longrunning, v1};
use super::status::RequestError;
use super::{
    CallError, auth, beginning, blocking, capture, compatibility, convert, follow, inspect, push, refuse, view,
};
use crate::agent::{Agent, Candidate, Install};
use crate::operation;
use crate::provision::token;

/// How long a caller may take to say what it wants.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Most pushes that have not said yet what they want: a first message may be as long as a group, and no budget counts it.
static BEGINNING: Semaphore = Semaphore::const_new(8);

/// Plans and installs.
#[derive(Debug)]
pub(super) struct ProvisioningHandler(pub(super) Arc<Agent>);

/// The service as it is served. tonic has one limit for the messages of all methods, and only a push has long ones:
/// what many callers may make the agent keep at once would be sixty times as much with that limit for all.
#[derive(Debug, Clone)]
pub(super) struct BySize {
    pub(super) push: ProvisioningServiceServer<ProvisioningHandler>,
    pub(super) others: ProvisioningServiceServer<ProvisioningHandler>,
}

impl NamedService for BySize {
    const NAME: &'static str = ProvisioningServiceServer::<ProvisioningHandler>::NAME;
}

impl Service<http::Request<Body>> for BySize {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        match Method::of(request.uri().path()) {
            Some(Method::ProvisioningServicePushImage) => self.push.call(request),
            _ => self.others.call(request),
        }
    }
}

#[tonic::async_trait]
impl ProvisioningService for ProvisioningHandler {
    type PushImageStream = ReceiverStream<Result<v1::PushImageResponse, Status>>;
    type StreamCaptureStream = ReceiverStream<Result<v1::StreamCaptureResponse, Status>>;

    async fn plan_install(
        &self,
        request: Request<v1::PlanInstallRequest>,
    ) -> Result<Response<v1::PlanInstallResponse>, Status> {
        let (caller, role) = (auth::caller(&request), auth::role(&request));
        let v1::PlanInstallRequest { disk, image, options, source } = request.into_inner();
        auth::check_overrides(role, overridden(options.as_ref()))?;
        let agent = self.0.clone();
        let (planned, found) = if source.is_none() {
            let request = convert::install_request(disk, image, options, &caller).map_err(|error| refuse(&error))?;
            (blocking(move || agent.plan(&request)).await?, None)
        } else if image.is_some() {
            return Err(refuse(&RequestError::of("source", "must not be set beside image")));
        } else {
            let request = convert::pull_request(disk, source, options, &caller).map_err(|error| refuse(&error))?;
            let (planned, found) = blocking(move || agent.plan_pull(&request)).await?;
            (planned, Some(found))
        };
        let expires_at = self.0.clock.0.now() + token::LIFETIME;
        Ok(Response::new(v1::PlanInstallResponse {
            plan: Some(view::plan(&planned, found.as_ref())),
            token: self.0.tokens.issue(&planned.plan, &caller.identity()),
            expires_at: Some(expires_at.into()),
        }))
    }

    async fn install_image(
        &self,
        request: Request<v1::InstallImageRequest>,
    ) -> Result<Response<longrunning::Operation>, Status> {
        let (caller, role) = (auth::caller(&request), auth::role(&request));
        let mut request = request.into_inner();
        auth::check_overrides(role, overridden(request.options.as_ref()))?;
        // A token proves a plan; it is no part of what is asked for. Whoever tries again has planned again.
        let token = std::mem::take(&mut request.plan_token);
        let id = convert::request(Method::ProvisioningServiceInstallImage, &request.request_id, &request, &caller)
            .map_err(|error| refuse(&error))?;
        let request = convert::pull_request(request.disk, request.source, request.options, &caller)
            .map_err(|error| refuse(&error))?;
        let agent = self.0.clone();
        let call = id.call.clone();
        let operation = beginning(&call, move || agent.install_image(&id, &request, &token)).await?;
        follow(&operation);
        Ok(Response::new(view::operation(&operation, &operation.snapshot())))
    }

    async fn capture_image(
        &self,
        request: Request<v1::CaptureImageRequest>,
    ) -> Result<Response<longrunning::Operation>, Status> {
        let caller = auth::caller(&request);
        let request = request.into_inner();
        let id = convert::request(Method::ProvisioningServiceCaptureImage, &request.request_id, &request, &caller)
            .map_err(|error| refuse(&error))?;
        let (request, image) = convert::capture_image_request(request).map_err(|error| refuse(&error))?;
        let agent = self.0.clone();
        let call = id.call.clone();
        let operation = beginning(&call, move || agent.capture_image(&id, &request, &image)).await?;
        follow(&operation);
        Ok(Response::new(view::operation(&operation, &operation.snapshot())))
    }

    async fn stream_capture(
        &self,
        request: Request<v1::StreamCaptureRequest>,
    ) -> Result<Response<Self::StreamCaptureStream>, Status> {
        // A stream is read once, so that there is nothing to find again.
        let id = operation::Request::once(auth::caller(&request), Method::ProvisioningServiceStreamCapture.path());
        let (request, encoding) =
            convert::stream_capture_request(request.into_inner()).map_err(|error| refuse(&error))?;
        let agent = self.0.clone();
        let call = id.call.clone();
        let streamed = beginning(&call, move || agent.stream_capture(&id, &request, encoding)).await?;
        follow(&streamed.operation);
        Ok(Response::new(capture::carry(streamed, self.0.stream_stall)))
    }

    async fn inspect_image(
        &self,
        request: Request<v1::InspectImageRequest>,
    ) -> Result<Response<v1::InspectImageResponse>, Status> {
        let (subject, choice) = convert::inspect_image_request(request.into_inner()).map_err(|error| refuse(&error))?;
        let inspection = inspect::inspect(self.0.clone(), subject, choice).await?;
        Ok(Response::new(v1::InspectImageResponse { inspection: Some(inspection) }))
    }

    async fn check_compatibility(
        &self,
        request: Request<v1::CheckCompatibilityRequest>,
    ) -> Result<Response<v1::CheckCompatibilityResponse>, Status> {
        let (caller, role) = (auth::caller(&request), auth::role(&request));
        let request = request.into_inner();
        auth::check_overrides(role, &request.overrides)?;
        let request = compatibility::request(request, &caller).map_err(|error| refuse(&error))?;
        let agent = self.0.clone();
        let checked = match &request.candidate {
            Candidate::Image(_) => inspect::in_turn(move |cancel| agent.check_compatibility(&request, cancel)).await?,
            // Nothing is looked into, so that there is no turn to wait for.
            Candidate::Manifest(_) => {
                blocking(move || agent.check_compatibility(&request, &CancellationToken::new())).await?
            }
        };
        Ok(Response::new(compatibility::answer(checked)))
    }

    async fn push_image(
        &self,
        request: Request<Streaming<v1::PushImageRequest>>,
    ) -> Result<Response<Self::PushImageStream>, Status> {
        let (caller, role) = (auth::caller(&request), auth::role(&request));
        let mut messages = request.into_inner();
        let mut begin = begin_of(&mut messages).await?;
        auth::check_overrides(role, overridden(begin.options.as_ref()))?;
        // A token proves a plan; it is no part of what is asked for. Whoever tries again has planned again.
        let plan_token = std::mem::take(&mut begin.plan_token);
        let id = convert::request(Method::ProvisioningServicePushImage, &begin.request_id, &begin, &caller)
            .map_err(|error| refuse(&error))?;
        let request = convert::install_request(begin.disk, begin.image, begin.options, &caller)
            .map_err(|error| refuse(&error))?;
        let agent = self.0.clone();
        let call = id.call.clone();
        let install = beginning(&call, move || agent.install(&id, &request, &plan_token)).await?;
        let answers = match install {
            Install::Known(operation) => push::answer_known(operation),
            Install::Begun { operation, planned, intake } => {
                follow(&operation);
                let plan = view::plan(&planned, None);
                push::carry_on(operation, plan, intake, messages, self.0.stream_stall)
            }
        };
        Ok(Response::new(answers))
    }
}

/// The findings that shall not count.
fn overridden(options: Option<&v1::InstallOptions>) -> &[String] {
    options.map_or(&[], |options| &options.overrides)
}

/// The first message, which must be `begin`.
async fn begin_of(messages: &mut Streaming<v1::PushImageRequest>) -> Result<v1::PushBegin, Status> {
    use v1::push_image_request::Message;
    let wrong = |text| refuse(&RequestError::of("message", text));
    let _turn = BEGINNING.try_acquire().map_err(|_full| refuse(&CallError::TooManyBeginning))?;
    let first = tokio::time::timeout(BEGIN_TIMEOUT, messages.message()).await;
    let first = first.map_err(|_elapsed| wrong("no begin came within 10 s"))??;
    match first.and_then(|message| message.message) {
        Some(Message::Begin(begin)) => Ok(begin),
        Some(Message::Offer(_) | Message::Data(_) | Message::Finish(_)) | None => Err(wrong("begin must come first")),
    }
}
