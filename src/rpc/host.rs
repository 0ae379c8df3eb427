//! `HostService`.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::proto::v1;
use super::proto::v1::host_service_server::HostService;
use super::{blocking, convert, inspect, refuse};
use crate::agent::{Agent, Subject};
use crate::hardware::dmi::Dmi;
use crate::hardware::host::{BootMode, HostFacts, host_facts};

/// Answers from sysfs, procfs, DMI, and the files of the running system.
#[derive(Debug)]
pub(super) struct HostHandler(pub(super) Arc<Agent>);

#[tonic::async_trait]
impl HostService for HostHandler {
    async fn get_host(&self, _: Request<v1::GetHostRequest>) -> Result<Response<v1::GetHostResponse>, Status> {
        let agent = self.0.clone();
        let facts = blocking(move || Ok::<_, crate::agent::AgentError>(host_facts(&agent.discovery.roots))).await?;
        Ok(Response::new(v1::GetHostResponse { host: Some(view(facts)) }))
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

fn view(facts: HostFacts) -> v1::Host {
    let boot_mode = match facts.boot_mode {
        BootMode::Uefi => v1::BootMode::Uefi,
        BootMode::Bios => v1::BootMode::Bios,
    };
    v1::Host {
        agent_version: facts.agent_version.to_owned(),
        hostname: facts.hostname.unwrap_or_default(),
        architecture: facts.architecture.to_owned(),
        kernel_release: facts.kernel_release.unwrap_or_default(),
        boot_id: facts.boot_id.unwrap_or_default(),
        boot_mode: boot_mode.into(),
        hardware_model: Some(model(facts.dmi)),
        cpu_count: facts.cpu_count,
        memory_bytes: facts.memory_bytes,
    }
}

fn model(dmi: Dmi) -> v1::HardwareModel {
    v1::HardwareModel {
        sys_vendor: dmi.system.vendor.into_value(),
        product_name: dmi.system.product_name.into_value(),
        product_version: dmi.system.product_version.into_value(),
        board_vendor: dmi.board.vendor.into_value(),
        board_name: dmi.board.name.into_value(),
        bios_version: dmi.bios.version.into_value(),
    }
}
