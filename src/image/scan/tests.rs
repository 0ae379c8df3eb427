//! Scans of sources of every kind, against their raw content.

use std::fs::File;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::group::{GroupSize, Layout, is_zero};
use super::super::source::{Input, OpenOptions, Source, SourceError, open};
use super::{GroupReader, Piece, Sink, scan, scan_once};

const KIB: u64 = 1 << 10;
const GROUP: u64 = 64 * KIB;

/// Small groups, so that small sources have many.
pub(in crate::image) fn layout_of(source: &Source) -> Layout {
    Layout::new(source.len_bytes(), GroupSize::new(GROUP).expect("valid"))
}

fn workers(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).expect("some")
}

fn pieces_of(source: &Source, layout: Layout, count: usize) -> Result<Vec<Piece>, SourceError> {
    collected(|sink| scan(source, layout, workers(count), sink)).map(|(pieces, ())| pieces)
}

/// What a scan gives to its sink, and returns.
fn collected<R>(scan: impl FnOnce(&Sink<'_>) -> Result<R, SourceError>) -> Result<(Vec<Piece>, R), SourceError> {
    let pieces = Mutex::new(Vec::new());
    let copy = |piece| {
        // What is kept must not be of the pool.
        let piece = match piece {
            Piece::Data { first, chaining_values, content } => {
                Piece::Data { first, chaining_values, content: content.to_vec().into() }
            }
            hole @ Piece::Hole { .. } => hole,
        };
        pieces.lock().expect("no panic").push(piece);
        ControlFlow::Continue(())
    };
    let result = scan(&copy)?;
    Ok((pieces.into_inner().expect("no panic"), result))
}

/// Scans a source, checks every piece, and puts the content together.
pub(in crate::image) fn content_of(source: &Source, layout: Layout, count: usize) -> Result<Vec<u8>, SourceError> {
    Ok(assembled(pieces_of(source, layout, count)?, layout))
}

/// Scans what is read once, checks every piece, and puts the content together.
pub(in crate::image) fn content_of_input(input: Input, group_size: GroupSize) -> Result<Vec<u8>, SourceError> {
    let (pieces, layout) = collected(|sink| scan_once(input, group_size, workers(2), sink))?;
    Ok(assembled(pieces, layout))
}

fn assembled(pieces: Vec<Piece>, layout: Layout) -> Vec<u8> {
    let mut content = vec![0_u8; usize::try_from(layout.len_bytes()).expect("small")];
    let mut seen = vec![false; usize::try_from(layout.groups()).expect("small")];
    let mut see = |group: u64| {
        let seen = &mut seen[usize::try_from(group).expect("small")];
        assert!(!std::mem::replace(seen, true), "group {group} came twice");
    };
    for piece in pieces {
        match piece {
            Piece::Hole { first, count } => (first..first + count).for_each(&mut see),
            Piece::Data { first, chaining_values, content: data } => {
                let range = layout.byte_range(first, chaining_values.len() as u64);
                assert_eq!(data.len() as u64, range.end - range.start, "groups and bytes agree");
                assert!(chaining_values.len() as u64 <= layout.groups_per_run(), "at most a run");
                let groups = data.chunks(layout.group_size().as_usize());
                for (group, (value, data)) in (first..).zip(chaining_values.iter().zip(groups)) {
                    see(group);
                    assert!(!is_zero(data), "group {group} is zero and not a hole");
                    assert_eq!(*value, layout.chaining_value(group, data), "group {group}");
                }
                let start = usize::try_from(range.start).expect("small");
                content[start..start + data.len()].copy_from_slice(&data);
            }
        }
    }
    assert!(seen.iter().all(|&seen| seen), "every group came");
    content
}

/// A sparse file with bytes of its offset in each of `data`.
fn sparse_file(path: &Path, len_bytes: u64, data: &[(u64, usize)]) -> File {
    let file = File::create(path).expect("created");
    file.set_len(len_bytes).expect("extended");
    for &(offset, len) in data {
        let bytes: Vec<u8> = (offset..).take(len).map(|at| u8::try_from(at % 251).expect("a byte") | 1).collect();
        file.write_all_at(&bytes, offset).expect("written");
    }
    file
}

fn raw(path: &Path) -> Source {
    open(path, &OpenOptions::default()).expect("a raw file")
}

#[test]
fn raw_content_of_every_length_comes_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("raw");
    let lengths = [0, 1, GROUP - 1, GROUP, GROUP + 1, 4 * GROUP, 64 * GROUP - 1, 64 * GROUP + 1, 200 * GROUP + 7];
    for len_bytes in lengths {
        sparse_file(&path, len_bytes, &[(0, usize::try_from(len_bytes).expect("small"))]);
        let source = raw(&path);
        for count in [1, 2, 5] {
            let content = content_of(&source, layout_of(&source), count).expect("scanned");
            assert_eq!(content, std::fs::read(&path).expect("read"), "{len_bytes} bytes, {count} workers");
        }
    }
}

