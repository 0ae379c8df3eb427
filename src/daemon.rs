//! The composition root: builds the agent from its configuration, serves, and stops in order.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::agent::{Agent, InspectionSettings, Journal, JournalError, Looks, SharedClock};
use crate::audit::{self, Audit};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::disk::discovery::Discovery;
use crate::disk::roots::Roots;
use crate::hardware::alias::{AliasError, Aliases};
use crate::hardware::host;
use crate::hardware::survey::Survey;
use crate::inspect::check::{Checks, ChecksError};
use crate::inspect::child::Inspector;
use crate::inspect::policy::{self, Policy};
use crate::inspect::profile::{ProfileError, Profiles};
use crate::metrics::{self, Exposition, MetricsListener, Process};
use crate::operation;
use crate::operation::registry::Registry;
use crate::provision::install::Resources;
use crate::provision::record::{RecordError, Records};
use crate::provision::token::PlanTokens;
use crate::pull::HttpAccess;
use crate::reason::Reason;
use crate::rpc;
use crate::rpc::listen::{self, Inherited, Listeners, TcpSockets, TlsError, UnixSocket};
use crate::rpc::peer::{UnixRoles, UserUnknown};
use crate::rpc::self_call::{SelfCallError, self_call};
use crate::rpc::server::{self, ServeError};

use self::pulse::{FIRST_CALL, Pulse, notify};

mod pulse;

/// Workers where the configuration names none: enough to keep several requests at a disk, few enough for a small memory
/// budget.
const DEFAULT_WORKERS: usize = 4;
/// Most blocking calls at once: each has a thread, and the unit has a limit for these. More wait for their turn.
const MAX_BLOCKING_THREADS: usize = 64;
/// How long calls may still be answered after all operations have ended.
const GOODBYE: Duration = Duration::from_secs(5);

/// How long blocking calls that nobody waits for may take to end.
const LEFT_BEHIND: Duration = Duration::from_secs(1);

