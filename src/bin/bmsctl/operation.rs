//! `bmsctl operation`

use std::time::Duration;

use bms_agent::rpc::proto::longrunning::{
    CancelOperationRequest, DeleteOperationRequest, GetOperationRequest, ListOperationsRequest, Operation,
};
use serde::Serialize;

use crate::cli::{OperationCommand, OutputFormat};
use crate::connect::Agent;
use crate::error::CtlError;
use crate::exit::Exit;
use crate::format::{bytes, duration, rate, to_the_second};
use crate::output::Output;
use crate::progress::Reporter;
use crate::table::{Fields, or_dash, table};
use crate::view::{OperationView, ProgressView};
use crate::watch::follow;

/// Operations asked for at once.
const PAGE: i32 = 1000;

/// The document of `operation list`.
#[derive(Debug, Serialize)]
struct OperationsView {
    operations: Vec<OperationView>,
}

/// Runs a command on operations.
pub(crate) async fn run(command: &OperationCommand, agent: &Agent, output: &Output) -> Result<Exit, CtlError> {
    match command {
        OperationCommand::List => list(agent, output).await,
        OperationCommand::Show(args) => show(&args.name, agent, output).await,
        OperationCommand::Watch(args) => watch(&args.name, agent, output).await,
        OperationCommand::Cancel(args) => cancel(&args.name, agent, output).await,
        OperationCommand::Delete(args) => delete(&args.name, agent, output).await,
    }
}

