//! When a request is made again, and when no more.

use std::time::Duration;

use tokio::time::Instant;

/// The first pause, at most.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The longest that one attempt may take: a server that sends a byte a second is as good as dead.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(60);
/// What even the last attempt gets.
const SHORTEST_ATTEMPT: Duration = Duration::from_secs(1);

/// How requests are made again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    /// How long; none for a store that answers at once or never.
    pub(super) retry_for: Duration,
}

/// One request, and all attempts at it.
#[derive(Debug)]
pub(super) struct Attempts {
    /// None for a store that gets one attempt.
    deadline: Option<Instant>,
    made: u32,
}

impl Policy {
    pub(super) fn begin(self) -> Attempts {
        let deadline = (!self.retry_for.is_zero()).then(|| Instant::now() + self.retry_for);
        Attempts { deadline, made: 0 }
    }
}

impl Attempts {
    /// The longest that the present attempt may take. All of them together take no longer than they may, so that whoever
    /// waits knows for how long.
    pub(super) fn longest(&self) -> Duration {
        let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        left.map_or(LONGEST_ATTEMPT, |left| left.clamp(SHORTEST_ATTEMPT, LONGEST_ATTEMPT))
    }

    /// Attempts after the first.
    pub(super) const fn retries(&self) -> u32 {
        self.made
    }

    /// Waits before another attempt; tells false if there is to be none. Pauses double, and are anything between half of
    /// that and all of it, so that a thousand servers do not come back as one.
    pub(super) async fn pause(&mut self) -> bool {
        let longest = FIRST_PAUSE.saturating_mul(1 << self.made.min(16)).min(LONGEST_PAUSE);
        let pause = longest.mul_f64(0.5 + fastrand::f64() / 2.0);
        if self.deadline.is_none_or(|deadline| Instant::now() + pause > deadline) {
            return false;
        }
        tokio::time::sleep(pause).await;
        self.made += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::Policy;

    #[tokio::test(start_paused = true)]
    async fn attempts_end_within_the_time_and_become_rare() {
        let start = Instant::now();
        let mut attempts = Policy { retry_for: Duration::from_secs(60) }.begin();
        while attempts.pause().await {}
        assert!(start.elapsed() <= Duration::from_secs(60));
        assert!((12..=30).contains(&attempts.retries()), "{} retries", attempts.retries());
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_ends_when_the_time_for_all_of_them_does() {
        let start = Instant::now();
        let mut attempts = Policy { retry_for: Duration::from_secs(100) }.begin();
        let mut longest = Vec::new();
        loop {
            longest.push(attempts.longest().as_secs());
            tokio::time::advance(attempts.longest()).await;
            if !attempts.pause().await {
                break;
            }
        }
        assert_eq!(longest, [60, 39], "the second gets what the first and a pause left");
        assert_eq!(start.elapsed().as_secs(), 100);
        assert_eq!(Policy { retry_for: Duration::ZERO }.begin().longest().as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_needs_no_second_attempt_gets_none() {
        assert!(!Policy { retry_for: Duration::ZERO }.begin().pause().await);
    }
}
