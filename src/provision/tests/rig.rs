//! A disk in memory, and a source that plays a script: all that an install needs.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::ops::Range;

use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::image::{Image, noise, sign};
use crate::disk::device::BlockDevice as _;
use crate::disk::discovery::Disk;
use crate::disk::identity::{DeviceNumber, Identity, Transport};
use crate::disk::marker::Marker;
use crate::disk::mem::MemDevice;
use crate::disk::probe;
use crate::provision::boot_region;
use crate::provision::error::ProvisionError;
use crate::provision::feed::{Encoding, Feed, FeedEvent, Want};
use crate::provision::inspection::Inspection;
use crate::provision::install::{InstallJob, InstallReport, Resources};
use crate::provision::plan::{InstallPlan, Options, Seen};
use crate::provision::progress::{Counters, Progress};
use crate::provision::record::Records;
use crate::reason::{DomainError as _, Reason};

/// What a source does next. When there is nothing left, it goes away.
#[derive(Debug)]
pub(super) enum Step {
    /// Tells something.
    Tell(FeedEvent),
    /// Waits for the answers to the offers of all data groups, and sends those that are wanted, at most so many at once.
    Serve { chunk: u64, encoding: Encoding },
    /// Says and hears nothing until the install ends.
    Wait,
}

/// What a well-behaved source does.
pub(super) fn push(image: &Image) -> Vec<Step> {
    let mut steps: Vec<_> = image.offers(0..image.layout.groups()).into_iter().map(Step::Tell).collect();
    steps.push(Step::Serve { chunk: 16, encoding: Encoding::Raw });
    steps.push(Step::Tell(image.finish()));
    steps
}

/// A disk and what is to be installed on it.
#[derive(Debug)]
pub(super) struct Rig {
    pub(super) device: MemDevice,
    /// What was on the device at first.
    pub(super) old: Vec<u8>,
    pub(super) image: Image,
    pub(super) options: Options,
    pub(super) pinned: bool,
    pub(super) workers: usize,
    pub(super) cancel: CancellationToken,
    /// Who looks into the image; nobody if none.
    pub(super) inspection: Option<Inspection>,
    pub(super) state_dir: TempDir,
}

/// How an install ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) result: Result<InstallReport, ProvisionError>,
    pub(super) progress: Progress,
    pub(super) plan: InstallPlan,
}

impl Ended {
    /// Why it failed.
    pub(super) fn reason(&self) -> Reason {
        self.result.as_ref().expect_err("it failed").reason()
    }
}

impl Rig {
    /// A disk of `len_bytes` full of somebody's old bytes, which boots.
    pub(super) fn new(image: Image, len_bytes: usize, block: u32) -> Self {
        let mut old = noise(2, len_bytes);
        sign(&mut old);
        Self::over(old, image, block)
    }

    /// A disk with this content.
    pub(super) fn over(old: Vec<u8>, image: Image, block: u32) -> Self {
        Self {
            device: MemDevice::new(old.clone(), block),
            old,
            image,
            options: Options::default(),
            pinned: true,
            workers: 2,
            cancel: CancellationToken::new(),
            inspection: None,
            state_dir: tempfile::tempdir().expect("a directory"),
        }
    }

    pub(super) fn records(&self) -> Records {
        Records::open(self.state_dir.path()).expect("opened")
    }

    /// Installs what a source that plays `script` brings.
    pub(super) fn install(&self, script: Vec<Step>) -> Ended {
        self.install_with(&self.records(), script)
    }

    pub(super) fn install_with(&self, records: &Records, script: Vec<Step>) -> Ended {
        let plan = self.plan();
        let counters = Counters::default();
        let halt = self.cancel.child_token();
        let (events, received) = mpsc::channel(4);
        // As many as there can be answers: a source that does not listen holds nobody up.
        let (asked, wants) = mpsc::channel(4096);
        let job = InstallJob {
            device: &self.device,
            plan: &plan,
            records,
            inspection: self.inspection.as_ref(),
            resources: self.resources(),
            operation: Uuid::from_u128(7),
            started_at: 1,
            counters: &counters,
            cancel: &self.cancel,
            halt: &halt,
        };
        let source = Source { image: &self.image, events, wants, halt: &halt };
        let result = std::thread::scope(|scope| {
            scope.spawn(move || source.play(script));
            job.run(Feed { events: received, wants: asked })
        });
        assert!(halt.is_cancelled(), "the source is told that nothing more is wanted");
        Ended { result, progress: counters.progress(), plan }
    }

    pub(super) fn resources(&self) -> Resources {
        Resources { memory_bytes: 64 << 20, workers: NonZeroUsize::new(self.workers).expect("some") }
    }

    pub(super) fn plan(&self) -> InstallPlan {
        let disk = disk(&self.device);
        let marker = self.marker();
        let seen = Seen { disk: &disk, refusals: &[], marker: marker.as_ref() };
        InstallPlan::new(seen, self.image.spec(self.pinned), self.options, u64::MAX).expect("it fits")
    }

    /// The marker on the disk.
    pub(super) fn marker(&self) -> Option<Marker> {
        // A look from outside: what is planned for the install's own calls must not strike it.
        let copy = MemDevice::new(self.device.content(), self.device.geometry().logical_block_size);
        probe::look(&copy).expect("readable").marker
    }

