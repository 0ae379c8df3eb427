//! What an image asks of the disk that it goes to: its length, and the size of its logical blocks.

use super::super::Question;
use super::found;
use crate::hardware::inventory::BlockDevice;
use crate::inspect::facts::Known;
use crate::inspect::outcome::Outcome;

/// The smallest logical block size of any disk, in bytes.
const SMALLEST_BLOCK_BYTES: u32 = 512;

/// Asks of the disk that was chosen.
fn of_target(question: &Question<'_>, ask: impl FnOnce(&BlockDevice) -> Outcome) -> Outcome {
    match question.target {
        Some(disk) => ask(disk),
        None => Outcome::unknown("no disk was chosen"),
    }
}

/// All of the image is written, so its length counts, and not how far its partitions reach; that is said for whoever
/// could make a smaller image.
pub(super) fn size(question: &Question<'_>) -> Outcome {
    of_target(question, |disk| {
        let least = question.requirements.size_bytes.max(question.requirements.min_disk_bytes);
        let used = found(question, |evidence| &evidence.disk).as_known().and_then(|evidence| evidence.end_bytes);
        let outcome = if disk.size_bytes >= least {
            Outcome::pass("the disk is large enough")
        } else {
            let shrunk = match used {
                Some(end) if end < disk.size_bytes => ", although its partitions would fit",
                Some(_) | None => "",
            };
            let (name, bytes) = (&disk.name, disk.size_bytes);
            Outcome::fail(format!("the image needs {least} bytes, and {name} has {bytes}{shrunk}"))
        };
        let outcome = outcome
            .with("manifest: disk.size_bytes", question.requirements.size_bytes.to_string())
            .with("manifest: disk.min_disk_bytes", question.requirements.min_disk_bytes.to_string());
        let outcome = match used {
            Some(end) => outcome.with("image: end of the last partition", end.to_string()),
            None => outcome,
        };
        outcome.with(format!("server: disk {}", disk.name), disk.size_bytes.to_string())
    })
}

/// A GPT is found at one block size alone. For whatever else is on a disk, the manifest must be believed; or else what was
/// found in it, on a disk with the smallest blocks. Such an image is looked into as it lies on the disk (`provision`), or with
/// these blocks first: an MBR for others would have led to other places, and any file system is for blocks of this size or
/// larger ones, which are a whole number of these. On a disk with larger blocks that is not so: what is found there may be
/// for smaller ones, which the kernel does not mount.
pub(super) fn block_size(question: &Question<'_>) -> Outcome {
    of_target(question, |disk| {
        let here = disk.logical_block_size;
        let said = question.requirements.logical_block_size;
        let outcome = match (found(question, |evidence| &evidence.disk), said) {
            (Known::Is(evidence), _) if evidence.gpt_block_sizes.contains(&here) => {
                Outcome::pass("the GPT is for blocks of this size")
            }
            (Known::Is(evidence), _) if !evidence.gpt_block_sizes.is_empty() => {
                let sizes: Vec<String> = evidence.gpt_block_sizes.iter().map(u32::to_string).collect();
                Outcome::fail(format!(
                    "the GPT is for blocks of {} bytes, and {} has {here}",
                    sizes.join(" or "),
                    disk.name
                ))
            }
            (_, Some(said)) if said == here => Outcome::pass("the image was made for blocks of this size"),
            (_, Some(said)) => {
                Outcome::fail(format!("the image was made for blocks of {said} bytes, and {} has {here}", disk.name))
            }
            (Known::Is(_), None)
                if here == SMALLEST_BLOCK_BYTES && question.image.is_some_and(|image| image.os.is_some()) =>
            {
                Outcome::pass("its file systems were found at this block size")
            }
            (Known::Is(_), None) => Outcome::unknown("the image has no GPT, and does not say the size of its blocks"),
            (Known::Unknown(why), None) => Outcome::unknown(why),
        };
        let outcome = match said {
            Some(said) => outcome.with("manifest: disk.logical_block_size", said.to_string()),
            None => outcome,
        };
        outcome.with(format!("server: disk {}", disk.name), here.to_string())
    })
}
