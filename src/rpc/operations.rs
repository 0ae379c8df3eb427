//! `google.longrunning.Operations`.

use std::sync::Arc;
use std::time::Duration;

use tonic::{Request, Response, Status};

use super::proto::longrunning::operations_server::Operations;
use super::proto::longrunning::{
    CancelOperationRequest, DeleteOperationRequest, GetOperationRequest, ListOperationsRequest, ListOperationsResponse,
    Operation, WaitOperationRequest,
};
use super::status::RequestError;
use super::{CALL_TIMEOUT, auth, blocking, convert, refuse, view};
use crate::agent::{Agent, AgentError};
use crate::operation;

const DEFAULT_PAGE: usize = 100;
const MAX_PAGE: usize = 1000;

/// Lists, shows, cancels and forgets operations.
#[derive(Debug)]
pub(super) struct OperationsHandler(pub(super) Arc<Agent>);

impl OperationsHandler {
    fn find(&self, name: &str) -> Result<Arc<operation::Operation>, Status> {
        let name = convert::operation_name(name).map_err(|error| refuse(&error))?;
        self.0.registry.find(name).map_err(|error| refuse(&error))
    }
}

fn shown(operation: &operation::Operation) -> Operation {
    view::operation(operation, &operation.snapshot())
}

#[tonic::async_trait]
impl Operations for OperationsHandler {
    async fn list_operations(
        &self,
        request: Request<ListOperationsRequest>,
    ) -> Result<Response<ListOperationsResponse>, Status> {
        let page = Page::of(request.get_ref()).map_err(|error| refuse(&error))?;
        let all = self.0.registry.list();
        // A page after one that was forgotten is no page: its end would look like the end of the list.
        let begin = match &page.after {
            None => 0,
            Some(name) => match all.iter().position(|operation| operation.name() == *name) {
                Some(last) => last + 1,
                None => return Err(refuse(&RequestError::of("page_token", "is of no operation that is still listed"))),
            },
        };
        let rest = all.iter().skip(begin);
        let fitting = rest.filter(|operation| page.done.is_none_or(|done| operation.snapshot().is_done() == done));
        let mut operations: Vec<_> = fitting.take(page.size + 1).collect();
        let more = operations.len() > page.size;
        operations.truncate(page.size);
        let next = operations.last().filter(|_| more).map(|last| last.name());
        Ok(Response::new(ListOperationsResponse {
            operations: operations.into_iter().map(|operation| shown(operation)).collect(),
            next_page_token: next.unwrap_or_default(),
        }))
    }

    async fn get_operation(&self, request: Request<GetOperationRequest>) -> Result<Response<Operation>, Status> {
        Ok(Response::new(shown(&*self.find(&request.get_ref().name)?)))
    }

    async fn delete_operation(&self, request: Request<DeleteOperationRequest>) -> Result<Response<()>, Status> {
        let operation = self.find(&request.get_ref().name)?;
        auth::check_owner(&request, &operation)?;
        let (agent, caller) = (self.0.clone(), auth::caller(&request));
        blocking(move || agent.delete(&operation, &caller)).await?;
        Ok(Response::new(()))
    }

    async fn cancel_operation(&self, request: Request<CancelOperationRequest>) -> Result<Response<()>, Status> {
        let operation = self.find(&request.get_ref().name)?;
        auth::check_owner(&request, &operation)?;
        if operation.snapshot().is_done() {
            return Ok(Response::new(()));
        }
        operation.cancel.cancel();
        tracing::info!(operation = operation.name(), "a caller cancelled");
        let (agent, caller) = (self.0.clone(), auth::caller(&request));
        blocking(move || {
            agent.note_cancel(&operation, &caller);
            Ok::<_, AgentError>(())
        })
        .await?;
        Ok(Response::new(()))
    }

    async fn wait_operation(&self, request: Request<WaitOperationRequest>) -> Result<Response<Operation>, Status> {
        let operation = self.find(&request.get_ref().name)?;
        let asked = request.get_ref().timeout.and_then(|timeout| Duration::try_from(timeout).ok());
        let limit = asked.unwrap_or(CALL_TIMEOUT).min(CALL_TIMEOUT);
        // Whether it ended or the time is over, the state then is the answer.
        drop(tokio::time::timeout(limit, operation.ended()).await);
        Ok(Response::new(shown(&operation)))
    }
}

/// What part of the list is asked for.
struct Page {
    size: usize,
    after: Option<String>,
    done: Option<bool>,
}

impl Page {
    fn of(request: &ListOperationsRequest) -> Result<Self, RequestError> {
        let mut errors = RequestError::default();
        let size = match usize::try_from(request.page_size) {
            Ok(0) => DEFAULT_PAGE,
            Ok(size) if size <= MAX_PAGE => size,
            _ => {
                errors.add("page_size", "must be from 0 to 1000");
                0
            }
        };
        let done = match request.filter.as_str() {
            "" => None,
            "done=true" => Some(true),
            "done=false" => Some(false),
            _ => {
                errors.add("filter", "must be `done=true`, `done=false` or empty");
                None
            }
        };
        if !matches!(request.name.as_str(), "" | "operations") {
            errors.add("name", "must be `operations` or empty");
        }
        let after = Some(request.page_token.clone()).filter(|token| !token.is_empty());
        if after.as_ref().is_some_and(|token| !token.starts_with("operations/")) {
            errors.add("page_token", "must be the next_page_token of a former page");
        }
        errors.check()?;
        Ok(Self { size, after, done })
    }
}
