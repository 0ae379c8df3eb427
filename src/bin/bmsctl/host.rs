//! `bmsctl host`

use bms_agent::rpc::proto::v1::GetHostRequest;

use crate::cli::HostCommand;
use crate::connect::Agent;
use crate::error::CtlError;
use crate::exit::Exit;
use crate::format::bytes;
use crate::output::Output;
use crate::table::Fields;
use crate::view::HostView;

/// Runs a command on the server.
pub(crate) async fn run(command: &HostCommand, agent: &Agent, output: &Output) -> Result<Exit, CtlError> {
    match command {
        HostCommand::Show => show(agent, output).await,
    }
}

async fn show(agent: &Agent, output: &Output) -> Result<Exit, CtlError> {
    let answer = agent.hosts().get_host(GetHostRequest {}).await?.into_inner();
    let host = answer.host.ok_or(CtlError::Answer { what: "an answer without a host" })?;
    output.result(&HostView::from(host), table)?;
    Ok(Exit::Done)
}

fn table(host: &HostView) -> String {
    let model = &host.hardware_model;
    Fields::new()
        .some("vendor", model.sys_vendor.as_deref())
        .some("product", model.product_name.as_deref())
        .some("version", model.product_version.as_deref())
        .some("board vendor", model.board_vendor.as_deref())
        .some("board", model.board_name.as_deref())
        .some("firmware", model.bios_version.as_deref())
        .some("boot mode", host.boot_mode.as_deref())
        .field("architecture", &host.architecture)
        .field("CPUs", &host.cpu_count.to_string())
        .field("memory", &bytes(host.memory_bytes))
        .field("host name", &host.hostname)
        .field("kernel", &host.kernel_release)
        .field("boot id", &host.boot_id)
        .field("agent", &host.agent_version)
        .into_text()
}
