//! What the agent does, apart from any wire: looks at disks, plans, and starts operations.
//!
//! All calls block: the gRPC edge makes them from threads made for it. This is the one place that starts the threads in
//! which operations do their work; each takes the hold on its disk along.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::audit::{Audit, AuditedImage};
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
use crate::operation::registry::Registry;
use crate::operation::{Operation, OperationKind, Outcome, Request};
use crate::provision::error::ProvisionError;
use crate::provision::feed::{Budget, Feed, FeedEvent, Want};
use crate::provision::inspection::Inspection as Look;
use crate::provision::install::{InstallJob, Resources};
use crate::provision::plan::{ImageSpec, InstallPlan, Options, Seen};
use crate::provision::record::Records;
use crate::provision::token::PlanTokens;
use crate::pull::HttpAccess;
use crate::reason::{DomainError as _, Reason};
use crate::repository::Settings;

mod begin;
mod capture;
mod error;
mod gate;
mod inspect;
mod journal;
mod looks;
mod pull;
mod remains;
#[cfg(test)]
mod tests;
mod trail;
mod verify;

use self::begin::{Intent, Start, Work, spawn};
use self::journal::Pending;

pub use begin::Waiting;
pub use capture::{CaptureBegun, CaptureEvent, CaptureRequest, CapturedGroups, NewImage, Streamed};
pub use error::AgentError;
pub use gate::{Candidate, Compatibility, CompatibilityRequest};
pub use inspect::{Inspection, InspectionSettings, Subject};
pub use journal::{Journal, JournalError};
pub use looks::Looks;
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
    /// Looks at disks that have not come back.
    pub looks: Looks,
    /// Takes stock of the server.
    pub survey: Survey,
    /// Other names for the same hardware.
    pub aliases: Aliases,
    /// All operations.
    pub registry: Arc<Registry>,
    /// What was installed on which disk.
    pub records: Records,
    /// Operations that are known after a restart.
    pub journal: Journal,
    /// Who did what to which disk.
    pub audit: Audit,
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
    /// How long a push or a streamed capture may stand still for its caller.
    pub stream_stall: Duration,
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

impl Planned {
    /// What is to begin: by which request, and if the agent is to fetch the image, which one and how it goes on.
    fn intent<'a>(&'a self, request: &'a Request, name: Option<String>, pull: Option<Pending>) -> Intent<'a> {
        Intent {
            request,
            kind: OperationKind::Install,
            disk: &self.plan.disk,
            image: self.audited(name),
            overridden: self.judgement.overridden(),
            pull,
        }
    }

    /// The image, as far as it is known; `name` says where it is, if the agent is to fetch it.
    fn audited(&self, name: Option<String>) -> AuditedImage {
        let ImageSpec { root, layout, .. } = self.plan.image;
        let root = root.map(|root| blake3::Hash::from_bytes(root).to_hex().to_string());
        AuditedImage { root, size_bytes: Some(layout.len_bytes()), name }
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
        let mut refusals = disk.refusals(all);
        let open = || guard::open_for_reading(&self.discovery, disk).map(|device| probe::look(&device).ok());
        let content = match self.looks.at(disk.device_number, open) {
            Some(Ok(content)) => content,
            Some(Err(error)) if error.reason() == Reason::DiskForbidden => {
                let detail =
                    "a sandbox keeps it from the agent, such as its unit without DeviceAllow= for it".to_owned();
                refusals.push(Refusal { reason: Reason::DiskForbidden, detail });
                None
            }
            Some(Err(_)) => None,
            None => {
                let detail = "it has not answered the last look at it for long".to_owned();
                refusals.push(Refusal { reason: Reason::DiskIo, detail });
                None
            }
        };
        Surveyed { disk: disk.clone(), refusals, content }
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
            self.tokens.redeem(token, &planned.plan, &id.caller.identity())?;
        }
        let intent = planned.intent(id, None, None);
        let (work, device) = match self.begin(intent, |disk| guard::open_for_writing(&self.discovery, disk))? {
            Start::Begun(work, device) => (work, device),
            Start::Known(operation) => return Ok(Install::Known(operation)),
        };
        let operation = work.operation().clone();
        let intake = self.start_install(work, device, &planned)?;
        Ok(Install::Begun { operation, planned: Box::new(planned), intake })
    }

    fn start_install(
        self: &Arc<Self>,
        work: Work,
        device: DirectDevice,
        planned: &Planned,
    ) -> Result<Intake, AgentError> {
        let Planned { plan, case, judgement, .. } = planned.clone();
        let (events, received) = mpsc::channel(WAITING_EVENTS);
        let (asked, wants) = mpsc::channel(WAITING_WANTS);
        let halt = work.operation().cancel.child_token();
        let budget = Budget::new(self.resources.in_flight_bytes());
        let intake = Intake { events, wants, halt: halt.clone(), budget };
        let overridden = judgement.overridden();
        let inspection = self.inspection_of(&plan, case, overridden.clone());
        let feed = Feed { events: received, wants: asked };
        let install = InstallWork { device, plan, inspection, overridden, feed, halt };
        let agent = self.clone();
        spawn("install", work, move |operation| agent.write(operation, install))?;
        Ok(intake)
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
