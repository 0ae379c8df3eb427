//! How fast the agent takes an image from memory to a disk, without read-back, and how fast it answers meanwhile.
//!
//!     cargo bench --bench write_path [-- --rounds N --only TEXT]
//!
//! For:     docs/performance.md (figures F5, F5b, F16) and docs/decisions/0001-threads-not-io-uring.md. Prints markdown.
//! Needs:   root, losetup, fio with io_uring (`tests/install-packages.sh --bench`), 5 GiB of memory.
//! Leaves:  nothing. The disk is a loop device over memory of this process, and goes with it.
//!
//! The image is 2 GiB of random bytes in memory, its chaining values computed beforehand. All jobs run in turn, so that
//! a noisy minute falls on all of them. An install is timed from its begin until its last byte was received, verified
//! and written; it then reads everything back, which is not timed but must succeed. fio and installs use O_DIRECT, and
//! both leave the flush out.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bms_agent::agent::{Agent, InspectionSettings, Install, InstallRequest, Journal, Looks, SharedClock};
use bms_agent::audit::Audit;
use bms_agent::clock::SystemClock;
use bms_agent::compatibility::Admission;
use bms_agent::disk::discovery::Discovery;
use bms_agent::disk::roots::Roots;
use bms_agent::disk::selector::Selector;
use bms_agent::hardware::alias::Aliases;
use bms_agent::hardware::survey::Survey;
use bms_agent::inspect::policy::Choice;
use bms_agent::operation::registry::Registry;
use bms_agent::operation::{Caller, Operation, Request};
use bms_agent::provision::install::Resources;
use bms_agent::provision::plan::{ImageSpec, Options};
use bms_agent::provision::record::Records;
use bms_agent::provision::token::PlanTokens;
use bms_agent::pull::HttpAccess;
use bms_agent::rpc::proto::v1;
use clap::Parser as _;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

#[path = "write_path/disk.rs"]
mod disk;
#[path = "write_path/image.rs"]
mod image;
#[path = "write_path/latency.rs"]
mod latency;
#[path = "write_path/report.rs"]
mod report;
#[path = "write_path/wire.rs"]
mod wire;

use self::disk::RamDisk;
use self::image::Image;
use self::latency::Latencies;
use self::report::{Job, Run};
use self::wire::{Serving, Tuning, connect, runtime};

/// Whatever ends the benchmark early.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

const IMAGE_BYTES: usize = 2 << 30;
/// A disk is larger than the image on it.
const SPARE_BYTES: u64 = 64 << 20;
/// What the daemon has by default.
const WORKERS: usize = 4;
const MEMORY_BYTES: u64 = 64 << 20;
/// A worker's share of it, at least.
const WORKER_BYTES: u64 = 16 << 20;
/// How exactly the end of writing is told.
const TICK: Duration = Duration::from_millis(1);

#[derive(Debug, clap::Parser)]
struct Arguments {
    /// Runs of each job
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Run only the jobs whose name contains this
    #[arg(long, default_value = "")]
    only: String,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let bench = Bench::new()?;
    let mut runs = report::runs(&arguments.only);
    for _ in 0..arguments.rounds {
        runs.iter_mut().try_for_each(|run| bench.run(run))?;
    }
    Ok(std::io::stdout().write_all(report::markdown(&runs).as_bytes())?)
}

/// What all jobs use.
struct Bench {
    disk: RamDisk,
    image: Image,
    /// Sockets and the agents' state.
    work: tempfile::TempDir,
}

impl Bench {
    fn new() -> Result<Self, Failure> {
        let disk = RamDisk::new(IMAGE_BYTES as u64 + SPARE_BYTES)?;
        Ok(Self { disk, image: Image::random(IMAGE_BYTES), work: tempfile::tempdir()? })
    }

    fn run(&self, run: &mut Run) -> Result<(), Failure> {
        let bytes = IMAGE_BYTES as f64;
        let speed = match run.job {
            Job::Push => bytes / self.push()?,
            Job::PushAndCalls => bytes / self.push_and_calls(&mut run.latencies)?,
            Job::NullSink(tuning) => bytes / self.null_sink(tuning)?,
            Job::Memory(workers) => bytes / self.memory(workers)?,
            Job::Fio(options) => self.disk.fio(options)?,
        };
        run.speeds.push(speed / 1e9);
        Ok(())
    }

    fn push(&self) -> Result<f64, Failure> {
        let (agent, server) = self.agent_and_server()?;
        runtime()?.block_on(self.timed_push(&agent, server.socket(), Uuid::new_v4(), &CancellationToken::new()))
    }

