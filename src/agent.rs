//! What the agent does, apart from any wire: looks at disks, plans, and starts operations.
//!
//! All calls block: the gRPC edge makes them from threads made for it. This is the one place that starts the threads in
//! which operations do their work; each takes the hold on its disk along.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, unix_seconds};
use crate::compatibility::{Admission, Case, Judgement};
use crate::disk::direct::DirectDevice;
use crate::disk::discovery::{Discovery, Disk, Refusal};
use crate::disk::guard;
use crate::disk::probe::{self, Content};
use crate::disk::selector::Selector;
use crate::hardware::alias::Aliases;
use crate::hardware::survey::Survey;
use crate::inspect::policy::Choice;
use crate::operation::registry::{Begun, Registry, Request, Running};
use crate::operation::{Failure, Operation, OperationKind, Outcome};
use crate::provision::error::ProvisionError;
use crate::provision::feed::{Budget, Feed, FeedEvent, Want};
use crate::provision::inspection::Inspection as Look;
use crate::provision::install::{InstallJob, Resources};
use crate::provision::plan::{ImageSpec, InstallPlan, Options, Seen};
use crate::provision::record::Records;
use crate::provision::token::PlanTokens;
use crate::pull::HttpAccess;
use crate::repository::Settings;

mod capture;
mod error;
mod gate;
mod inspect;
mod journal;
mod pull;
#[cfg(test)]
mod tests;
mod verify;

pub use capture::{CaptureBegun, CaptureEvent, CaptureRequest, CapturedGroups, NewImage, Streamed};
pub use error::AgentError;
pub use gate::{Candidate, Compatibility, CompatibilityRequest};
pub use inspect::{Inspection, InspectionSettings, Subject};
pub use journal::{Journal, JournalError};
pub use pull::{Found, ImageSource, PullRequest, Pulled};
pub use verify::VerifyAgainst;

/// Messages of a source that wait for the workers. What they hold is bounded by the memory budget.
const WAITING_EVENTS: usize = 32;
/// Answers that wait for a source.
const WAITING_WANTS: usize = 1024;

/// A disk, and everything that is known of it.
#[derive(Debug, Clone)]
pub struct Surveyed {
    /// The disk.
    pub disk: Disk,
    /// What keeps it from being written.
    pub refusals: Vec<Refusal>,
    /// What is on it, if it can be read.
    pub content: Option<Content>,
}

/// A request to install.
#[derive(Debug, Clone)]
pub struct InstallRequest {
    /// Which disk.
    pub selector: Selector,
    /// Which image.
    pub image: ImageSpec,
    /// How.
    pub options: Options,
    /// How the image is looked into.
    pub inspection: Choice,
    /// What the image asks of the server.
    pub admission: Admission,
}

/// A plan, and what was seen when it was made.
#[derive(Debug, Clone)]
pub struct Planned {
    /// The plan.
    pub plan: InstallPlan,
    /// The disk.
    pub surveyed: Surveyed,
    /// The image and the server that it must fit.
    pub case: Case,
    /// Whether it does, as far as that is known before somebody looks into the image.
    pub judgement: Judgement,
}

/// The source's end of an install that has begun.
#[derive(Debug)]
pub struct Intake {
    /// Tells the workers.
    pub events: mpsc::Sender<FeedEvent>,
    /// What they ask for.
    pub wants: mpsc::Receiver<Want>,
    /// Set when the install ends, or is to end: nothing more is wanted then.
    pub halt: CancellationToken,
    /// Memory for content on its way.
    pub budget: Budget,
}

/// What became of a request to install.
#[derive(Debug)]
pub enum Install {
    /// It has begun.
    Begun {
        /// The operation.
        operation: Arc<Operation>,
        /// What it will do.
        planned: Box<Planned>,
        /// Where to put the image.
        intake: Intake,
    },
    /// The same request began it before.
    Known(Arc<Operation>),
}