async fn list(agent: &Agent, output: &Output) -> Result<Exit, CtlError> {
    let mut operations = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListOperationsRequest { page_size: PAGE, page_token, ..ListOperationsRequest::default() };
        let page = agent.operations().list_operations(request).await?.into_inner();
        for operation in page.operations {
            operations.push(OperationView::new(operation)?);
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    output.result(&OperationsView { operations }, |view| list_table(&view.operations))?;
    Ok(Exit::Done)
}

async fn show(name: &str, agent: &Agent, output: &Output) -> Result<Exit, CtlError> {
    let request = GetOperationRequest { name: name.to_owned() };
    let operation = agent.operations().get_operation(request).await?.into_inner();
    output.result(&OperationView::new(operation)?, describe)?;
    Ok(Exit::Done)
}

/// Follows an operation of whoever began it: an interrupt ends this process and nothing else.
async fn watch(name: &str, agent: &Agent, output: &Output) -> Result<Exit, CtlError> {
    let view = match output.format() {
        OutputFormat::Json => {
            let each = |state: &Operation| output.json_line(&OperationView::new(state.clone())?);
            OperationView::new(follow(agent, name, each).await?)?
        }
        OutputFormat::Table => {
            let mut reporter = Reporter::new(output);
            let each = |state: &Operation| {
                if let Some(reporter) = &mut reporter {
                    reporter.report(state);
                }
                Ok(())
            };
            let view = OperationView::new(follow(agent, name, each).await?)?;
            drop(reporter);
            output.result(&view, describe)?;
            view
        }
    };
    Ok(view.error.map_or(Exit::Done, |error| error.exit))
}

async fn cancel(name: &str, agent: &Agent, output: &Output) -> Result<Exit, CtlError> {
    agent.operations().cancel_operation(CancelOperationRequest { name: name.to_owned() }).await?;
    let request = GetOperationRequest { name: name.to_owned() };
    let operation = agent.operations().get_operation(request).await?.into_inner();
    output.note(&format!("{name} {}", if operation.done { "has ended" } else { "was asked to cancel" }));
    output.result(&OperationView::new(operation)?, describe)?;
    Ok(Exit::Done)
}

/// Shows what is forgotten: it is the last time.
async fn delete(name: &str, agent: &Agent, output: &Output) -> Result<Exit, CtlError> {
    let request = GetOperationRequest { name: name.to_owned() };
    let operation = agent.operations().get_operation(request).await?.into_inner();
    agent.operations().delete_operation(DeleteOperationRequest { name: name.to_owned() }).await?;
    output.note(&format!("{name} is forgotten"));
    output.result(&OperationView::new(operation)?, describe)?;
    Ok(Exit::Done)
}

fn list_table(operations: &[OperationView]) -> String {
    let rows = operations.iter().map(|operation| {
        [
            // Any command takes it without the collection, too.
            operation.name.strip_prefix("operations/").unwrap_or(&operation.name).to_owned(),
            or_dash(operation.kind.as_deref()),
            operation.disk.clone(),
            state(operation),
            format!("{} of {}", bytes(seen_bytes(operation)), bytes(operation.progress.total_bytes)),
            or_dash(operation.started_at.as_deref().map(to_the_second).as_deref()),
            or_dash(lasted(operation).map(duration).as_deref()),
        ]
    });
    table(["name", "kind", "disk", "state", "verified or read", "started", "took"], rows)
}

/// The stage, or how it ended.
fn state(operation: &OperationView) -> String {
    match &operation.error {
        Some(error) => error.reason.clone().unwrap_or_else(|| "failed".to_owned()),
        None if operation.done => "done".to_owned(),
        None if operation.cancel_requested => "cancelling".to_owned(),
        None => operation.stage.as_deref().unwrap_or("waiting").replace('_', " "),
    }
}

/// All of an operation; also what `install`, `verify` and `capture` print when they are done.
pub(crate) fn describe(operation: &OperationView) -> String {
    let progress = &operation.progress;
    let mut fields = Fields::new()
        .field("operation", &operation.name)
        .some("kind", operation.kind.as_deref())
        .field("disk", &operation.disk)
        .field("state", &state(operation));
    if let Some(result) = &operation.result {
        fields = fields.field("root", &result.root).field("size", &bytes(result.size_bytes));
    }
    if operation.kind.as_deref() == Some("install") {
        fields = fields
            .field("received", &received(progress))
            .field("present", &bytes(progress.present_bytes))
            .field("holes", &bytes(progress.hole_bytes))
            .field("written", &bytes(progress.written_bytes));
    }
    let capture = is_capture(operation);
    if capture {
        let image = operation.result.as_ref().and_then(|result| result.captured.as_ref()?.image_id.as_deref());
        fields = fields
            .maybe("image", image)
            .field("holes", &bytes(progress.hole_bytes))
            .field("present", &bytes(progress.present_bytes))
            .field("new", &format!("{} ({} compressed)", bytes(progress.uploaded_bytes), bytes(progress.wire_bytes)));
    }
    let seen = format!("{} of {}", bytes(seen_bytes(operation)), bytes(progress.total_bytes));
    fields = fields
        .field(if capture { "read" } else { "verified" }, &seen)
        .some("started", operation.started_at.as_deref().map(to_the_second).as_deref())
        .maybe("took", took(operation).as_deref());
    if !operation.done {
        fields = fields.field("rate", &rate(operation.rate_bytes_per_second));
    }
    for warning in operation.result.iter().flat_map(|result| &result.warnings) {
        fields = fields.field("warning", warning);
    }
    if let Some(error) = &operation.error {
        fields = fields.field("error", &error.message).maybe("hint", error.hint);
    }
    fields.into_text()
}

fn is_capture(operation: &OperationView) -> bool {
    operation.kind.as_deref() == Some("capture")
}

/// Bytes that were read and found right; of a capture, read.
fn seen_bytes(operation: &OperationView) -> u64 {
    if is_capture(operation) { operation.progress.read_bytes } else { operation.progress.verified_bytes }
}

/// Content that came, and how much of the wire it took if it was compressed.
fn received(progress: &ProgressView) -> String {
    let received = bytes(progress.received_bytes);
    if progress.wire_bytes == progress.received_bytes {
        return received;
    }
    format!("{received} ({} on the wire)", bytes(progress.wire_bytes))
}

/// How long it took, once done.
fn lasted(operation: &OperationView) -> Option<Duration> {
    operation.duration_milliseconds.map(Duration::from_millis)
}

/// How long it took, and how much of the image that is a second, unless it ended before its end.
fn took(operation: &OperationView) -> Option<String> {
    let time = lasted(operation)?;
    if operation.error.is_some() {
        return Some(duration(time));
    }
    let per_second = u128::from(operation.progress.total_bytes) * 1000 / time.as_millis().max(1);
    let per_second = u64::try_from(per_second).unwrap_or(u64::MAX);
    Some(format!("{} ({})", duration(time), rate(per_second)))
}

#[cfg(test)]
mod tests {
    use super::{describe, list_table, received, took};
    use crate::view::ProgressView;
    use crate::view::operation_tests::view;

    #[test]
    fn a_running_install_shows_its_stage_and_bytes_by_kind() {
        let text = describe(&view());
        let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
        assert!(lines.contains(&"state      read back"), "{text}");
        assert!(lines.contains(&"verified   40 B of 100 B"), "{text}");
        assert!(lines.contains(&"received   0 B"), "{text}");
        assert!(!text.contains("took"), "{text}");
    }

    #[test]
    fn what_came_compressed_shows_what_it_took_of_the_wire() {
        let progress = ProgressView { received_bytes: 4 << 20, wire_bytes: 1 << 20, ..ProgressView::default() };
        assert_eq!(received(&progress), "4.0 MiB (1.0 MiB on the wire)");
    }

    #[test]
    fn the_time_taken_comes_with_the_mean_rate() {
        let mut view = view();
        view.progress.total_bytes = 4 << 30;
        view.duration_milliseconds = Some(2_000);
        assert_eq!(took(&view).as_deref(), Some("2.0 s (2.0 GiB/s)"));
    }

    #[test]
    fn the_list_names_how_an_operation_ended() {
        let mut done = view();
        done.done = true;
        let text = list_table(&[view(), done]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].contains("read back") && lines[2].contains("done"), "{text}");
    }
}