    /// The callers of the small calls have a thread of their own, so that they wait for the agent alone.
    fn push_and_calls(&self, latencies: &mut Latencies) -> Result<f64, Failure> {
        let (agent, server) = self.agent_and_server()?;
        let (id, written) = (Uuid::new_v4(), CancellationToken::new());
        let mut calls = async || latencies.sample(server.socket(), begun(&agent, id).await.name(), &written).await;
        std::thread::scope(|scope| {
            let calling = scope.spawn(|| runtime()?.block_on(calls()));
            let seconds = runtime()?.block_on(self.timed_push(&agent, server.socket(), id, &written));
            written.cancel();
            calling.join().map_err(|_panicked| "the callers panicked")??;
            seconds
        })
    }

    async fn timed_push(
        &self,
        agent: &Agent,
        socket: &Path,
        id: Uuid,
        written: &CancellationToken,
    ) -> Result<f64, Failure> {
        let channel = connect(socket, Tuning::Ours).await?;
        let image = v1::ImageSpec { size_bytes: IMAGE_BYTES as u64, ..Default::default() };
        let disk = v1::DiskSelector { name: Some(self.disk.name()), ..Default::default() };
        let (disk, image, request_id) = (Some(disk), Some(image), id.to_string());
        let begin = v1::PushBegin { request_id, disk, image, ..Default::default() };
        let start = Instant::now();
        let timed = async {
            let seconds = until_written(&*begun(agent, id).await, start).await;
            written.cancel();
            Ok(seconds)
        };
        Ok(tokio::try_join!(timed, wire::push(channel, begin, &self.image))?.0)
    }

    fn null_sink(&self, tuning: Tuning) -> Result<f64, Failure> {
        let server = Serving::null_sink(&self.work.path().join("null.sock"), tuning)?;
        runtime()?.block_on(async {
            let channel = connect(server.socket(), tuning).await?;
            let start = Instant::now();
            wire::pour(channel, &self.image).await?;
            Ok(start.elapsed().as_secs_f64())
        })
    }

    /// What a push does, without a wire.
    fn memory(&self, workers: usize) -> Result<f64, Failure> {
        let agent = self.agent(workers)?;
        let request = InstallRequest {
            selector: Selector { name: Some(self.disk.name()), ..Selector::default() },
            image: ImageSpec { layout: self.image.layout, root: None, logical_block_size: None },
            options: Options::default(),
            inspection: Choice::default(),
            admission: Admission::default(),
        };
        let id = Request::once(Caller::default(), "");
        let start = Instant::now();
        let Install::Begun { operation, intake, .. } = agent.install(&id, &request, &[])? else {
            return Err("a new request was known".into());
        };
        runtime()?.block_on(async {
            let timed = async { Ok(until_written(&operation, start).await) };
            let (seconds, ()) = tokio::try_join!(timed, self.image.feed(&intake))?;
            match &operation.ended().await.end {
                Some((_, Ok(_))) => Ok(seconds),
                end => Err(format!("the install failed: {end:?}").into()),
            }
        })
    }

    fn agent(&self, workers: usize) -> Result<Arc<Agent>, Failure> {
        let clock = SharedClock(Arc::new(SystemClock));
        let discovery = Discovery { roots: Roots::default(), allow_loop_devices: true, protected_paths: Vec::new() };
        Ok(Arc::new(Agent {
            discovery,
            looks: Looks::default(),
            survey: Survey::new(Roots::default()),
            aliases: Aliases::built_in()?,
            registry: Arc::new(Registry::new(clock.0.clone())),
            records: Records::open(self.work.path())?,
            journal: Journal::open(self.work.path())?,
            audit: Audit::unopened(&self.work.path().join("audit"), clock.0.clone(), ""),
            repositories: BTreeMap::new(),
            http: HttpAccess::default(),
            inspection: InspectionSettings::off(),
            tokens: PlanTokens::default(),
            stream_stall: Duration::from_secs(120),
            resources: Resources {
                memory_bytes: MEMORY_BYTES.max(WORKER_BYTES * workers as u64),
                workers: NonZeroUsize::new(workers).unwrap_or(NonZeroUsize::MIN),
            },
            clock,
        }))
    }

    fn agent_and_server(&self) -> Result<(Arc<Agent>, Serving), Failure> {
        let agent = self.agent(WORKERS)?;
        let server = Serving::agent(&self.work.path().join("agent.sock"), agent.clone())?;
        Ok((agent, server))
    }
}

/// The operation of a request, once it has begun.
async fn begun(agent: &Agent, request: Uuid) -> Arc<Operation> {
    let mut ticks = tokio::time::interval(TICK);
    loop {
        ticks.tick().await;
        if let Some(operation) = agent.registry.list().into_iter().find(|operation| operation.request.id == request) {
            return operation;
        }
    }
}

/// Seconds from `start` until everything was received, verified and written, or the operation has ended.
async fn until_written(operation: &Operation, start: Instant) -> f64 {
    let mut ticks = tokio::time::interval(TICK);
    while operation.counters.progress().written_bytes < IMAGE_BYTES as u64 && !operation.snapshot().is_done() {
        ticks.tick().await;
    }
    start.elapsed().as_secs_f64()
}
