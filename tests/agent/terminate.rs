//! Asked to stop at any moment: it stops in time, and what it leaves is as exact as after a kill.

use std::time::{Duration, Instant};

use crate::support::Seed;
use crate::support::ground::{Ground, Left, Way, known, let_pass, short};
use crate::support::trail::Trail;

const TERMS: u64 = 25;
/// What it may take to stop, beyond the time that it waits for installs.
const STOPS_WITHIN: Duration = Duration::from_secs(30);

/// What agents did when they were asked to stop, and what they left.
#[derive(Debug, Default)]
struct Stopped {
    /// Installs that had written and had not ended.
    running: u64,
    /// Disks without a boot region.
    unbootable: u64,
}

/// Stops agents that wait so long for what runs.
fn stop(drain_seconds: u64, seed: &mut Seed) -> Stopped {
    let ground = Ground::new(seed);
    let mut daemon = ground.daemon(&format!("drain_seconds = {drain_seconds}"));
    let lengths = [Way::Push, Way::Pull].map(|way| (way, ground.measure(&daemon, way)));
    let mut stopped = Stopped::default();
    for term in 0..TERMS {
        let (way, length) = lengths[usize::from(term % 2 == 1)];
        ground.lay_other_than(term);
        let (known, trail) = (known(&daemon), Trail::of(&daemon, &ground.disk));
        let moment = length.mul_f64((term as f64 + seed.below(1000) as f64 / 1000.0) / TERMS as f64);
        let writes = ground.disk.writes();
        let mut running = ground.begin(&daemon, way, term);
        let begun = Instant::now();
        // The lengths are those of a machine as it was: every third moment lies within an install however slow it has become.
        if term % 3 == 2 {
            ground.await_written(writes, &mut running);
            let_pass(short(seed));
        } else {
            let_pass(moment);
        }
        let moment = begun.elapsed();
        stopped.running += u64::from(ground.disk.writes() > writes && !running.is_finished());
        let since = Instant::now();
        daemon.ask_to_stop();
        assert!(daemon.stopped().success(), "{way:?} after {moment:.0?}");
        assert!(since.elapsed() < STOPS_WITHIN + Duration::from_secs(drain_seconds), "{:?}", since.elapsed());
        let is_done = running.finish().code == 0;
        trail.assert_kept(&daemon, &ground.disk);

        let cut = ground.cut(&daemon, way, term, known);
        assert!(!is_done || cut.left == Left::Complete, "the caller was told that it is done: {cut:?}");
        stopped.unbootable += u64::from(cut.left == Left::Unbootable);
        daemon.restart();
        if cut.left == Left::Unbootable && cut.pending.is_empty() {
            assert_eq!(daemon.disk(&ground.disk)["interrupted_install"]["reason"], "OPERATION_CANCELLED");
        }
        trail.assert_kept(&daemon, &ground.disk);
        ground.assert_named(&daemon, term, &cut);
    }
    eprintln!("of {TERMS} agents that waited {drain_seconds} s: {stopped:?}");
    stopped
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn an_agent_that_is_stopped_at_any_moment_finishes_or_cancels_and_says_which() {
    let mut seed = Seed::new(4);
    assert!(stop(0, &mut seed).unbootable >= TERMS / 5, "many of the moments must lie within an install");
    let patient = stop(30, &mut seed);
    assert!(patient.running > 0, "some of the moments must lie within an install");
    assert_eq!(patient.unbootable, 0, "what has begun is finished");
}
