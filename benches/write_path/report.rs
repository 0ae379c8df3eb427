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
const JOBS: &[(&str, Job)] = &[
    (PUSH, Job::Push),
    (NULL_SINK, Job::NullSink(Tuning::Defaults)),
    ("null sink, our windows and frames", Job::NullSink(Tuning::Ours)),
    ("install from memory, 1 worker", Job::Memory(1)),
    ("install from memory, 2 workers", Job::Memory(2)),
    (MEMORY, Job::Memory(4)),
    ("install from memory, 8 workers", Job::Memory(8)),
    ("fio psync, 4 threads of 4 MiB", Job::Fio(FIO_THREADS)),
    ("fio io_uring, 8 x 4 MiB", Job::Fio(FIO_RING)),
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
    lines.extend(runs.iter().map(Run::speed_row));
    lines.extend(["", "| figure | seen | demand |", "| --- | --- | --- |"].map(str::to_owned));
    let best_fio = runs.iter().filter(|run| matches!(run.job, Job::Fio(_))).map(Run::median).fold(f64::NAN, f64::max);
    let median = |name| runs.iter().find(|run| run.name == name).map_or(f64::NAN, Run::median);
    lines.push(format!("| F5: {PUSH} / {NULL_SINK} | {:.2} | >= 1.35 |", median(PUSH) / median(NULL_SINK)));
    lines.push(format!("| F5b: {MEMORY} / fio's best | {:.2} | >= 0.8 |", median(MEMORY) / best_fio));
    lines
        .extend(runs.iter().flat_map(|run| run.latencies.calls()).filter_map(|(call, taken)| latency_row(call, taken)));
    lines.join("\n") + "\n"
}

fn latency_row(call: &str, taken: &[Duration]) -> Option<String> {
    let millis = sorted(taken.iter().map(|taken| taken.as_secs_f64() * 1e3));
    let (p50, p99, most) = (at(&millis, 50), at(&millis, 99), at(&millis, 100));
    let seen = format!("p50 {p50:.1}, p99 {p99:.1}, max {most:.1} ms of {} calls", millis.len());
    (!millis.is_empty()).then(|| format!("| F16: {call} during a push | {seen} | p99 <= 50 ms |"))
}

impl Run {
    fn speed_row(&self) -> String {
        let speeds = sorted(self.speeds.iter().copied());
        let (least, median, most) = (at(&speeds, 0), at(&speeds, 50), at(&speeds, 100));
        format!("| {} | {median:.2} ({least:.2} - {most:.2}) |", self.name)
    }

    fn median(&self) -> f64 {
        at(&sorted(self.speeds.iter().copied()), 50)
    }
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
