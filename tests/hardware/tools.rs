//! What the usual tools print, taken apart.

use std::collections::BTreeMap;

/// A record of `lspci -vmm`, or a structure of `dmidecode`: values by their names.
pub(crate) type Record = BTreeMap<String, String>;

/// The devices of `lspci -Dnnvmmk`, by address.
pub(crate) fn lspci(text: &str) -> BTreeMap<String, Record> {
    let record = |block: &str| -> Record { block.lines().filter_map(|line| pair(line, ":\t")).collect() };
    let devices = text.split("\n\n").map(record).filter(|record| !record.is_empty());
    devices.map(|device| (device["Slot"].clone(), device)).collect()
}

/// `Red Hat, Inc. [1af4]`: a name and an id.
pub(crate) fn name_and_id(text: &str) -> (&str, &str) {
    text.strip_suffix(']').and_then(|text| text.rsplit_once(" [")).unwrap_or_else(|| panic!("no id: {text}"))
}

/// The structures of a type in what `dmidecode` prints. Of lists within them nothing is taken.
pub(crate) fn dmidecode(text: &str, kind: u8) -> Vec<Record> {
    let heading = format!(", DMI type {kind}, ");
    let blocks = text.split("\n\n").filter(|block| block.starts_with("Handle ") && block.contains(&heading));
    let record = |block: &str| block.lines().filter_map(|line| pair(line.strip_prefix('\t')?, ": ")).collect();
    blocks.map(record).collect()
}

fn pair(line: &str, separator: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(separator)?;
    Some((name.to_owned(), value.trim().to_owned()))
}
