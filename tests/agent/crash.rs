//! Killed at any moment: a disk that has a partition table is right in full, and an agent that is back says no more of it.

use std::time::Duration;

use crate::support::ctl::Running;
use crate::support::ground::{Ground, Left, Way, known, let_pass, short, spin};
use crate::support::trail::Trail;
use crate::support::{Daemon, Seed};

const KILLS: u64 = 200;
/// How often an install is completed after a kill, by sending what is missing.
const COMPLETED_EVERY: u64 = 8;

/// When an install is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// So long after its begin.
    After(Duration),
    /// So long after its first write, on a machine of any speed.
    Written(Duration),
    /// So long after it is in the journal.
    Noted(Duration),
    /// So long after it has left the journal.
    Forgotten(Duration),
}

impl Moment {
    /// All of an install and a little more, evenly; of each eight, two are killed when they have begun to write, and of each
    /// eight pulls two more where the journal changes.
    fn of(kill: u64, way: Way, length: Duration, seed: &mut Seed) -> Self {
        let soon = short(seed);
        match (way, kill / 2 % 8) {
            (Way::Pull, 0) => Self::Noted(soon),
            (Way::Pull, 4) => Self::Forgotten(soon),
            (_, 2 | 6) => Self::Written(soon),
            _ => Self::After(length.mul_f64((kill as f64 + seed.below(1000) as f64 / 1000.0) / KILLS as f64 * 1.1)),
        }
    }

    /// Waits for it; the disk had taken so many writes before the install began.
    fn wait(self, ground: &Ground, writes: u64, daemon: &Daemon, running: &mut Running) {
        match self {
            Self::After(time) => let_pass(time),
            Self::Written(time) => {
                ground.await_written(writes, running);
                let_pass(time);
            }
            Self::Noted(time) => {
                spin(|| !daemon.pending().is_empty() || running.is_finished());
                let_pass(time);
            }
            Self::Forgotten(time) => {
                spin(|| !daemon.pending().is_empty() || running.is_finished());
                spin(|| daemon.pending().is_empty());
                let_pass(time);
            }
        }
    }
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn a_kill_at_any_moment_leaves_no_table_or_a_whole_image_and_an_agent_that_can_tell() {
    let mut seed = Seed::new(3);
    let ground = Ground::new(&mut seed);
    let mut daemon = ground.daemon("");
    let lengths = [Way::Push, Way::Pull].map(|way| (way, ground.measure(&daemon, way)));
    eprintln!("an install takes {lengths:.0?}");
    let (mut unbootable, mut went_on) = (0, 0);
    for kill in 0..KILLS {
        let (way, length) = lengths[usize::from(kill % 2 == 1)];
        let number = kill / 2;
        ground.lay_other_than(number);
        let (known, trail) = (known(&daemon), Trail::of(&daemon, &ground.disk));
        let moment = Moment::of(kill, way, length, &mut seed);
        let writes = ground.disk.writes();
        let mut running = ground.begin(&daemon, way, number);
        moment.wait(&ground, writes, &daemon, &mut running);
        daemon.kill();
        drop(running);
        trail.assert_kept(&daemon, &ground.disk);

        let cut = ground.cut(&daemon, way, number, known);
        // Before the disk of a pull is touched, it is in the journal.
        assert!(way == Way::Push || cut.left != Left::Unbootable || cut.pending.len() == 1, "{moment:?}: {cut:?}");
        unbootable += u64::from(cut.left == Left::Unbootable);
        went_on += u64::from(!cut.pending.is_empty());
        daemon.restart();
        trail.assert_kept(&daemon, &ground.disk);
        ground.assert_named(&daemon, number, &cut);
        if kill % COMPLETED_EVERY == 0 {
            ground.complete(&daemon, number);
        }
    }
    eprintln!("of {KILLS} kills {unbootable} left no boot region, and {went_on} pulls went on");
    assert!(unbootable >= KILLS / 6, "many of the moments must lie within an install");
    assert!(went_on >= KILLS / 10, "many pulls must have been killed in their middle");
}
