//! `bmsctl verify`

use bms_agent::image::hash::tree_of;
use bms_agent::image::source::{Input, OpenOptions};
use bms_agent::rpc::proto::v1::VerifyDiskRequest;
use uuid::Uuid;

use crate::cli::VerifyArgs;
use crate::connect::Agent;
use crate::disk::wire_selector;
use crate::error::CtlError;
use crate::exit::Exit;
use crate::operation::describe;
use crate::output::Output;
use crate::push::workers;
use crate::watch::{outcome, wait};

/// What the disk must hold: the hash of its first bytes, and how many; neither for the agent's own record.
#[derive(Debug, Default, PartialEq, Eq)]
struct Expected {
    root: Vec<u8>,
    size_bytes: u64,
}

/// Verifies a disk.
pub(crate) async fn run(args: &VerifyArgs, agent: &Agent, output: &Output) -> Result<Exit, CtlError> {
    let expected = expected(args, output)?;
    let request = VerifyDiskRequest {
        request_id: args.request_id.unwrap_or_else(Uuid::new_v4).to_string(),
        disk: Some(wire_selector(&args.disk)),
        root: expected.root,
        size_bytes: expected.size_bytes,
    };
    let operation = agent.disks().verify_disk(request).await?.into_inner();
    let operation = wait(agent, &operation.name, output).await?;
    output.result(&outcome(operation)?, describe)?;
    Ok(Exit::Done)
}

fn expected(args: &VerifyArgs, output: &Output) -> Result<Expected, CtlError> {
    if let Some(path) = &args.image {
        output.note(&format!("hashing {}", path.display()));
        let options = OpenOptions { format: args.format, len_bytes: args.size };
        let input = Input::open(path, &options).map_err(|source| CtlError::OpenImage { source })?;
        let group_size = input.group_size();
        let tree = tree_of(input, group_size, workers()).map_err(|source| CtlError::ReadImage { source })?;
        return Ok(Expected { root: tree.root().as_bytes().to_vec(), size_bytes: tree.layout().len_bytes() });
    }
    let root = args.root.map(|root| root.as_bytes().to_vec()).unwrap_or_default();
    Ok(Expected { root, size_bytes: args.size.unwrap_or_default() })
}
