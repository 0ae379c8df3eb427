//! What this project says to other machines over the network, besides gRPC.
//!
//! Nothing here knows of images, disks or repositories.

pub mod allowed;
pub mod download;
pub mod http;
