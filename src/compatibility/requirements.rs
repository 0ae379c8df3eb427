//! What an image asks of a server, as its manifest says it; and how a captured image says which model it came from.

use serde::{Deserialize, Serialize};

use crate::hardware::inventory::Inventory;
use crate::hardware::model::HardwareModel;
use crate::image::manifest::{Firmware, Kind, MAX_MODEL_BYTES, Manifest, OsFamily};

/// Between the parts of a model in a manifest.
const SEPARATOR: &str = " / ";
/// A part that is not known. It is no name: firmware that says so has said nothing.
const UNKNOWN: &str = "unknown";

/// What an image asks of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Requirements {
    /// Who may use it; none for an image without a manifest, which no one bound to a model.
    pub kind: Option<Kind>,
    /// The model of the server that it came from.
    pub model: HardwareModel,
    /// The family of its operating system.
    pub family: Option<OsFamily>,
    /// The processors it is for, as `uname -m` calls them.
    pub architecture: Option<String>,
    /// Firmware that starts it.
    pub firmware: Option<Firmware>,
    /// Length of the raw content, in bytes.
    pub size_bytes: u64,
    /// Smallest disk, in bytes; 0 if it does not say.
    pub min_disk_bytes: u64,
    /// Least main memory, in bytes; 0 if it does not say.
    pub min_memory_bytes: u64,
    /// Logical block size that its partition table was made for, in bytes.
    pub logical_block_size: Option<u32>,
}

impl Requirements {
    /// What content without a manifest asks for: of this length, in bytes, made for these blocks.
    pub fn of_content(size_bytes: u64, logical_block_size: Option<u32>) -> Self {
        Self { size_bytes, logical_block_size, ..Self::default() }
    }

    /// What a manifest asks for.
    pub fn of(manifest: &Manifest) -> Self {
        let architecture = manifest.os.as_ref().map(|os| os.architecture.clone()).filter(|name| !name.is_empty());
        let source = manifest.source_hardware_model.as_deref();
        Self {
            kind: Some(manifest.kind),
            model: source.map(|text| parse_model(text, architecture.as_deref())).unwrap_or_default(),
            family: manifest.os.as_ref().map(|os| os.family),
            architecture,
            firmware: Some(manifest.disk.firmware),
            size_bytes: manifest.disk.size_bytes,
            min_disk_bytes: manifest.disk.min_disk_bytes,
            min_memory_bytes: manifest.disk.min_memory_bytes,
            logical_block_size: Some(manifest.disk.logical_block_size),
        }
    }
}

/// How the manifest of an image that is captured from a server names its model: `Huawei / 2288H V5 / x86_64`. None if
/// nothing is known that tells it from others.
pub fn source_model(host: &Inventory) -> Option<String> {
    let product = host.system.product_name.value()?;
    let part = |name: Option<&String>| name.map_or(UNKNOWN, String::as_str).replace(SEPARATOR, " ");
    let parts = [host.system.vendor.value(), Some(product), host.cpu.architecture.value()].map(part);
    Some(parts.join(SEPARATOR))
}

/// Whether a text names a model as [`source_model`] does: all three parts, and not too long for a manifest.
pub fn names_a_model(text: &str) -> bool {
    let parts: Vec<&str> = text.split(SEPARATOR).collect();
    parts.len() == 3 && parts.iter().all(|part| !part.trim().is_empty()) && text.len() <= MAX_MODEL_BYTES
}

/// The model that a manifest names. Older ones have the product alone.
fn parse_model(text: &str, architecture: Option<&str>) -> HardwareModel {
    let parts: Vec<&str> = text.split(SEPARATOR).collect();
    match parts.as_slice() {
        [vendor, product, of] => HardwareModel::new(known(vendor), known(product), known(of).or(architecture)),
        _ => HardwareModel::new(None, Some(text), architecture),
    }
}

fn known(part: &str) -> Option<&str> {
    (part != UNKNOWN).then_some(part)
}
