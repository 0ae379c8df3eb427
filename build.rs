//! Compiles `proto/` with protox, a protobuf compiler in Rust: no `protoc` is needed on the machine.

use std::path::PathBuf;

use prost::Message;

const PROTOS: &[&str] = &[
    "bms/agent/v1/host.proto",
    "bms/agent/v1/disk.proto",
    "bms/agent/v1/provisioning.proto",
    "bms/agent/v1/operation.proto",
    "google/longrunning/operations.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        // Bulk data is handed from the wire to the workers without another copy.
        .bytes(".bms.agent.v1.GroupData.payload")
        .extern_path(".google.rpc.Status", "::tonic_types::Status")
        .compile_fds(descriptors)?;
    Ok(())
}
