//! What is run, what is owed, and the tables that say whether it is met.

use std::time::Duration;

use crate::latency::Latencies;
use crate::wire::Tuning;

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Job {
    /// A push over the Unix socket.
    Push,
    /// A push with small calls beside it.
    PushAndCalls,
    /// The same bytes into a server that drops them.
    NullSink(Tuning),
    /// An install by so many workers, fed from memory in the agent's process.
    Memory(usize),
    /// fio's write, with these options.
    Fio(&'static [&'static str]),
}

/// Each of the four writes a quarter of its own.
const FIO_THREADS: &[&str] = &["--ioengine=psync", "--numjobs=4", "--size=512M", "--offset_increment=512M"];
const FIO_RING: &[&str] = &["--ioengine=io_uring", "--iodepth=8", "--fixedbufs", "--size=2G"];

const PUSH: &str = "push over the socket";
const NULL_SINK: &str = "null sink, tonic's defaults";
const MEMORY: &str = "install from memory, 4 workers";
const FIO: [&str; 2] = ["fio psync, 4 threads of 4 MiB", "fio io_uring, 8 x 4 MiB"];
const JOBS: &[(&str, Job)] = &[
    (PUSH, Job::Push),
    (NULL_SINK, Job::NullSink(Tuning::Defaults)),
    ("null sink, our windows and frames", Job::NullSink(Tuning::Ours)),
    ("install from memory, 1 worker", Job::Memory(1)),
    ("install from memory, 2 workers", Job::Memory(2)),
    (MEMORY, Job::Memory(4)),
    ("install from memory, 8 workers", Job::Memory(8)),
    (FIO[0], Job::Fio(FIO_THREADS)),
    (FIO[1], Job::Fio(FIO_RING)),
    ("push with calls beside it", Job::PushAndCalls),
];

/// A job, and what its runs showed.
#[derive(Debug)]
pub(crate) struct Run {
    name: &'static str,
    pub(crate) job: Job,
    /// GB/s.
    pub(crate) speeds: Vec<f64>,
    pub(crate) latencies: Latencies,
}

/// The jobs whose name contains `only`.
pub(crate) fn runs(only: &str) -> Vec<Run> {
    let run = |&(name, job)| Run { name, job, speeds: Vec::new(), latencies: Latencies::default() };
    JOBS.iter().filter(|(name, _)| name.contains(only)).map(run).collect()
}

/// All tables.
pub(crate) fn markdown(runs: &[Run]) -> String {
    let mut lines = vec!["| job | GB/s: median (min - max) |".to_owned(), "| --- | --- |".to_owned()];
    lines.extend(runs.iter().map(|run| format!("| {} | {} |", run.name, spread(&run.speeds))));
    lines.extend(["", "| figure | seen: median (min - max) | demand |", "| --- | --- | --- |"].map(str::to_owned));
    let speeds = |name| runs.iter().find(|run| run.name == name).map_or(&[][..], |run| &run.speeds);
    let fio: Vec<_> = speeds(FIO[0]).iter().zip(speeds(FIO[1])).map(|(threads, ring)| threads.max(*ring)).collect();
    let push = spread(&ratios(speeds(PUSH), speeds(NULL_SINK)));
    lines.push(format!("| F5: {PUSH} / {NULL_SINK} | {push} | >= 1.35 |"));
    let memory = spread(&ratios(speeds(MEMORY), &fio));
    lines.push(format!("| F5b: {MEMORY} / the better fio | {memory} | >= 0.8 |"));
    lines
        .extend(runs.iter().flat_map(|run| run.latencies.calls()).filter_map(|(call, taken)| latency_row(call, taken)));
    lines.join("\n") + "\n"
}

/// Round by round, because a machine is not equally fast in all of them.
fn ratios(ours: &[f64], theirs: &[f64]) -> Vec<f64> {
    ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect()
}

fn spread(values: &[f64]) -> String {
    let values = sorted(values.iter().copied());
    format!("{:.2} ({:.2} - {:.2})", at(&values, 50), at(&values, 0), at(&values, 100))
}

fn latency_row(call: &str, taken: &[Duration]) -> Option<String> {
    let millis = sorted(taken.iter().map(|taken| taken.as_secs_f64() * 1e3));
    let (p50, p99, most) = (at(&millis, 50), at(&millis, 99), at(&millis, 100));
    let seen = format!("p50 {p50:.1}, p99 {p99:.1}, max {most:.1} ms of {} calls", millis.len());
    (!millis.is_empty()).then(|| format!("| F16: {call} during a push | {seen} | p99 <= 50 ms |"))
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The value that so many percent of sorted values do not exceed.
fn at(sorted: &[f64], percent: usize) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last * percent).div_ceil(100)).copied().unwrap_or(f64::NAN)
}
