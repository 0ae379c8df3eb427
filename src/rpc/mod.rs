//! The gRPC edge: handlers, conversion between wire and domain, and the one mapping of errors to status codes.
//!
//! Nothing here hashes, reads or writes a disk: that is the work of threads behind a bounded channel.

/// The wire types, compiled from `proto/`.
#[expect(
    missing_docs,
    unused_qualifications,
    clippy::all,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::missing_errors_doc,
    clippy::too_many_lines,
    reason = "generated; the comments are in proto/"
)]
pub mod proto {
    pub use bms::agent::v1;
    pub use google::longrunning;

    // The nesting is what generated code expects of its neighbours.
    pub mod bms {
        pub mod agent {
            pub mod v1 {
                tonic::include_proto!("bms.agent.v1");
            }
        }
    }
    pub mod google {
        pub mod longrunning {
            tonic::include_proto!("google.longrunning");
        }
    }
    /// All files, for server reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
}
