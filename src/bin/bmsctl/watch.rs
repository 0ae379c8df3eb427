//! Following an operation until it is done.

use bms_agent::rpc::proto::longrunning::{CancelOperationRequest, Operation, operation};
use bms_agent::rpc::proto::v1::WatchOperationRequest;

use crate::connect::Agent;
use crate::error::{CtlError, Failure};
use crate::interrupt::Interrupts;
use crate::output::Output;
use crate::progress::Progress;
use crate::view::OperationView;

/// Follows an operation, shows each of its states to `each`, and gives the last one.
pub(crate) async fn follow(
    agent: &Agent,
    name: &str,
    mut each: impl FnMut(&Operation) -> Result<(), CtlError>,
) -> Result<Operation, CtlError> {
    let request = WatchOperationRequest { name: name.to_owned(), after_sequence: 0 };
    let mut states = agent.watches().watch_operation(request).await?.into_inner();
    while let Some(state) = states.message().await? {
        let operation = state.operation.ok_or(CtlError::Answer { what: "a state without an operation" })?;
        each(&operation)?;
        if operation.done {
            return Ok(operation);
        }
    }
    Err(CtlError::Answer { what: "the watch ended before the operation" })
}

/// Waits for an operation of ours and shows its progress. The first interrupt cancels it, the second gives up waiting.
pub(crate) async fn wait(agent: &Agent, name: &str, output: &Output) -> Result<Operation, CtlError> {
    let mut interrupts = Interrupts::listen()?;
    let progress = Progress::start(agent, name, output);
    let mut end = Box::pin(follow(agent, name, |_state| Ok(())));
    let mut cancelling = false;
    let ended = loop {
        tokio::select! {
            ended = &mut end => break ended,
            () = interrupts.next() => {
                if cancelling {
                    break Err(CtlError::Abandoned { operation: name.to_owned() });
                }
                cancelling = true;
                output.note("cancelling (interrupt again to stop waiting)");
                cancel(agent, name, output).await;
            }
        }
    };
    if let Some(progress) = progress {
        progress.stop().await;
    }
    ended
}

/// Asks the agent to cancel. Who calls goes on waiting: the agent says how the operation ended, whatever it says to this.
pub(crate) async fn cancel(agent: &Agent, name: &str, output: &Output) {
    let request = CancelOperationRequest { name: name.to_owned() };
    if let Err(status) = agent.operations().cancel_operation(request).await {
        output.note(&format!("the agent did not take the cancel: {}", status.message()));
    }
}

/// The view of an operation that is done, or its error.
pub(crate) fn outcome(operation: Operation) -> Result<OperationView, CtlError> {
    if let Some(operation::Result::Error(status)) = &operation.result {
        return Err(CtlError::operation(&operation.name, Failure::of_operation(status)));
    }
    let view = OperationView::new(operation)?;
    if view.result.is_none() {
        return Err(CtlError::Answer { what: "an operation that is done, but has no result" });
    }
    Ok(view)
}
