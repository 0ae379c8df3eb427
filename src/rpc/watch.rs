//! `OperationService`.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::proto::v1;
use super::proto::v1::operation_service_server::OperationService;
use super::{refuse, view};
use crate::agent::Agent;

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
        let operation = self.0.registry.find(&name).map_err(|error| refuse(&error))?;
        let (answer, answers) = mpsc::channel(WAITING_STATES);
        tokio::spawn(async move {
            let mut states = operation.watch();
            let mut seen = after_sequence;
            // A watcher that went away is noticed at the next state, or at the end of the operation.
            loop {
                let Ok(snapshot) =
                    states.wait_for(|state| state.sequence > seen || state.is_done()).await.map(|s| s.clone())
                else {
                    return;
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
