//! `HostService`.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::blocking;
use super::proto::v1;
use super::proto::v1::host_service_server::HostService;
use crate::agent::Agent;
use crate::hardware::{HostFacts, host_facts};

/// Answers from sysfs, procfs and DMI.
#[derive(Debug)]
pub(super) struct HostHandler(pub(super) Arc<Agent>);

#[tonic::async_trait]
impl HostService for HostHandler {
    async fn get_host(&self, _: Request<v1::GetHostRequest>) -> Result<Response<v1::GetHostResponse>, Status> {
        let agent = self.0.clone();
        let facts = blocking(move || Ok::<_, crate::agent::AgentError>(host_facts(&agent.discovery.roots))).await?;
        Ok(Response::new(v1::GetHostResponse { host: Some(view(facts)) }))
    }
}