/// The agent.
#[derive(Debug)]
pub struct Agent {
    /// Finds disks.
    pub discovery: Discovery,
    /// Takes stock of the server.
    pub survey: Survey,
    /// Other names for the same hardware.
    pub aliases: Aliases,
    /// All operations.
    pub registry: Arc<Registry>,
    /// What was installed on which disk.
    pub records: Records,
    /// Installs that go on after a restart.
    pub journal: Journal,
    /// Where images are, by the names that callers use.
    pub repositories: BTreeMap<String, Settings>,
    /// Where on the web images may be, and how it is reached.
    pub http: HttpAccess,
    /// How disks and images are looked into.
    pub inspection: InspectionSettings,
    /// Plan tokens.
    pub tokens: PlanTokens,
    /// Memory and threads of one operation.
    pub resources: Resources,
    /// The time of day.
    pub clock: SharedClock,
}

/// A clock that can be shared and printed.
#[derive(Clone)]
pub struct SharedClock(pub Arc<dyn Clock>);

impl std::fmt::Debug for SharedClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharedClock")
    }
}

impl Agent {
    /// All disks, with what keeps each from being written and what is on it.
    ///
    /// # Errors
    /// If they cannot be listed. A disk that cannot be read is listed without content.
    pub fn disks(&self) -> Result<Vec<Surveyed>, AgentError> {
        let all = self.discovery.scan()?;
        Ok(all.iter().map(|disk| self.survey(disk, &all)).collect())
    }

    fn survey(&self, disk: &Disk, all: &[Disk]) -> Surveyed {
        let open = guard::open_for_reading(&self.discovery, disk);
        let content = open.ok().and_then(|device| probe::look(&device).ok());
        Surveyed { disk: disk.clone(), refusals: disk.refusals(all), content }
    }

    /// Decides what an install would do.
    ///
    /// # Errors
    /// Every reason for which the install itself would be refused at its start.
    pub fn plan(&self, request: &InstallRequest) -> Result<Planned, AgentError> {
        let all = self.discovery.scan()?;
        let disk = request.selector.select(&all)?;
        self.registry.check_free(disk)?;
        let surveyed = self.survey(disk, &all);
        let marker = surveyed.content.as_ref().and_then(|content| content.marker.as_ref());
        let seen = Seen { disk: &surveyed.disk, refusals: &surveyed.refusals, marker };
        let (policy, profile) = self.profile(&request.inspection)?;
        let plan = InstallPlan::new(seen, request.image, request.options, self.resources.max_groups())?;
        let case = self.case(&request.admission, Some(&surveyed.disk));
        let judgement = case.judge(None)?;
        let refused = |why| AgentError::Incompatible { disk: surveyed.disk.name.clone(), why };
        judgement.admit().map_err(refused)?;
        let plan = plan.inspected(policy, profile).admitted(request.admission.clone());
        Ok(Planned { plan, surveyed, case, judgement })
    }

    /// Begins an install, or finds the one that the same request began.
    ///
    /// # Errors
    /// If the disk or the image does not suit, the token does not hold, or the disk cannot be had. Nothing was written.
    pub fn install(
        self: &Arc<Self>,
        id: &Request,
        request: &InstallRequest,
        token: &[u8],
    ) -> Result<Install, AgentError> {
        if let Some(operation) = self.registry.known(id)? {
            return Ok(Install::Known(operation));
        }
        let planned = self.plan(request)?;
        if !token.is_empty() {
            self.tokens.redeem(token, &planned.plan)?;
        }
        let running = match self.registry.begin(id, OperationKind::Install, &planned.plan.disk)? {
            Begun::New(running) => running,
            Begun::Known(operation) => return Ok(Install::Known(operation)),
        };
        let operation = running.operation().clone();
        let intake = self.start_install(running, &planned)?;
        Ok(Install::Begun { operation, planned: Box::new(planned), intake })
    }

