//! What an image is: groups and their tree, the manifest, and reading foreign formats as sparse raw content.
//!
//! Everything here is blocking and knows nothing of disks, requests or the network.

pub mod group;
pub mod hash;
pub mod manifest;
pub mod scan;
pub mod source;
pub mod tree;
mod zero;
