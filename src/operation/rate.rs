//! How fast an operation goes, and how long it will take.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Time over which a rate is taken: long enough to be calm, short enough to show a stall.
const WINDOW: Duration = Duration::from_secs(3);

/// Samples of a number that grows, over the last seconds.
#[derive(Debug, Default)]
pub struct Rate {
    samples: VecDeque<(Instant, u64)>,
}

impl Rate {
    /// Adds a sample, and gives the rate in bytes a second; 0 with less than two samples.
    pub fn sample(&mut self, now: Instant, bytes: u64) -> u64 {
        self.samples.push_back((now, bytes));
        while self.samples.len() > 2 && self.samples.get(1).is_some_and(|(at, _)| now - *at >= WINDOW) {
            self.samples.pop_front();
        }
        match self.samples.front() {
            Some((then, before)) if *then < now => per_second(bytes.saturating_sub(*before), now - *then),
            _ => 0,
        }
    }
}

fn per_second(bytes: u64, time: Duration) -> u64 {
    let micros = time.as_micros().max(1);
    u64::try_from(u128::from(bytes) * 1_000_000 / micros).unwrap_or(u64::MAX)
}

/// Time for `left` bytes at `rate` bytes a second; `None` while nothing moves.
pub fn eta(left: u64, rate: u64) -> Option<Duration> {
    (rate > 0).then(|| Duration::from_secs(left.div_ceil(rate)))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Rate, eta};

    #[test]
    fn follows_the_last_seconds() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        assert_eq!(rate.sample(start, 0), 0);
        assert_eq!(rate.sample(start + Duration::from_secs(1), 100), 100);
        assert_eq!(rate.sample(start + Duration::from_secs(2), 200), 100);
        for second in 3..20 {
            rate.sample(start + Duration::from_secs(second), 200);
        }
        assert_eq!(rate.sample(start + Duration::from_secs(20), 200), 0, "a stall shows");
    }

    #[test]
    fn eta_is_unknown_while_nothing_moves() {
        assert_eq!(eta(100, 0), None);
        assert_eq!(eta(101, 100), Some(Duration::from_secs(2)));
    }
}
