//! `bmsctl host`

use bms_agent::rpc::proto::v1::GetHostRequest;

use crate::cli::{HostCommand, OutputFormat, ShowHostArgs};
use crate::connect::Agent;
use crate::error::CtlError;
use crate::exit::Exit;
use crate::format::bytes;
use crate::inventory::{sections, shown};
use crate::output::Output;
use crate::table::Fields;
use crate::view::HostView;

/// Runs a command on the server.
pub(crate) async fn run(command: &HostCommand, agent: &Agent, output: &Output) -> Result<Exit, CtlError> {
    match command {
        HostCommand::Show(args) => show(args, agent, output).await,
    }
}

/// Programs are given all of the hardware: what they keep is what a server is known by where it cannot be asked.
async fn show(args: &ShowHostArgs, agent: &Agent, output: &Output) -> Result<Exit, CtlError> {
    let full = args.full || args.serials || output.format() == OutputFormat::Json;
    let request = GetHostRequest { full, serials: args.serials };
    let answer = agent.hosts().get_host(request).await?.into_inner();
    let host = answer.host.ok_or(CtlError::Answer { what: "an answer without a host" })?;
    output.result(&HostView::from(host), table)?;
    Ok(Exit::Done)
}

fn table(host: &HostView) -> String {
    let fields = Fields::new().some("model", host.model.as_deref());
    match &host.inventory {
        Some(inventory) => {
            let fields = system(fields.field("generation", &shown(&inventory.generation)), host);
            format!("{}\n\n{}", fields.into_text(), sections(inventory))
        }
        None => system(hardware(fields, host), host).into_text(),
    }
}

/// The hardware in short.
fn hardware(fields: Fields, host: &HostView) -> Fields {
    let model = &host.hardware_model;
    fields
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
}

/// The system that runs.
fn system(fields: Fields, host: &HostView) -> Fields {
    fields
        .field("host name", &host.hostname)
        .field("kernel", &host.kernel_release)
        .field("boot id", &host.boot_id)
        .field("agent", &host.agent_version)
}