/// The daemon cannot run.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The server has ended though nobody asked for it.
    #[error("the server has ended by itself")]
    ServerEnded,
    /// The state directory cannot be used.
    #[error("cannot use the state directory {}", .path.display())]
    StateDir {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Records cannot be kept.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The journal cannot be kept.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The operator's checks make no sense.
    #[error(transparent)]
    Checks(#[from] ChecksError),
    /// The default profile is none.
    #[error(transparent)]
    Profile(#[from] policy::ProfileUnknown),
    /// A profile says what cannot be.
    #[error(transparent)]
    Profiles(#[from] ProfileError),
    /// The operator's aliases make no sense.
    #[error(transparent)]
    Aliases(#[from] AliasError),
    /// A user of the configuration is none.
    #[error(transparent)]
    User(#[from] UserUnknown),
    /// The server cannot be had.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// Metrics cannot be served.
    #[error("cannot serve metrics on {address}")]
    Metrics {
        /// Where they should be.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// It does not answer itself.
    #[error(transparent)]
    SelfCall(#[from] SelfCallError),
    /// Signals or threads cannot be had.
    #[error("cannot set up the process")]
    Process(#[from] std::io::Error),
}

impl DaemonError {
    /// Whether what the operator wrote is wrong: to start again cannot help.
    pub const fn is_configuration(&self) -> bool {
        match self {
            Self::Checks(_) | Self::Profile(_) | Self::Profiles(_) | Self::Aliases(_) | Self::User(_) => true,
            Self::Serve(ServeError::Tls(_)) => true,
            Self::StateDir { .. } | Self::Record(_) | Self::Journal(_) | Self::Serve(_) => false,
            Self::SelfCall(_) | Self::ServerEnded | Self::Process(_) | Self::Metrics { .. } => false,
        }
    }
}

/// Runs the daemon until SIGTERM or SIGINT.
///
/// # Errors
/// If it cannot start, or its listener fails.
///
/// # Blocking
/// For as long as the daemon lives.
pub fn run(config: &Config) -> Result<(), DaemonError> {
    // Of two libraries for TLS the linker knows both; the first choice holds for the whole process.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("TLS has a provider already");
    }
    // One thread moves all messages: more of them only pass the bytes around (docs/performance.md). Disk work and
    // hashing have threads of their own.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(MAX_BLOCKING_THREADS).build()?;
    let ended = runtime.block_on(serve(config));
    // A look at a disk that hangs holds up no stop: there are 10 s beside `drain_seconds`, and calls may have had half of them.
    runtime.shutdown_timeout(LEFT_BEHIND);
    ended
}

async fn serve(config: &Config) -> Result<(), DaemonError> {
    // Whatever is opened from now on is measured.
    let _page = measure(config.metrics.listen, &Roots::default(), &SystemClock)?;
    let agent = Arc::new(build(config)?);
    // Before anybody can call: who repeats a request finds its operation.
    agent.audit_life(audit::Kind::Start);
    let waiting = agent.restore()?;
    let (listeners, is_own) = listeners(config).await?;
    let reload = listeners.tcp.as_ref().map(TcpSockets::reload).unwrap_or_default();
    let mut hangup = signal(SignalKind::hangup())?;
    let stop = CancellationToken::new();
    let server = tokio::spawn(server::serve(agent.clone(), listeners, stop.clone()));
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // Ready is who answers.
    self_call(&config.socket, FIRST_CALL).await?;
    notify(&[NotifyState::Ready]);
    // Also while it stops: what hangs then is killed as well.
    let pulse = Pulse { socket: config.socket.clone(), registry: agent.registry.clone() };
    let pulse = AbortOnDropHandle::new(tokio::spawn(pulse.beat()));
    let resuming = agent.clone();
    // It looks at disks, which may take a while; whoever calls meanwhile is answered.
    let resumed = tokio::task::spawn_blocking(move || resuming.resume(waiting));
    drop(tokio::spawn(async move { resumed.await.map(|resumed| resumed.iter().for_each(rpc::follow)) }));
    tracing::info!(socket = %config.socket.display(), version = env!("CARGO_PKG_VERSION"), "ready");
    let mut server = server;
    loop {
        tokio::select! {
            ended = &mut server => return joined(ended).and(Err(DaemonError::ServerEnded)),
            _ = hangup.recv() => reload.notify_one(),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    notify(&[NotifyState::Stopping]);
    drain(&agent.registry, Duration::from_secs(config.drain_seconds)).await;
    agent.audit_life(audit::Kind::Stop);
    drop(pulse);
    stop.cancel();
    // Watchers and pushes have seen the end of their operations by now; a connection that is merely open is not waited for.
    let ended = tokio::time::timeout(GOODBYE, server).await;
    if is_own && let Err(error) = std::fs::remove_file(&config.socket) {
        tracing::warn!(%error, "cannot remove the socket");
    }
    ended.map_or(Ok(()), joined)
}

/// Begins to keep metrics, and serves them until what is given is dropped; if somebody wants them.
fn measure(
    address: Option<SocketAddr>,
    roots: &Roots,
    clock: &dyn Clock,
) -> Result<Option<AbortOnDropHandle<()>>, DaemonError> {
    let Some(address) = address else { return Ok(None) };
    let process = Process { proc: roots.proc.clone(), sys: roots.sys.clone() };
    let fail = |source| DaemonError::Metrics { address, source };
    let begun = Exposition::begin(process, env!("CARGO_PKG_VERSION"), clock.now());
    let exposition = begun.map_err(|error| fail(std::io::Error::other(error)))?;
    metrics::count_panics();
    operation::introduce();
    listen::introduce();
    metrics::call_reasons(Reason::ALL.iter().map(|reason| reason.name()));
    let listener = MetricsListener::bind(address, exposition).map_err(fail)?;
    tracing::info!(%address, "serving metrics");
    Ok(Some(AbortOnDropHandle::new(tokio::spawn(listener.serve()))))
}

/// What is listened on, and whether the Unix socket is the agent's own rather than systemd's.
async fn listeners(config: &Config) -> Result<(Listeners, bool), DaemonError> {
    let inherited = Inherited::take()?;
    let roles = UnixRoles::resolve(&config.unix_roles)?;
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let tcp = match &config.tcp {
        Some(table) => Some(TcpSockets::listen(table, credentials.as_deref(), inherited.tcp)?),
        None if inherited.tcp.is_empty() => None,
        None => return Err(ServeError::from(TlsError::NoTable).into()),
    };
    let is_own = inherited.unix.is_none();
    let unix = match inherited.unix {
        Some(listener) => UnixSocket::inherited(listener, roles),
        None => listen::listen_unix(&config.socket, roles).await?,
    };
    Ok((Listeners { unix, tcp }, is_own))
}

fn joined(ended: Result<Result<(), ServeError>, tokio::task::JoinError>) -> Result<(), DaemonError> {
    match ended {
        Ok(result) => Ok(result?),
        Err(error) => Err(std::io::Error::other(error).into()),
    }
}

fn build(config: &Config) -> Result<Agent, DaemonError> {
    let fail = |source| DaemonError::StateDir { path: config.state_dir.clone(), source };
    std::fs::create_dir_all(&config.state_dir).map_err(fail)?;
    let state_dir = config.state_dir.canonicalize().map_err(fail)?;
    let boot_id = host::boot_id(&Roots::default());
    let clock = SharedClock(Arc::new(SystemClock));
    let workers = config.write_workers.unwrap_or(DEFAULT_WORKERS);
    Ok(Agent {
        discovery: Discovery {
            roots: Roots::default(),
            allow_loop_devices: config.allow_loop_devices,
            protected_paths: vec![state_dir.clone()],
        },
        looks: Looks::default(),
        survey: Survey::new(Roots::default()),
        aliases: Aliases::load(&config.compatibility.aliases)?,
        registry: Arc::new(Registry::new(clock.0.clone())),
        records: Records::open(&state_dir)?,
        journal: Journal::open(&state_dir)?,
        // Whoever reads is served even if it cannot be written.
        audit: Audit::unopened(&state_dir.join("audit"), clock.0.clone(), &boot_id.unwrap_or_default()),
        repositories: config.repositories.clone(),
        http: HttpAccess { allowed: config.allowed_urls.clone(), table: config.http.clone() },
        inspection: inspection(config)?,
        tokens: PlanTokens::default(),
        resources: Resources {
            memory_bytes: config.memory_budget,
            workers: NonZeroUsize::new(workers).unwrap_or(NonZeroUsize::MIN),
        },
        stream_stall: Duration::from_secs(config.stream_stall_seconds),
        clock,
    })
}

/// How disks and images are looked into. What is wrong with that is told at the start, not by the first install.
fn inspection(config: &Config) -> Result<InspectionSettings, DaemonError> {
    let table = &config.inspection;
    let profiles = Profiles::built_in()?.with(config.profiles.clone());
    let settings = policy::Settings { policy: table.policy, profile: table.profile.clone(), profiles };
    let (policy, profile) = settings.resolve(&policy::Choice::default())?;
    if policy == Policy::Require && profile.network_mode.is_none() {
        tracing::warn!(
            "inspection.policy is require, and inspection.profile does not say how servers get their network: \
                        installs of Linux are refused unless they name a profile that does"
        );
    }
    let checks = Arc::new(Checks::load(&table.checks)?);
    Ok(InspectionSettings { settings, checks, inspector: Inspector::default() })
}

/// Lets running operations end; cancels what takes too long. A cancelled install leaves a marker, and no boot region.
async fn drain(registry: &Registry, limit: Duration) {
    registry.stop();
    tracing::info!(limit_seconds = limit.as_secs(), "stopping; waiting for operations to end");
    if tokio::time::timeout(limit, registry.idle()).await.is_err() {
        tracing::warn!("operations take too long; cancelling them");
        registry.cancel_all();
        registry.idle().await;
    }
}
