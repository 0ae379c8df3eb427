//! The broken images that the authors of file system tools test with, each given to the shipped child in its sandbox.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bms_agent::inspect::check::Checks;
use bms_agent::inspect::child::{InspectError, Inspector};
use bms_agent::inspect::examine::Request;
use bms_agent::inspect::free::Outcome;
use bms_agent::inspect::profile::Profile;
use bms_agent::inspect::reader::FileReader;
use bms_agent::inspect::report::Verdict;
use tokio_util::sync::CancellationToken;

/// Children that may die by a defect of a library, each as the begin of an image's name. There is none.
const MAY_DIE: [&str; 0] = [];
/// Descriptors that other tests may have open meanwhile. One for each image would be many more.
const OTHERS: usize = 60;

/// What became of an image.
#[derive(Debug, PartialEq, Eq)]
enum Became {
    Read,
    Refused,
    Died(String),
}

fn images() -> Vec<PathBuf> {
    let fixtures = std::env::var_os("BMS_FIXTURES").map(PathBuf::from);
    let fixtures = fixtures.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cache"));
    let all = fixtures.join("broken-images");
    let count = fs::read_to_string(all.join("ready")).expect("tests/fixtures/broken-images.sh was not run");
    let files = |directory: &Path| fs::read_dir(directory).expect("list").map(|entry| entry.expect("entry").path());
    let mut images: Vec<_> =
        files(&all).filter(|path| path.is_dir()).flat_map(|directory| files(&directory).collect::<Vec<_>>()).collect();
    images.sort();
    assert_eq!(images.len().to_string(), count.trim(), "all that were fetched are there");
    images
}

fn inspector() -> Inspector {
    Inspector::new(Path::new(env!("CARGO_BIN_EXE_bms-agent")))
}

fn len_bytes(file: &File) -> u64 {
    file.metadata().expect("metadata").len()
}

fn examine(image: &Path) -> Became {
    let file = File::open(image).expect("open");
    let checks = Checks::built_in().expect("checks").into();
    let request = Request { logical_block_size: None, profile: Profile::default(), checks, devices: Vec::new() };
    let reader = FileReader::new(file.try_clone().expect("clone"), len_bytes(&file));
    match inspector().examine(&reader, &request, &CancellationToken::new()) {
        Ok(examination) => {
            // None of them is an installed system, so nothing may pass for known.
            assert_ne!(examination.report.verdicts.image, Verdict::Pass, "{}", image.display());
            assert!(!format!("{:?}", examination.notes).contains("panick"), "{}: {examination:?}", image.display());
            if examination.notes.len() > 1 { Became::Refused } else { Became::Read }
        }
        Err(error) => failed(image, &error),
    }
}

fn free_space(image: &Path) -> Became {
    let file = File::open(image).expect("open");
    let len_bytes = len_bytes(&file);
    match inspector().free_space(file, len_bytes, 512, &CancellationToken::new()) {
        Ok(space) if space.notes.iter().any(|note| matches!(note.outcome, Outcome::Read { .. })) => Became::Read,
        Ok(_) => Became::Refused,
        Err(error) => failed(image, &error),
    }
}

fn failed(image: &Path, error: &InspectError) -> Became {
    let said = format!("{}: {error}", image.display());
    assert!(matches!(error, InspectError::Died { .. }), "{said}");
    Became::Died(said)
}

fn descriptors() -> Vec<PathBuf> {
    let links =
        fs::read_dir("/proc/self/fd").expect("descriptors").filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    links.collect()
}

/// Children of this thread, living or not reaped.
fn children() -> String {
    fs::read_to_string("/proc/thread-self/children").expect("children")
}

#[test]
#[ignore = "needs the images of tests/fixtures/broken-images.sh"]
fn no_broken_image_harms_the_daemon() {
    let images = images();
    let before = descriptors().len();
    let mut slowest = (Duration::ZERO, PathBuf::new());
    let mut outcomes = Vec::new();
    for image in &images {
        for look in [examine, free_space] {
            let begun = Instant::now();
            outcomes.push(look(image));
            slowest = slowest.max((begun.elapsed(), image.clone()));
        }
    }
    assert_eq!(children(), "", "every child was reaped");
    let after = descriptors();
    assert!(after.iter().all(|open| !images.contains(open)), "an image is still open: {after:?}");
    assert!(after.len() < before + OTHERS, "{before} descriptors became {}", after.len());

    let count = |became: &Became| outcomes.iter().filter(|outcome| *outcome == became).count();
    let died: Vec<_> = outcomes
        .iter()
        .filter_map(|became| match became {
            Became::Died(how) => Some(how),
            Became::Read | Became::Refused => None,
        })
        .collect();
    println!(
        "{} images, looked into twice: {} read, {} refused, {} died; slowest {slowest:?}",
        images.len(),
        count(&Became::Read),
        count(&Became::Refused),
        died.len()
    );
    let unknown: Vec<_> = died.iter().filter(|how| !MAY_DIE.iter().any(|name| how.contains(name))).collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
    assert!(died.len() >= MAY_DIE.len(), "fewer die than are listed");
}
