//! `HostService`.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::proto::v1;
use super::proto::v1::host_service_server::HostService;
use super::{blocking, convert, inspect, inventory, refuse};
use crate::agent::{Agent, AgentError, Subject};
use crate::hardware::dmi::Dmi;
use crate::hardware::host::host_facts;
use crate::hardware::inventory::Inventory;

/// Answers from sysfs, procfs, DMI, and the files of the running system.
#[derive(Debug)]
pub(super) struct HostHandler(pub(super) Arc<Agent>);

#[tonic::async_trait]
impl HostService for HostHandler {
    async fn get_host(&self, request: Request<v1::GetHostRequest>) -> Result<Response<v1::GetHostResponse>, Status> {
        let (agent, request) = (self.0.clone(), request.into_inner());
        let host = blocking(move || Ok::<_, AgentError>(host(&agent, request))).await?;
        Ok(Response::new(v1::GetHostResponse { host: Some(host) }))
    }

    async fn inspect_host(
        &self,
        request: Request<v1::InspectHostRequest>,
    ) -> Result<Response<v1::InspectHostResponse>, Status> {
        let choice = convert::inspect_host_request(request.into_inner()).map_err(|error| refuse(&error))?;
        let inspection = inspect::inspect(self.0.clone(), Subject::Host, choice).await?;
        Ok(Response::new(v1::InspectHostResponse { inspection: Some(inspection) }))
    }
}

fn host(agent: &Agent, request: v1::GetHostRequest) -> v1::Host {
    let facts = host_facts(&agent.discovery.roots);
    let model = agent.aliases.resolve(&facts.model());
    let inventory = request.full.then(|| agent.survey.take()).map(|inventory| visible(inventory, request.serials));
    v1::Host {
        agent_version: facts.agent_version.to_owned(),
        hostname: facts.hostname.unwrap_or_default(),
        architecture: facts.architecture.to_owned(),
        kernel_release: facts.kernel_release.unwrap_or_default(),
        boot_id: facts.boot_id.unwrap_or_default(),
        boot_mode: v1::BootMode::from(facts.boot_mode).into(),
        hardware_model: Some(hardware_model(facts.dmi)),
        cpu_count: facts.cpu_count,
        memory_bytes: facts.memory_bytes,
        inventory: inventory.map(inventory::view),
        model: model.to_string(),
    }
}

/// What of an inventory the caller asked to see. Everybody with a role may see serials, which also tell disks apart.
fn visible(inventory: Inventory, serials: bool) -> Inventory {
    if serials { inventory } else { inventory.without_serials() }
}

fn hardware_model(dmi: Dmi) -> v1::HardwareModel {
    v1::HardwareModel {
        sys_vendor: dmi.system.vendor.into_value(),
        product_name: dmi.system.product_name.into_value(),
        product_version: dmi.system.product_version.into_value(),
        board_vendor: dmi.board.vendor.into_value(),
        board_name: dmi.board.name.into_value(),
        bios_version: dmi.bios.version.into_value(),
    }
}