    /// What the disk must hold after a good install.
    pub(super) fn expected(&self) -> Vec<u8> {
        let geometry = self.device.geometry();
        let image_len = self.image.layout.len_bytes();
        let mut expected = self.old.clone();
        if self.options.wipe_rest {
            expected.fill(0);
        }
        for range in boot_region::ranges(geometry, image_len) {
            expected[small(range)].fill(0);
        }
        expected[small(0..geometry.round_up(image_len))].fill(0);
        expected[small(0..image_len)].copy_from_slice(&self.image.content);
        expected
    }

    /// Everything that holds after a good install.
    pub(super) fn check_success(&self, ended: &Ended) {
        let report = ended.result.as_ref().expect("installed");
        assert!(self.device.content() == self.expected(), "the disk holds the image and what is kept, nothing else");
        assert_eq!(report.tree.root(), blake3::hash(&self.image.content));
        assert_eq!(report.tree, self.image.tree());
        let recorded = self.records().load(&ended.plan.disk.identity).expect("readable");
        assert_eq!(recorded.as_ref(), Some(&report.tree));
        let Progress { total_bytes, received_bytes, present_bytes, hole_bytes, written_bytes, verified_bytes, .. } =
            ended.progress;
        assert_eq!(total_bytes, self.image.layout.len_bytes() + ended.plan.wipe.end - ended.plan.wipe.start);
        assert_eq!(present_bytes + hole_bytes + written_bytes, total_bytes, "{:?}", ended.progress);
        assert_eq!(verified_bytes, total_bytes, "{:?}", ended.progress);
        assert!(received_bytes >= written_bytes, "{:?}", ended.progress);
    }

    /// Everything that holds after an install that ended with `reason` on a disk that still takes writes.
    pub(super) fn check_failure(&self, ended: &Ended, reason: Reason) {
        assert_eq!(ended.reason(), reason, "{:?}", ended.result);
        let marker = self.marker().expect("a marker");
        assert_eq!((marker.operation, marker.reason.as_str()), (Uuid::from_u128(7), reason.name()));
        let content = self.device.content();
        for range in boot_region::ranges(self.device.geometry(), self.image.layout.len_bytes()) {
            let zeroes = small(range.start.max(512)..range.end);
            assert!(content[zeroes].iter().all(|&byte| byte == 0), "no boot region");
        }
    }
}

/// The other end of the feed.
struct Source<'a> {
    image: &'a Image,
    events: mpsc::Sender<FeedEvent>,
    wants: mpsc::Receiver<Want>,
    halt: &'a CancellationToken,
}

impl Source<'_> {
    /// Plays until the script or the install ends.
    fn play(mut self, script: Vec<Step>) {
        for step in script {
            let goes_on = match step {
                Step::Tell(event) => self.tell(event),
                Step::Serve { chunk, encoding } => self.serve(chunk, encoding),
                Step::Wait => self.wait(),
            };
            if !goes_on {
                return;
            }
        }
    }

    fn tell(&self, event: FeedEvent) -> bool {
        block_on(self.halt.run_until_cancelled(self.events.send(event))).is_some_and(|sent| sent.is_ok())
    }

    fn wait(&self) -> bool {
        block_on(self.halt.cancelled());
        false
    }

    fn serve(&mut self, chunk: u64, encoding: Encoding) -> bool {
        let mut open: BTreeSet<u64> = (0..self.image.layout.groups()).filter(|&at| !self.image.is_hole(at)).collect();
        while !open.is_empty() {
            let Some(Some(want)) = block_on(self.halt.run_until_cancelled(self.wants.recv())) else { return false };
            let answered: Vec<_> = (want.first..want.first + want.count).filter(|group| open.remove(group)).collect();
            for groups in stretches(answered.into_iter().filter(|&group| is_wanted(&want, group)), chunk) {
                if !self.tell(self.image.data(groups, encoding)) {
                    return false;
                }
            }
        }
        true
    }
}

fn is_wanted(want: &Want, group: u64) -> bool {
    let at = usize::try_from(group - want.first).expect("small");
    want.bitmap.as_ref().is_none_or(|bitmap| bitmap[at / 8] & (1 << (at % 8)) != 0)
}

/// Contiguous groups, at most `longest` at once.
pub(super) fn stretches(groups: impl Iterator<Item = u64>, longest: u64) -> Vec<Range<u64>> {
    let mut stretches: Vec<Range<u64>> = Vec::new();
    for group in groups {
        match stretches.last_mut() {
            Some(last) if last.end == group && last.end - last.start < longest => last.end += 1,
            _ => stretches.push(group..group + 1),
        }
    }
    stretches
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}

pub(super) fn small(range: Range<u64>) -> Range<usize> {
    usize::try_from(range.start).expect("small")..usize::try_from(range.end).expect("small")
}

/// What discovery would say of the device.
pub(super) fn disk(device: &MemDevice) -> Disk {
    let geometry = device.geometry();
    Disk {
        name: device.name().to_owned(),
        device_number: DeviceNumber { major: 259, minor: 0 },
        identity: Identity { serial: Some("MEM0".to_owned()), wwn: None, backing_file: None, diskseq: Some(7) },
        model: None,
        transport: Transport::Nvme,
        rotational: geometry.rotational,
        read_only: false,
        removable: false,
        size_bytes: geometry.len_bytes,
        logical_block_size: geometry.logical_block_size,
        physical_block_size: 4096,
        write_zeroes_max_bytes: 0,
        by_path: Vec::new(),
        uses: Vec::new(),
    }
}
