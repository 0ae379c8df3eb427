//! `bmsctl repository`: making, checking, counting and tidying up a repository, without an agent.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bms_agent::clock::{Clock as _, SystemClock};
use bms_agent::repository::{
    Amount, CheckReport, Collect, Depth, Fates, Format, GcReport, Repository, RepositoryError, Settings, Severity,
    Stats, Work,
};

use crate::cli::{CheckArgs, GcArgs, InitArgs, RepositoryArgs, RepositoryCommand};
use crate::error::CtlError;
use crate::exit::Exit;
use crate::format::{bytes, duration};
use crate::meter::{self, Reading};
use crate::output::Output;
use crate::settings::resolve;
use crate::table::Fields;
use crate::view::{CheckView, FormatView, GcView, StatsView};

/// Runs a command on a repository.
pub(crate) fn run(command: &RepositoryCommand, output: &Output) -> Result<Exit, CtlError> {
    match command {
        RepositoryCommand::Init(args) => init(args, output),
        RepositoryCommand::Check(args) => check(args, output),
        RepositoryCommand::Stats(args) => stats(args, output),
        RepositoryCommand::Gc(args) => collect(args, output),
    }
}

/// Runs something on the connections of a repository.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, CtlError>>) -> Result<T, CtlError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|source| CtlError::Runtime { source })?.block_on(work)
}

/// Opens a repository and does something with it whose progress is shown.
pub(crate) fn work_on<T, F>(
    args: &RepositoryArgs,
    output: &Output,
    what: &'static str,
    work: impl FnOnce(Arc<Repository>, Arc<Work>) -> F,
) -> Result<T, CtlError>
where
    F: Future<Output = Result<T, RepositoryError>>,
{
    let settings: Settings = resolve(args)?;
    block_on(async {
        let repository = Arc::new(Repository::open(&settings).await?);
        let counts = Arc::new(Work::default());
        let shown = meter::show(output, what, {
            let counts = counts.clone();
            move || reading(&counts)
        });
        let result = work(repository, counts).await;
        drop(shown);
        Ok(result?)
    })
}

fn reading(work: &Work) -> Reading {
    let proven = if work.bytes() > 0 { format!(", {} proven", bytes(work.bytes())) } else { String::new() };
    let message = format!("{} of {} steps{proven}", work.done(), work.total());
    Reading { done: work.done(), total: Some(work.total()), message }
}

fn init(args: &InitArgs, output: &Output) -> Result<Exit, CtlError> {
    let settings = resolve(&args.repository)?;
    let wanted = Format {
        chunk_size_bytes: args.chunk_size.bytes(),
        grace_seconds: args.grace.as_secs(),
        max_private_images: args.max_private_images,
        ..Format::default()
    };
    let repository = block_on(async { Ok(Repository::init(&settings, wanted).await?) })?;
    output.result(&FormatView::new(repository.location(), repository.format()), format_table)?;
    Ok(Exit::Done)
}

fn format_table(view: &FormatView) -> String {
    let claims = if view.conditional_puts {
        "enforced, also between writers at the same moment"
    } else {
        "not enforced between writers at the same moment: the store knows no conditional puts"
    };
    Fields::new()
        .field("repository", &view.location)
        .field("chunks", &bytes(view.chunk_size_bytes))
        .field("grace", &duration(Duration::from_secs(view.grace_seconds)))
        .field("private images", &format!("at most {} of a project, {claims}", view.max_private_images))
        .into_text()
}

fn check(args: &CheckArgs, output: &Output) -> Result<Exit, CtlError> {
    let depth = if args.deep { Depth::Content } else { Depth::Objects };
    let report =
        work_on(
            &args.repository,
            output,
            "check",
            |repository, work| async move { repository.check(depth, &work).await },
        )?;
    output.result(&CheckView::from(&report), check_table)?;
    Ok(verdict(&report))
}

/// What the shell is told of a check: what only looks odd while others write is no error.
pub(crate) fn verdict(report: &CheckReport) -> Exit {
    match report.worst() {
        None | Some(Severity::Note) => Exit::Done,
        Some(Severity::Index | Severity::Damage) => Exit::Mismatch,
    }
}

/// A report for people.
pub(crate) fn check_table(view: &CheckView) -> String {
    let proven = (view.proven_bytes > 0).then(|| bytes(view.proven_bytes));
    let counted = Fields::new()
        .field("images", &view.images.to_string())
        .field("chunks", &format!("{}, {}", view.chunks.objects, bytes(view.chunks.bytes)))
        .field("unreferenced", &format!("{}, {}", view.unreferenced.objects, bytes(view.unreferenced.bytes)))
        .maybe("proven", proven.as_deref())
        .field("problems", &(view.problems.len() as u64 + view.more_problems).to_string())
        .into_text();
    let problem = |problem: &crate::view::ProblemView| {
        format!("\n{}: {}\n  {}\n  {}\n", problem.kind, problem.object, problem.detail, problem.advice)
    };
    let problems: String = view.problems.iter().map(problem).collect();
    format!("{counted}\n{problems}")
}

fn stats(args: &RepositoryArgs, output: &Output) -> Result<Exit, CtlError> {
    let stats = work_on(args, output, "count", |repository, work| async move { repository.stats(&work).await })?;
    output.result(&StatsView::from(&stats), |_view| stats_table(&stats))?;
    Ok(Exit::Done)
}

fn stats_table(stats: &Stats) -> String {
    let ratio = |ratio: Option<f64>| ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
    Fields::new()
        .field("images", &stats.images.to_string())
        .field("disks", &bytes(stats.logical_bytes))
        .field("data", &bytes(stats.data_bytes))
        .field("kept once", &format!("{}, deduplication {}", bytes(stats.unique_bytes), ratio(stats.dedup_ratio())))
        .field("stored", &format!("{}, compression {}", amount(stats.live), ratio(stats.compression_ratio())))
        .field(
            "unreferenced",
            &format!("{}, of which condemned {}", amount(stats.unreferenced), amount(stats.condemned)),
        )
        .into_text()
}

fn amount(amount: Amount) -> String {
    format!("{} in {} objects", bytes(amount.bytes), amount.objects)
}

fn collect(args: &GcArgs, output: &Output) -> Result<Exit, CtlError> {
    let mode = if args.dry_run { Collect::DryRun { now: SystemClock.now() } } else { Collect::ForReal };
    let report =
        work_on(
            &args.repository,
            output,
            "gc",
            |repository, work| async move { repository.collect(mode, &work).await },
        )?;
    output.result(&GcView::new(&report, args.dry_run), |_view| gc_table(&report, args.dry_run))?;
    Ok(Exit::Done)
}

fn gc_table(report: &GcReport, dry_run: bool) -> String {
    let fields = Fields::new().field("images", &report.images.to_string()).field("live", &amount(report.live));
    let fates = |fields: Fields, name: &str, fates: &Fates| {
        let kinds = [
            ("too young", fates.young),
            ("condemned now", fates.condemned),
            ("wait for the grace", fates.waiting),
            ("wait for a writer", fates.held),
            (if dry_run { "would be deleted" } else { "deleted" }, fates.deleted),
        ];
        let parts = kinds.into_iter().filter(|(_, part)| part.objects > 0);
        let text = parts.map(|(kind, part)| format!("{} {kind}", amount(part))).collect::<Vec<_>>().join("; ");
        fields.field(name, if text.is_empty() { "none" } else { &text })
    };
    let fields = fates(fields, "unreferenced", &report.chunks);
    fates(fields, "leftovers", &report.leftovers).into_text()
}
