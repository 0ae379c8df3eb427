//! `bmsctl disk`

use bms_agent::disk::selector::Selector;
use bms_agent::rpc::proto::longrunning::ListOperationsRequest;
use bms_agent::rpc::proto::v1::{self, DiskSelector, ListDisksRequest};
use serde::Serialize;

use crate::cli::DiskCommand;
use crate::connect::Agent;
use crate::error::CtlError;
use crate::exit::Exit;
use crate::format::bytes;
use crate::output::Output;
use crate::table::{or_dash, table};
use crate::view::DiskView;

/// The document of `disk list`.
#[derive(Debug, Serialize)]
struct DisksView {
    disks: Vec<DiskView>,
}

/// Runs a command on disks.
pub(crate) async fn run(command: &DiskCommand, agent: &Agent, output: &Output) -> Result<Exit, CtlError> {
    match command {
        DiskCommand::List => list(agent, output).await,
    }
}

async fn list(agent: &Agent, output: &Output) -> Result<Exit, CtlError> {
    let answer = agent.disks().list_disks(ListDisksRequest {}).await?.into_inner();
    let disks = DisksView { disks: answer.disks.into_iter().map(DiskView::from).collect() };
    let running = running(agent).await?;
    output.result(&disks, |view| list_table(&view.disks, &running))?;
    Ok(Exit::Done)
}

/// Names of the operations that run: a disk that one of them writes has a marker, and is not interrupted. No more of them
/// run at once than stand on one page.
async fn running(agent: &Agent) -> Result<Vec<String>, CtlError> {
    let request = ListOperationsRequest { filter: "done=false".to_owned(), ..ListOperationsRequest::default() };
    let page = agent.operations().list_operations(request).await?.into_inner();
    Ok(page.operations.into_iter().map(|operation| operation.name).collect())
}

fn list_table(disks: &[DiskView], running: &[String]) -> String {
    let header = ["name", "size", "block", "transport", "model", "serial", "partitions", "state"];
    let rows = disks.iter().map(|disk| {
        [
            disk.name.clone(),
            bytes(disk.size_bytes),
            disk.logical_block_size_bytes.to_string(),
            or_dash(disk.transport.as_deref()),
            or_dash(disk.model.as_deref().or(disk.backing_file.as_deref())),
            or_dash(disk.serial.as_deref().or(disk.wwn.as_deref())),
            partitions(disk),
            state(disk, running),
        ]
    });
    table(header, rows)
}

fn partitions(disk: &DiskView) -> String {
    match &disk.partition_table {
        Some(table) => format!("{table}, {}", disk.partitions.len()),
        None => or_dash(None),
    }
}

/// Why it cannot be written, or what is wrong with what it holds.
fn state(disk: &DiskView, running: &[String]) -> String {
    let mut state: Vec<String> = disk.refusals.iter().map(|refusal| refusal.detail.clone()).collect();
    if let Some(install) = &disk.interrupted_install {
        let reason = install.reason.as_deref().unwrap_or("killed");
        state.push(if running.contains(&install.operation) {
            format!("written by {}", install.operation)
        } else {
            format!("install interrupted ({reason})")
        });
    }
    if state.is_empty() { "free".to_owned() } else { state.join("; ") }
}

/// The selector as the agent takes it.
pub(crate) fn wire_selector(selector: &Selector) -> DiskSelector {
    DiskSelector {
        serial: selector.serial.clone(),
        wwn: selector.wwn.clone(),
        by_path: selector.by_path.clone(),
        name: selector.name.clone(),
        model: selector.model.clone(),
        transport: selector.transport.map_or(v1::Transport::Unspecified, v1::Transport::from).into(),
        rotational: selector.rotational,
        size_bytes: selector.size_bytes,
        min_size_bytes: selector.min_size_bytes,
        logical_block_size_bytes: selector.logical_block_size,
        diskseq: selector.diskseq,
        backing_file: selector.backing_file.clone(),
    }
}

#[cfg(test)]
mod tests {
    use bms_agent::disk::selector::Selector;
    use bms_agent::rpc::proto::v1;

    use super::{list_table, wire_selector};
    use crate::view::{DiskView, disk_tests};

    #[test]
    fn every_field_of_a_selector_is_sent() {
        let text = "serial=A,wwn=eui.1,by-path=pci-1,name=sda,model=M,transport=sas,rotational=yes,size=4096,\
                    min-size=512,block-size=512,diskseq=7,backing-file=/a";
        let selector: Selector = text.parse().expect("a selector");
        let expected = v1::DiskSelector {
            serial: Some("A".to_owned()),
            wwn: Some("eui.1".to_owned()),
            by_path: Some("pci-1".to_owned()),
            name: Some("sda".to_owned()),
            model: Some("M".to_owned()),
            transport: v1::Transport::Sas.into(),
            rotational: Some(true),
            size_bytes: Some(4096),
            min_size_bytes: Some(512),
            logical_block_size_bytes: Some(512),
            diskseq: Some(7),
            backing_file: Some("/a".to_owned()),
        };
        assert_eq!(wire_selector(&selector), expected);
    }

    #[test]
    fn the_list_says_why_a_disk_cannot_be_written_and_what_is_wrong_with_it() {
        let disks = [DiskView::from(disk_tests::disk()), DiskView::from(v1::Disk::default())];
        let text = list_table(&disks, &[]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].trim_start().starts_with("NAME "), "{text}");
        assert!(lines[1].ends_with("nvme0n1p1 on /srv; install interrupted (killed)"), "{text}");
        assert!(lines[1].contains("5.0 GiB") && lines[1].contains("gpt, 1"), "{text}");
        assert!(lines[2].ends_with("free"), "{text}");
        let text = list_table(&disks, &["operations/3".to_owned()]);
        assert!(text.contains("nvme0n1p1 on /srv; written by operations/3\n"), "{text}");
    }
}
