//! The stage of an install that looks into the image: on the disk, on what is proven, with the boot region still held
//! back and laid over. What it finds, and whether that fits the server, decides whether the disk may boot.

use std::io;

use tokio_util::sync::CancellationToken;

use super::boot_region::BootRegion;
use super::error::ProvisionError;
use crate::compatibility::{Case, Incompatible};
use crate::disk::buffer::AlignedBuffer;
use crate::disk::device::BlockDevice;
use crate::inspect::child::{InspectError, Inspector};
use crate::inspect::examine::{Examination, Request};
use crate::inspect::policy::Policy;
use crate::inspect::reader::{DiskReader, check_bounds};
use crate::inspect::report::{Report, Verdict};

/// Most findings that an error or a warning names.
const NAMED_FINDINGS: usize = 8;

/// How an install looks into its image.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// What is done about what is found.
    pub policy: Policy,
    /// What the image is for, with the devices of the server that it needs drivers for.
    pub request: Request,
    /// Who looks.
    pub inspector: Inspector,
    /// The image and the server that it must fit.
    pub case: Case,
    /// What was overridden before anything was written: that was told then.
    pub overridden: Vec<String>,
}

impl Inspection {
    /// Looks into the image, and gives warnings.
    pub(super) fn run(
        &self,
        reader: &dyn BlockDevice,
        boot: &BootRegion,
        image_len_bytes: u64,
        cancel: &CancellationToken,
    ) -> Result<Vec<String>, ProvisionError> {
        let disk = reader.name().to_owned();
        let image = HeldImage { reader, boot, len_bytes: image_len_bytes };
        match self.inspector.examine(&image, &self.request, cancel) {
            Ok(found) => {
                let problem = Problem::of(&found.report);
                let mut warnings = self.weigh(problem, &disk)?;
                warnings.extend(self.gate(&found, &disk)?);
                Ok(warnings)
            }
            Err(InspectError::Cancelled) => Err(ProvisionError::Cancelled { disk }),
            Err(error) => {
                let detail = format!("nothing is known of it: {}", crate::text::chain(&error));
                self.weigh(Some(Problem { verdict: Verdict::Unknown, detail, findings: String::new() }), &disk)
            }
        }
    }

    /// What a problem of the image is: the end of the install, or a warning.
    fn weigh(&self, problem: Option<Problem>, disk: &str) -> Result<Vec<String>, ProvisionError> {
        match problem {
            None => Ok(Vec::new()),
            Some(problem) if self.policy == Policy::Require && problem.verdict >= Verdict::Unknown => {
                Err(problem.into_error(disk.to_owned()))
            }
            Some(problem) => Ok(vec![format!("the image on disk {disk}: {}", problem.detail)]),
        }
    }

    /// Whether what was found fits the server; gives warnings.
    fn gate(&self, found: &Examination, disk: &str) -> Result<Vec<String>, ProvisionError> {
        let refused = |why| ProvisionError::Incompatible { disk: disk.to_owned(), why };
        let judgement = self.case.judge(Some(found)).map_err(|error| refused(error.into()))?;
        let is_new = |text: &String| !self.overridden.contains(text);
        let mut warnings: Vec<_> = judgement.overridden().into_iter().filter(is_new).collect();
        for overridden in &warnings {
            tracing::warn!(disk, "{overridden}");
        }
        match judgement.admit() {
            Ok(()) => {}
            // What is known not to fit is written by nobody who was merely warned.
            Err(why @ Incompatible::Unknown { .. }) if self.policy < Policy::Require => {
                warnings.push(format!("disk {disk}: {why}"));
            }
            Err(why) => return Err(refused(why)),
        }
        Ok(warnings)
    }
}

/// What is wrong with an image.
#[derive(Debug)]
struct Problem {
    verdict: Verdict,
    /// For people.
    detail: String,
    /// Ids of the checks, with commas between them.
    findings: String,
}

impl Problem {
    /// None if all is as it should be.
    fn of(report: &Report) -> Option<Self> {
        let verdict = report.verdicts.image;
        if verdict < Verdict::Warn {
            return None;
        }
        let worst: Vec<_> = report.findings.iter().filter(|finding| finding.verdict() == verdict).collect();
        let named = worst.iter().take(NAMED_FINDINGS);
        let mut detail: Vec<_> = named.map(|finding| format!("{} {}", finding.id, finding.reason)).collect();
        if worst.len() > NAMED_FINDINGS {
            detail.push(format!("and {} more", worst.len() - NAMED_FINDINGS));
        }
        let ids: Vec<_> = worst.iter().map(|finding| finding.id.as_str()).collect();
        Some(Self { verdict, detail: detail.join("; "), findings: ids.join(",") })
    }

    fn into_error(self, disk: String) -> ProvisionError {
        let Self { verdict, detail, findings } = self;
        match verdict {
            Verdict::Fail => ProvisionError::Unfit { disk, detail, findings },
            Verdict::NotApplicable | Verdict::Pass | Verdict::Warn | Verdict::Unknown => {
                ProvisionError::Uninspected { disk, detail, findings }
            }
        }
    }
}

/// The image as it will be: what is on the disk, and what is held back of it.
#[derive(Debug)]
struct HeldImage<'a> {
    reader: &'a dyn BlockDevice,
    boot: &'a BootRegion,
    len_bytes: u64,
}

impl DiskReader for HeldImage<'_> {
    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        check_bounds(self.len_bytes, offset, out.len())?;
        let block = u64::from(self.reader.geometry().logical_block_size);
        let start = offset / block * block;
        let end = (offset + out.len() as u64).next_multiple_of(block);
        let len = usize::try_from(end - start).map_err(io::Error::other)?;
        let mut blocks = AlignedBuffer::zeroed(len);
        self.reader.read_at(start, &mut blocks)?;
        self.boot.overlay(start, &mut blocks);
        let skip = usize::try_from(offset - start).map_err(io::Error::other)?;
        out.copy_from_slice(&blocks[skip..skip + out.len()]);
        Ok(())
    }
}
