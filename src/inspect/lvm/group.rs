//! A volume group, as its metadata describes it: which extents of which physical volume make its logical volumes.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::mapped::{Mapped, Segment};
use super::text::{self, Section, Value};
use super::{LogicalVolume, LvmError};
use crate::inspect::reader::DiskReader;

const SECTOR_BYTES: u64 = 512;
/// Most logical volumes of a group, and segments of one, that are looked at.
const MAX_VOLUMES: usize = 256;
const MAX_SEGMENTS: u64 = 4096;

const MALFORMED: LvmError = LvmError::Malformed { what: "metadata" };

/// A volume group.
#[derive(Debug)]
pub(super) struct Group {
    name: String,
    pub(super) uuid: String,
    /// Counts up with each change.
    pub(super) sequence: u64,
    extent_bytes: u64,
    /// Those of its own, by the name that the metadata gives them.
    physical: BTreeMap<String, Physical>,
    logical: Vec<(String, Section)>,
}

/// A physical volume of the group.
#[derive(Debug)]
struct Physical {
    uuid: String,
    /// Where its first extent begins, in bytes.
    first_at: u64,
    extents: u64,
}

/// Reads what one metadata area says of its group.
pub(super) fn parse(text: &[u8]) -> Result<Group, LvmError> {
    let top = text::parse(text)?;
    let (name, group) = top.sections().next().ok_or(MALFORMED)?;
    let extent_bytes = group.number("extent_size")?.checked_mul(SECTOR_BYTES).filter(|bytes| *bytes > 0);
    let mut physical = BTreeMap::new();
    for (name, section) in group.section("physical_volumes")?.into_iter().flat_map(Section::sections) {
        let first_at = section.number("pe_start")?.checked_mul(SECTOR_BYTES).ok_or(MALFORMED)?;
        let (uuid, extents) = (section.text("id")?.to_owned(), section.number("pe_count")?);
        physical.insert(name.to_owned(), Physical { uuid, first_at, extents });
    }
    let logical = group.section("logical_volumes")?.into_iter().flat_map(Section::sections);
    let logical: Vec<_> = logical.map(|(name, section)| (name.to_owned(), section.clone())).collect();
    if logical.len() > MAX_VOLUMES {
        return Err(LvmError::Unsupported { what: format!("a group of more than {MAX_VOLUMES} volumes") });
    }
    Ok(Group {
        name: name.to_owned(),
        uuid: group.text("id")?.to_owned(),
        sequence: group.number("seqno")?,
        extent_bytes: extent_bytes.ok_or(MALFORMED)?,
        physical,
        logical,
    })
}

/// What a disk of the machine is to LVM: its identity without dashes, and its bytes.
type Member = (String, Rc<dyn DiskReader>);

impl Group {
    /// The logical volumes that a system would show.
    pub(super) fn volumes(&self, members: &[Member]) -> Vec<LogicalVolume> {
        let visible = self.logical.iter().filter(|(_, section)| has_flag(section, "VISIBLE"));
        visible.map(|(name, section)| self.volume(name, section, members)).collect()
    }

    fn volume(&self, name: &str, section: &Section, members: &[Member]) -> LogicalVolume {
        LogicalVolume {
            group: self.name.clone(),
            name: name.to_owned(),
            uuid: section.text("id").unwrap_or_default().to_owned(),
            content: self.map(section, members).map(Rc::new),
        }
    }

    /// The bytes of a volume, if all its segments are linear and have no gap.
    fn map(&self, section: &Section, members: &[Member]) -> Result<Mapped, LvmError> {
        let count = section.number("segment_count")?;
        if !(1..=MAX_SEGMENTS).contains(&count) {
            return Err(MALFORMED);
        }
        let mut segments = Vec::new();
        let mut next = 0;
        for number in 1..=count {
            let segment = section.section(&format!("segment{number}"))?.ok_or(MALFORMED)?;
            let extents = segment.number("extent_count")?;
            if segment.number("start_extent")? != next || extents == 0 {
                return Err(MALFORMED);
            }
            segments.push(self.segment(segment, extents, members)?);
            next = next.checked_add(extents).ok_or(MALFORMED)?;
        }
        Mapped::new(segments).ok_or(MALFORMED)
    }

    fn segment(&self, segment: &Section, extents: u64, members: &[Member]) -> Result<Segment, LvmError> {
        let kind = segment.text("type")?;
        if kind != "striped" {
            return Err(LvmError::Unsupported { what: format!("a logical volume of type {kind:?}") });
        }
        if segment.number("stripe_count")? != 1 {
            return Err(LvmError::Unsupported { what: "a logical volume with several stripes".to_owned() });
        }
        let [Value::Text(name), Value::Number(first)] = segment.list("stripes")? else { return Err(MALFORMED) };
        // Another logical volume may be named instead, as parts of mirrors do.
        let physical = self
            .physical
            .get(name)
            .ok_or_else(|| LvmError::Unsupported { what: "a logical volume on another".to_owned() })?;
        if first.checked_add(extents).is_none_or(|end| end > physical.extents) {
            return Err(MALFORMED);
        }
        let missing = || LvmError::MissingPhysicalVolume { uuid: physical.uuid.clone() };
        let undashed = physical.uuid.replace('-', "");
        let (_, disk) = members.iter().find(|(uuid, _)| *uuid == undashed).ok_or_else(missing)?;
        let start = first.checked_mul(self.extent_bytes).and_then(|bytes| bytes.checked_add(physical.first_at));
        Ok(Segment {
            disk: Rc::clone(disk),
            start: start.ok_or(MALFORMED)?,
            len_bytes: extents.checked_mul(self.extent_bytes).ok_or(MALFORMED)?,
        })
    }
}

fn has_flag(section: &Section, flag: &str) -> bool {
    let flags = section.list("status").unwrap_or_default();
    flags.iter().any(|value| matches!(value, Value::Text(text) if text == flag))
}