#[test]
fn a_hole_of_a_file_is_one_piece_and_data_around_it_is_found() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("raw");
    sparse_file(&path, 1000 * GROUP + 5, &[(0, 10), (3 * GROUP - 5, 10), (900 * GROUP + 4096, 100), (1000 * GROUP, 5)]);
    let source = raw(&path);
    let pieces = pieces_of(&source, layout_of(&source), 2).expect("scanned");
    assert!(pieces.contains(&Piece::Hole { first: 4, count: 896 }), "{pieces:?}");
    assert!(pieces.contains(&Piece::Hole { first: 901, count: 99 }), "{pieces:?}");
    let content = content_of(&source, layout_of(&source), 2).expect("scanned");
    assert_eq!(content, std::fs::read(&path).expect("read"));
}

#[test]
fn data_that_is_all_zero_becomes_holes() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("raw");
    std::fs::write(&path, vec![0; 3 << 20]).expect("written");
    let source = raw(&path);
    let pieces = pieces_of(&source, layout_of(&source), 2).expect("scanned");
    assert_eq!(pieces, [Piece::Hole { first: 0, count: 48 }]);
}

#[test]
fn runs_are_four_mebibytes_or_one_larger_group() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("raw");
    sparse_file(&path, (20 << 20) + 9, &[(0, (20 << 20) + 9)]);
    let source = raw(&path);
    for (group_bytes, longest) in [(256 << 10, 4 << 20), (16 << 20, 16 << 20)] {
        let layout = Layout::new(source.len_bytes(), GroupSize::new(group_bytes).expect("valid"));
        let lengths = pieces_of(&source, layout, 2).expect("scanned").into_iter().map(|piece| match piece {
            Piece::Data { content, .. } => content.len(),
            Piece::Hole { .. } => panic!("there is no hole"),
        });
        assert_eq!(lengths.max(), Some(longest));
        assert_eq!(content_of(&source, layout, 2).expect("scanned"), std::fs::read(&path).expect("read"));
    }
}

#[test]
fn a_sink_that_breaks_ends_the_scan() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("raw");
    sparse_file(&path, 100 << 20, &[(0, 100 << 20)]);
    let source = raw(&path);
    let calls = AtomicUsize::new(0);
    let sink = |_| {
        calls.fetch_add(1, Ordering::Relaxed);
        ControlFlow::Break(())
    };
    scan(&source, layout_of(&source), workers(3), &sink).expect("ended well");
    assert!((1..=3).contains(&calls.into_inner()), "one piece for each worker at most");
}

#[test]
fn a_sink_that_keeps_pieces_holds_up_the_scan_and_no_more_memory() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("raw");
    sparse_file(&path, 64 << 20, &[(0, 64 << 20)]);
    let source = raw(&path);
    let (sender, receiver) = std::sync::mpsc::channel();
    let sink = move |piece| sender.send(piece).map_or(ControlFlow::Break(()), |()| ControlFlow::Continue(()));
    std::thread::scope(|scope| {
        let scanning = scope.spawn(|| scan(&source, layout_of(&source), workers(2), &sink));
        // Two workers and two spare buffers: four runs come, and the fifth only when one of them is let go.
        let mut held: Vec<Piece> = receiver.iter().take(4).collect();
        assert!(receiver.try_recv().is_err());
        held.pop();
        held.push(receiver.recv().expect("a fifth"));
        drop(held);
        drop(receiver);
        scanning.join().expect("no panic").expect("ended well");
    });
}

#[test]
fn a_file_that_shrinks_is_an_error_and_no_hole() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("raw");
    // In one extent, and in two of which the second is looked for when it is gone.
    for data in [&[(0, 8 << 20)][..], &[(0, 100), (7 << 20, 1 << 20)]] {
        let file = sparse_file(&path, 8 << 20, data);
        let source = raw(&path);
        let shrink = |_| {
            file.set_len(1 << 20).expect("shrunk");
            ControlFlow::Continue(())
        };
        let error = scan(&source, layout_of(&source), workers(1), &shrink).expect_err("the content is gone");
        assert!(matches!(error, SourceError::Truncated { .. }), "{error:?}");
    }
}

#[test]
fn a_layout_of_another_length_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("raw");
    sparse_file(&path, GROUP, &[]);
    let layout = Layout::new(2 * GROUP, GroupSize::default());
    let error = scan(&raw(&path), layout, workers(1), &|_| ControlFlow::Continue(())).expect_err("another length");
    assert!(matches!(error, SourceError::LengthMismatch { declared: 131_072, actual: 65_536, .. }), "{error:?}");
}

#[test]
fn groups_read_again_are_the_same() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("raw");
    sparse_file(&path, 100 * GROUP + 5, &[(50 * GROUP, 200_000), (100 * GROUP, 5)]);
    let source = raw(&path);
    let reader = GroupReader::new(&source, layout_of(&source), workers(1)).expect("reads anywhere");
    let content = std::fs::read(&path).expect("read");
    for (first, count, range) in [(50, 2, 3_276_800..3_407_872), (98, 100, 6_422_528..6_553_605), (200, 1, 0..0)] {
        assert_eq!(reader.read(first, count).expect("read"), content[range]);
    }
    assert_eq!(reader.read(0, u64::MAX).expect("read").len(), 4 << 20);
}
