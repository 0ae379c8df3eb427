//! Compiles `proto/` with protox, a protobuf compiler in Rust: no `protoc` is needed on the machine. Computes the
//! chaining values of zeroes, so that no hole of a usual image has to be hashed on a server. Lists the methods that are
//! served, so that one without a role does not compile.

use std::fmt::Write as _;
use std::path::PathBuf;

use blake3::hazmat::HasherExt;
use prost::Message;

const PROTOS: &[&str] = &[
    "bms/agent/v1/compatibility.proto",
    "bms/agent/v1/host.proto",
    "bms/agent/v1/inspection.proto",
    "bms/agent/v1/inventory.proto",
    "bms/agent/v1/disk.proto",
    "bms/agent/v1/provisioning.proto",
    "bms/agent/v1/operation.proto",
    "google/longrunning/operations.proto",
];

/// What is served beside `PROTOS`, by tonic-health and tonic-reflection; `src/rpc/method.rs` holds it against their descriptors.
const BESIDES: &[(&str, &str)] = &[
    ("grpc.health.v1.Health", "Check"),
    ("grpc.health.v1.Health", "Watch"),
    ("grpc.reflection.v1.ServerReflection", "ServerReflectionInfo"),
];

/// Bytes of zeroes that one entry of the table is for, and of all entries; `src/image/zero.rs` reads it.
const ZERO_BLOCK_BYTES: usize = 4 << 20;
const ZERO_TABLE_BYTES: usize = 32 << 30;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("zero_blocks.bin"), zero_table())?;
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    std::fs::write(out.join("methods.rs"), methods(&descriptors)?)?;
    tonic_prost_build::configure()
        // Bulk data is handed from the wire to the workers without another copy.
        .bytes(".bms.agent.v1.GroupData.payload")
        .bytes(".bms.agent.v1.CapturedGroups.payload")
        // The digest of a request is over its bytes, which must not change with the order of a hash map.
        .btree_map(".bms.agent.v1.CaptureImageRequest.labels")
        .extern_path(".google.rpc.Status", "::tonic_types::Status")
        .compile_fds(descriptors)?;
    Ok(())
}

/// `enum Method`, with a variant for each method of each service.
fn methods(descriptors: &prost_types::FileDescriptorSet) -> Result<String, std::fmt::Error> {
    let mut all: Vec<(String, String)> = Vec::new();
    for file in &descriptors.file {
        for service in &file.service {
            let name = format!("{}.{}", file.package(), service.name());
            all.extend(service.method.iter().map(|method| (name.clone(), method.name().to_owned())));
        }
    }
    all.extend(BESIDES.iter().map(|&(service, method)| (service.to_owned(), method.to_owned())));
    let (mut variants, mut list, mut paths, mut names) = (String::new(), String::new(), String::new(), String::new());
    for (service, method) in all {
        let variant = format!("{}{method}", service.rsplit('.').next().unwrap_or_default());
        let path = format!("/{service}/{method}");
        writeln!(variants, "    /// `{path}`\n    {variant},")?;
        writeln!(list, "        Self::{variant},")?;
        writeln!(paths, "            Self::{variant} => {path:?},")?;
        writeln!(names, "            {path:?} => Some(Self::{variant}),")?;
    }
    Ok(format!(
        "/// A method that is served.\n#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]\npub enum Method {{\n{variants}}}\n\n\
         impl Method {{\n    /// All methods.\n    pub const ALL: &'static [Self] = &[\n{list}    ];\n\n    \
         /// The path of its requests.\n    pub const fn path(self) -> &'static str {{\n        match self {{\n{paths}        }}\n    }}\n\n    \
         /// The method of a path, if there is one.\n    pub fn of(path: &str) -> Option<Self> {{\n        match path {{\n{names}            \
         _ => None,\n        }}\n    }}\n}}\n"
    ))
}

/// BLAKE3 chaining values of blocks of zeroes, one after the other from offset 0. Takes some seconds, once a build.
fn zero_table() -> Vec<u8> {
    let mut table = vec![[0; 32]; ZERO_TABLE_BYTES / ZERO_BLOCK_BYTES];
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let part = table.len().div_ceil(threads);
    std::thread::scope(|scope| {
        for (index, entries) in table.chunks_mut(part).enumerate() {
            scope.spawn(move || {
                for (entry, block) in entries.iter_mut().zip(index * part..) {
                    *entry = zero_block((block * ZERO_BLOCK_BYTES) as u64);
                }
            });
        }
    });
    table.concat()
}

fn zero_block(offset: u64) -> [u8; 32] {
    const ZEROES: [u8; 16 << 10] = [0; 16 << 10];
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(offset);
    for _ in 0..ZERO_BLOCK_BYTES / ZEROES.len() {
        hasher.update(&ZEROES);
    }
    hasher.finalize_non_root()
}
