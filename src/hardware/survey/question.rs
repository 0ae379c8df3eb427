//! Asking what may never answer. A read of sysfs can make the kernel ask a device, and no flag of `open` bounds that: the
//! firmware revision of a BMC is asked of the BMC (`drivers/char/ipmi/ipmi_msghandler.c`), the speed of a network interface
//! of its driver, under a lock that a broken one may hold for ever (`net/core/net-sysfs.c`), a variable of UEFI of the
//! firmware (`fs/efivarfs/file.c`).
//!
//! So a thread of its own asks. It cannot be stopped, but there is never more than one for a question, and everyone who
//! has the question waits for that one, as long as he likes. An answer that comes when somebody has given up on it is kept
//! for who asks next: what always takes too long is known every other time, as it was the time before.

use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use crate::hardware::fact::{Fact, UnknownReason};

/// A question, to be asked from any thread. Nothing is locked while anybody waits.
#[derive(Debug)]
pub(super) struct Question<T> {
    latest: Mutex<Option<Arc<Round<T>>>>,
}

/// A question that was asked.
#[derive(Debug)]
pub(super) struct Asked<T>(Arc<Round<T>>);

/// One time that a question is asked.
#[derive(Debug)]
struct Round<T> {
    state: Mutex<State<T>>,
    told: Condvar,
}

#[derive(Debug)]
enum State<T> {
    /// A thread asks.
    Open,
    /// A thread asks, and somebody has given up on it.
    Overdue,
    /// It has asked.
    Done {
        answer: Fact<T>,
        /// Whether it came too late for somebody, and is for who asks next.
        is_kept: bool,
    },
}

impl<T> Default for Question<T> {
    fn default() -> Self {
        Self { latest: Mutex::new(None) }
    }
}

impl<T: Clone + Send + 'static> Question<T> {
    /// Begins to ask, unless a thread is at it, or has left an answer.
    pub(super) fn ask(&self, ask: impl FnOnce() -> Fact<T> + Send + 'static) -> Asked<T> {
        let mut latest = lock(&self.latest);
        match latest.as_ref() {
            Some(round) if round.is_news() => Asked(round.clone()),
            Some(_) | None => Asked(latest.insert(begin(ask)).clone()),
        }
    }
}

fn begin<T: Send + 'static>(ask: impl FnOnce() -> Fact<T> + Send + 'static) -> Arc<Round<T>> {
    let round = Arc::new(Round { state: Mutex::new(State::Open), told: Condvar::new() });
    let run = {
        let round = round.clone();
        move || {
            // What the asker leaves half done, nobody sees.
            let answer = panic::catch_unwind(AssertUnwindSafe(ask));
            let broken = |_| Fact::unknown_for(UnknownReason::Unreadable, "the look at it was broken off");
            round.tell(answer.unwrap_or_else(broken));
        }
    };
    if let Err(error) = thread::Builder::new().name("survey".to_owned()).spawn(run) {
        round.tell(Fact::unknown_for(UnknownReason::Unreadable, &format!("no thread to ask: {error}")));
    }
    round
}

impl<T> Round<T> {
    /// Whether there will be an answer, or one was kept: it is kept no longer.
    fn is_news(&self) -> bool {
        match &mut *lock(&self.state) {
            State::Open | State::Overdue => true,
            State::Done { is_kept, .. } => std::mem::take(is_kept),
        }
    }

    fn tell(&self, answer: Fact<T>) {
        let mut state = lock(&self.state);
        // That nothing is known is worth asking again.
        let is_kept = matches!(*state, State::Overdue) && answer.value().is_some();
        *state = State::Done { answer, is_kept };
        self.told.notify_all();
    }
}

impl<T: Clone> Asked<T> {
    /// The answer, if it comes in time; nobody waits for what somebody has given up on.
    pub(super) fn wait(self, deadline: Instant) -> Fact<T> {
        let Self(round) = self;
        let (state, left) = (lock(&round.state), deadline.saturating_duration_since(Instant::now()));
        let waited = round.told.wait_timeout_while(state, left, |state| matches!(state, State::Open));
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match &*state {
            State::Done { answer, .. } => answer.clone(),
            State::Overdue => {
                Fact::unknown_for(UnknownReason::TimedOut, "there is no answer to an earlier question either")
            }
            State::Open => {
                *state = State::Overdue;
                Fact::unknown_for(UnknownReason::TimedOut, "there was no answer in time")
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Sender};
    use std::time::{Duration, Instant};

    use super::Question;
    use crate::hardware::fact::{Fact, UnknownReason};

    fn long() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    fn reason<T>(fact: &Fact<T>) -> Option<UnknownReason> {
        fact.why_unknown().map(|unknown| unknown.reason)
    }

    /// An asker that answers with what it is sent.
    fn asker() -> (Sender<Fact<u8>>, impl FnOnce() -> Fact<u8> + Send + 'static) {
        let (answer, hear) = mpsc::channel();
        (answer, move || hear.recv().expect("an answer"))
    }

    #[test]
    fn an_answer_is_waited_for() {
        let question = Question::default();
        assert_eq!(question.ask(|| Fact::Known(7)).wait(long()), Fact::Known(7));
        assert_eq!(question.ask(|| Fact::Known(8)).wait(long()), Fact::Known(8));
    }

    #[test]
    fn two_who_ask_at_once_get_one_answer() {
        let question = Question::default();
        let (answer, ask) = asker();
        let first = question.ask(ask);
        let second = question.ask(|| unreachable!("asked twice"));
        answer.send(Fact::Known(7)).expect("asked");
        assert_eq!([first.wait(long()), second.wait(long())], [Fact::Known(7), Fact::Known(7)]);
    }

    #[test]
    fn what_hangs_costs_one_wait_and_its_answer_is_kept_for_the_next() {
        let question = Question::default();
        let (answer, ask) = asker();
        assert_eq!(reason(&question.ask(ask).wait(Instant::now())), Some(UnknownReason::TimedOut));
        let begun = Instant::now();
        let again = question.ask(|| unreachable!("asked twice")).wait(long());
        assert_eq!(reason(&again), Some(UnknownReason::TimedOut));
        assert!(begun.elapsed() < Duration::from_secs(30));
        answer.send(Fact::Known(7)).expect("asked");
        let kept = std::iter::repeat_with(|| question.ask(|| unreachable!("thrown away")).wait(long()));
        assert_eq!(
            kept.inspect(|_| std::thread::yield_now()).find(|fact| fact.value().is_some()),
            Some(Fact::Known(7))
        );
        assert_eq!(question.ask(|| Fact::Known(8)).wait(long()), Fact::Known(8));
    }

    #[test]
    fn a_late_answer_that_says_nothing_is_not_kept() {
        let question = Question::default();
        let (answer, ask) = asker();
        assert_eq!(reason(&question.ask(ask).wait(Instant::now())), Some(UnknownReason::TimedOut));
        answer.send(Fact::unknown(UnknownReason::Unreadable)).expect("asked");
        let later = std::iter::repeat_with(|| question.ask(|| Fact::Known(8)).wait(long()));
        let seen =
            later.inspect(|_| std::thread::yield_now()).find(|fact| reason(fact) != Some(UnknownReason::TimedOut));
        assert_eq!(seen, Some(Fact::Known(8)));
    }

    #[test]
    fn a_panic_of_the_asker_is_no_answer() {
        let question = Question::<u8>::default();
        assert_eq!(reason(&question.ask(|| panic!("broken")).wait(long())), Some(UnknownReason::Unreadable));
    }
}
