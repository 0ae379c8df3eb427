//! `HostService`.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::blocking;
use super::proto::v1;
use super::proto::v1::host_service_server::HostService;
use crate::agent::Agent;
use crate::hardware::dmi::HardwareModel;
use crate::hardware::host::{BootMode, HostFacts, host_facts};

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
        hardware_model: Some(model(facts.model)),
        cpu_count: facts.cpu_count,
        memory_bytes: facts.memory_bytes,
    }
}

fn model(model: HardwareModel) -> v1::HardwareModel {
    v1::HardwareModel {
        sys_vendor: model.sys_vendor,
        product_name: model.product_name,
        product_version: model.product_version,
        board_vendor: model.board_vendor,
        board_name: model.board_name,
        bios_version: model.bios_version,
    }
}
