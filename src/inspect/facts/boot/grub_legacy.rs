//! The menu of the first GRUB: `menu.lst`, or `grub.conf`.

use super::BootEntry;

/// Reads a menu. Entries without a kernel are left out.
pub(super) fn parse(text: &[u8]) -> Vec<BootEntry> {
    let mut entries: Vec<BootEntry> = Vec::new();
    let text = String::from_utf8_lossy(text);
    for line in text.lines() {
        let Some((key, value)) = line.trim().split_once([' ', '\t', '=']) else { continue };
        let value = value.trim();
        if key == "title" {
            entries.push(BootEntry { title: value.to_owned(), ..BootEntry::default() });
            continue;
        }
        let Some(entry) = entries.last_mut() else { continue };
        match key {
            "kernel" => {
                let mut words = value.split_whitespace().skip_while(|word| word.starts_with("--"));
                words.next().unwrap_or_default().clone_into(&mut entry.linux);
                entry.options = words.collect::<Vec<_>>().join(" ");
            }
            "initrd" => entry.initrds.extend(value.split_whitespace().map(str::to_owned)),
            _ => {}
        }
    }
    entries.retain(|entry| !entry.linux.is_empty());
    entries
}
