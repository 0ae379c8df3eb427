//! The short run of the fuzz targets: their seeds, and some thousand things made of them. `fuzz/README.md` tells of the long
//! one.

use std::panic::catch_unwind;
use std::path::Path;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::{TARGETS, Target};

/// Where the random changes begin.
const SEED: u64 = 0x0006_2026;
/// Changed inputs of each target, and the time after which a target has had enough of them.
const INPUTS: usize = 400;
const TARGET_TIME: Duration = Duration::from_secs(2);
/// An input that takes this long has made a parser hang.
const HANG: Duration = Duration::from_secs(60);
/// Longest input.
const MAX_BYTES: usize = 256 << 10;
/// Numbers that lengths, counts and offsets are set to.
const NUMBERS: [u64; 12] = [0, 1, 2, 7, 0x7f, 0xff, 0x7fff, 0xffff, 0x10_0000, 0x7fff_ffff, 0xffff_ffff, u64::MAX];

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> =
        std::fs::read_dir(&directory).expect("a corpus").map(|file| file.expect("file").path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).expect("read")).collect()
}

/// A place in `data`, and one behind it.
fn piece(random: &mut Rng, data: &[u8]) -> std::ops::Range<usize> {
    let start = random.usize(0..=data.len());
    start..(start + random.usize(0..=64)).min(data.len())
}

/// Overwrites one to eight bytes with a number, in either order.
fn set_number(random: &mut Rng, data: &mut [u8]) {
    let number = random.choice(NUMBERS).expect("some").wrapping_add(random.u64(0..3)).wrapping_sub(1);
    let len = 1 << random.u32(0..4);
    let bytes: Vec<u8> = match random.bool() {
        true => number.to_le_bytes()[..len].to_vec(),
        false => number.to_be_bytes()[8 - len..].to_vec(),
    };
    let at = random.usize(0..=data.len());
    data[at..].iter_mut().zip(bytes).for_each(|(old, new)| *old = new);
}

fn mutated(random: &mut Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut data = random.choice(seeds).expect("some").clone();
    for _ in 0..random.usize(1..10) {
        let other = random.choice(seeds).expect("some");
        let here = piece(random, &data);
        match random.u8(0..8) {
            0 | 1 if !data.is_empty() => {
                data[random.choice(0..here.start.max(1)).expect("some")] ^= 1 << random.u8(0..8);
            }
            2 | 3 => set_number(random, &mut data),
            4 if random.u8(0..4) == 0 => data.truncate(here.start),
            5 => drop(data.splice(here, other[piece(random, other)].to_vec())),
            6 => drop(data.drain(here)),
            7 => drop(data.splice(here.start..here.start, data[here].repeat(random.usize(1..20)))),
            _ => drop(data.splice(here.clone(), here.map(|_| random.u8(..)))),
        }
    }
    data.truncate(MAX_BYTES);
    data
}

/// Whether the parser bears it.
fn bears(run: fn(&[u8]), data: &[u8]) -> bool {
    let begun = Instant::now();
    let ended = catch_unwind(|| run(data)).is_ok();
    ended && begun.elapsed() < HANG
}

fn run((name, parse): Target) -> Result<usize, String> {
    let seeds = seeds(name);
    if let Some(at) = seeds.iter().position(|seed| !bears(parse, seed)) {
        return Err(format!("{name}: seed {at}"));
    }
    let mut random = Rng::with_seed(SEED);
    let begun = Instant::now();
    for input in 0..INPUTS {
        if begun.elapsed() > TARGET_TIME {
            return Ok(input);
        }
        let data = mutated(&mut random, &seeds);
        if !bears(parse, &data) {
            let kept = std::env::temp_dir().join(format!("{name}-{input}"));
            std::fs::write(&kept, &data).expect("write");
            return Err(format!("{name}: input {input} of seed {SEED:#x}, kept as {}", kept.display()));
        }
    }
    Ok(INPUTS)
}

#[test]
fn no_parser_panics_or_hangs_whatever_it_is_given() {
    let outcomes: Vec<_> = TARGETS
        .iter()
        .map(|target| (target.0, Instant::now(), run(*target)))
        .map(|(name, begun, outcome)| {
            println!("{name}: {outcome:?} in {:?}", begun.elapsed());
            outcome
        })
        .collect();
    let failed: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

/// Each has seeds of its own, and a program for the long run.
#[test]
fn every_target_can_be_fuzzed_for_long() {
    let manifest = include_str!("../../../fuzz/Cargo.toml");
    for (name, _) in TARGETS {
        assert!(!seeds(name).is_empty(), "{name} has no seeds");
        assert!(manifest.contains(&format!("name = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"")), "{name}");
    }
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    assert_eq!(std::fs::read_dir(programs).expect("directory").count(), TARGETS.len());
}
