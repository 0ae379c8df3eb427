//! Asked to stop at any moment: it stops in time, and what it leaves is as exact as after a kill.

use std::time::{Duration, Instant};

use crate::support::Seed;
use crate::support::ground::{Ground, Left, Way, known, let_pass};
use crate::support::trail::Trail;

const TERMS: u64 = 25;
/// What it may take to stop, beyond the time that it waits for installs.
const STOPS_WITHIN: Duration = Duration::from_secs(10);

/// Stops agents that wait so long for what runs; counts the disks that were left without a boot region.
fn unbootable_of(drain_seconds: u64, seed: &mut Seed) -> u64 {
    let ground = Ground::new(seed);
    let mut daemon = ground.daemon(&format!("drain_seconds = {drain_seconds}"));
    let lengths = [Way::Push, Way::Pull].map(|way| (way, ground.measure(&daemon, way)));
    let mut unbootable = 0;
    for term in 0..TERMS {
        let (way, length) = lengths[usize::from(term % 2 == 1)];
        ground.lay_other_than(term);
        let (known, trail) = (known(&daemon), Trail::of(&daemon, &ground.disk));
        let moment = length.mul_f64((term as f64 + seed.below(1000) as f64 / 1000.0) / TERMS as f64);
        let running = ground.begin(&daemon, way, term);
        let_pass(moment);
        let since = Instant::now();
        daemon.ask_to_stop();
        assert!(daemon.stopped().success(), "{way:?} after {moment:.0?}");
        assert!(since.elapsed() < STOPS_WITHIN + Duration::from_secs(drain_seconds), "{:?}", since.elapsed());
        let is_done = running.finish().code == 0;
        trail.assert_kept(&daemon, &ground.disk);

        let cut = ground.cut(&daemon, way, term, known);
        assert!(!is_done || cut.left == Left::Complete, "the caller was told that it is done: {cut:?}");
        unbootable += u64::from(cut.left == Left::Unbootable);
        daemon.restart();
        if cut.left == Left::Unbootable && cut.pending.is_empty() {
            assert_eq!(daemon.disk(&ground.disk)["interrupted_install"]["reason"], "OPERATION_CANCELLED");
        }
        trail.assert_kept(&daemon, &ground.disk);
        ground.assert_named(&daemon, term, &cut);
    }
    eprintln!("of {TERMS} agents that waited {drain_seconds} s, {unbootable} left a disk without a boot region");
    unbootable
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn an_agent_that_is_stopped_at_any_moment_finishes_or_cancels_and_says_which() {
    let mut seed = Seed::new(4);
    assert!(unbootable_of(0, &mut seed) >= TERMS / 5, "many of the moments must lie within an install");
    assert_eq!(unbootable_of(30, &mut seed), 0, "what has begun is finished");
}