    fn start_install(self: &Arc<Self>, running: Running, planned: &Planned) -> Result<Intake, AgentError> {
        let Planned { plan, case, judgement, .. } = planned.clone();
        let device = match guard::open_for_writing(&self.discovery, &plan.disk) {
            Ok(device) => device,
            Err(error) => {
                running.withdraw(Failure::from(&error));
                return Err(error.into());
            }
        };
        let (events, received) = mpsc::channel(WAITING_EVENTS);
        let (asked, wants) = mpsc::channel(WAITING_WANTS);
        let halt = running.operation().cancel.child_token();
        let budget = Budget::new(self.resources.in_flight_bytes());
        let intake = Intake { events, wants, halt: halt.clone(), budget };
        let overridden = judgement.overridden();
        let inspection = self.inspection_of(&plan, case, overridden.clone());
        let feed = Feed { events: received, wants: asked };
        let work = InstallWork { device, plan, inspection, overridden, feed, halt };
        let agent = self.clone();
        spawn("install", running, move |operation| agent.run_install(operation, work))?;
        Ok(intake)
    }

    fn run_install(&self, operation: &Operation, work: InstallWork) -> Result<Outcome, ProvisionError> {
        let result = self.write(operation, work);
        // What a stopping agent cancels goes on when it is back, if it can.
        let goes_on = matches!(result, Err(ProvisionError::Cancelled { .. })) && self.registry.is_stopping();
        if !goes_on {
            self.forget(operation.id);
        }
        result
    }

    fn write(&self, operation: &Operation, work: InstallWork) -> Result<Outcome, ProvisionError> {
        let InstallWork { device, plan, inspection, overridden, feed, halt } = work;
        let job = InstallJob {
            device: &device,
            plan: &plan,
            records: &self.records,
            inspection: inspection.as_ref(),
            resources: self.resources,
            operation: operation.id,
            started_at: unix_seconds(operation.started_at),
            counters: &operation.counters,
            cancel: &operation.cancel,
            halt: &halt,
        };
        let told: Vec<String> = self.lowered(plan.policy).into_iter().chain(overridden).collect();
        for text in &told {
            tracing::warn!("{text}");
        }
        let report = job.run(feed)?;
        Ok(Outcome {
            root: *report.tree.root().as_bytes(),
            len_bytes: plan.image.layout.len_bytes(),
            warnings: told.into_iter().chain(report.warnings).collect(),
            disk: plan.disk,
            captured: None,
        })
    }
}

/// What the thread of an install takes along.
#[derive(Debug)]
struct InstallWork {
    device: DirectDevice,
    plan: InstallPlan,
    inspection: Option<Look>,
    /// What was overridden before it began, for people.
    overridden: Vec<String>,
    feed: Feed,
    halt: CancellationToken,
}

/// Starts the thread of an operation. The hold on the disk goes with it, and ends with it, whatever becomes of callers.
fn spawn<W>(name: &str, running: Running, work: W) -> Result<(), AgentError>
where
    W: FnOnce(&Operation) -> Result<Outcome, ProvisionError> + Send + 'static,
{
    let thread = std::thread::Builder::new().name(name.to_owned());
    let call = tracing::Span::current();
    // The one line that has both: which call of whom, and which operation came of it.
    let Operation { id, request_id, disk, .. } = &**running.operation();
    tracing::info!(operation = %id, %request_id, disk, "accepted");
    let body = move || {
        let operation = running.operation().clone();
        let span = operation.span();
        // Not its child: the call ends long before it.
        span.follows_from(call);
        let _entered = span.entered();
        tracing::info!("began");
        let result = work(&operation).map_err(|error| Failure::from(&error));
        match &result {
            Ok(outcome) => tracing::info!(root = %blake3::Hash::from_bytes(outcome.root).to_hex(), "done"),
            Err(failure) => tracing::error!(reason = failure.reason.name(), error = failure.message, "failed"),
        }
        running.finish(result);
    };
    // A thread that cannot be started drops `running`: the operation ends with INTERNAL, and the disk is free.
    thread.spawn(body).map(drop).map_err(|source| AgentError::Thread { source })
}
