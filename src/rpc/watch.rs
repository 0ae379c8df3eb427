//! `OperationService`.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::proto::v1;
use super::proto::v1::operation_service_server::OperationService;
use super::{convert, refuse, view};
use crate::agent::Agent;
use crate::operation::Snapshot;

/// States that wait for a watcher. One that reads slowly misses states, but never the last.
const WAITING_STATES: usize = 4;

/// Shows operations as they go on.
#[derive(Debug)]
pub(super) struct WatchHandler(pub(super) Arc<Agent>);

#[tonic::async_trait]
impl OperationService for WatchHandler {
    type WatchOperationStream = ReceiverStream<Result<v1::WatchOperationResponse, Status>>;

    async fn watch_operation(
        &self,
        request: Request<v1::WatchOperationRequest>,
    ) -> Result<Response<Self::WatchOperationStream>, Status> {
        let v1::WatchOperationRequest { name, after_sequence } = request.into_inner();
        let name = convert::operation_name(&name).map_err(|error| refuse(&error))?;
        let operation = self.0.registry.find(name).map_err(|error| refuse(&error))?;
        let (answer, answers) = mpsc::channel(WAITING_STATES);
        tokio::spawn(async move {
            let mut states = operation.watch();
            let mut seen = after_sequence;
            loop {
                let is_news = |state: &Arc<Snapshot>| state.sequence > seen || state.is_done();
                let news = async { states.wait_for(is_news).await.map(|state| state.clone()) };
                let snapshot = tokio::select! {
                    Ok(snapshot) = news => snapshot,
                    // Gone at once: an operation that stands still would keep all who ever watched it.
                    () = answer.closed() => return,
                    else => return,
                };
                seen = snapshot.sequence;
                let state = v1::WatchOperationResponse {
                    sequence: snapshot.sequence,
                    operation: Some(view::operation(&operation, &snapshot)),
                };
                if answer.send(Ok(state)).await.is_err() || snapshot.is_done() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}
