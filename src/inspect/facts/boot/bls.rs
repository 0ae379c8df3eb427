//! Entries by the Boot Loader Specification: a file each, with a key and a value in a line.

use super::BootEntry;

/// Reads an entry; none if it names no kernel.
pub(super) fn parse(text: &[u8]) -> Option<BootEntry> {
    let mut entry = BootEntry::default();
    let mut options = Vec::new();
    let text = String::from_utf8_lossy(text);
    for line in text.lines() {
        let Some((key, value)) = line.trim().split_once(char::is_whitespace) else { continue };
        let value = value.trim();
        match key {
            "title" => value.clone_into(&mut entry.title),
            "version" => entry.version = Some(value.to_owned()),
            "linux" => value.clone_into(&mut entry.linux),
            // GRUB takes several in a line.
            "initrd" => entry.initrds.extend(value.split_whitespace().map(str::to_owned)),
            "options" => options.push(value),
            _ => {}
        }
    }
    entry.options = options.join(" ");
    Some(entry).filter(|entry| !entry.linux.is_empty())
}
