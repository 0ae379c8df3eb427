//! Asking what may never answer. A read of sysfs can make the kernel ask a device, and no flag of `open` bounds that: the
//! firmware revision of a BMC is asked of the BMC (`drivers/char/ipmi/ipmi_msghandler.c`), the speed of a network interface
//! of its driver, under a lock that a broken one may hold for ever (`net/core/net-sysfs.c`).
//!
//! So a thread of its own asks. It cannot be stopped, but there is never more than one for a question.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, TryRecvError};
use std::thread;
use std::time::Instant;

use crate::hardware::fact::{Fact, UnknownReason};

/// A question, and whether it is still being asked.
#[derive(Debug)]
pub(super) struct Question<T> {
    unanswered: Option<Receiver<T>>,
}

/// A question that was asked just now, or could not be.
#[derive(Debug)]
pub(super) struct Asked<'a, T> {
    question: &'a mut Question<T>,
    answer: Result<Receiver<T>, Fact<T>>,
}

impl<T> Default for Question<T> {
    fn default() -> Self {
        Self { unanswered: None }
    }
}

impl<T: Send + 'static> Question<T> {
    /// Begins to ask, unless an earlier time has not been answered yet.
    pub(super) fn ask(&mut self, ask: impl FnOnce() -> T + Send + 'static) -> Asked<'_, T> {
        let is_open = |earlier: &Receiver<T>| matches!(earlier.try_recv(), Err(TryRecvError::Empty));
        self.unanswered = self.unanswered.take().filter(is_open);
        let answer = if self.unanswered.is_some() {
            Err(Fact::unknown_for(UnknownReason::TimedOut, "there is no answer to an earlier question either"))
        } else {
            begin(ask)
        };
        Asked { question: self, answer }
    }
}

fn begin<T: Send + 'static>(ask: impl FnOnce() -> T + Send + 'static) -> Result<Receiver<T>, Fact<T>> {
    let (tell, hear) = mpsc::sync_channel(1);
    // Whoever asked may have gone, and then nobody wants the answer.
    let run = move || drop(tell.send(ask()));
    match thread::Builder::new().name("survey".to_owned()).spawn(run) {
        Ok(_) => Ok(hear),
        Err(error) => Err(Fact::unknown_for(UnknownReason::Unreadable, &format!("no thread to ask: {error}"))),
    }
}

impl<T> Asked<'_, T> {
    /// The answer, if it comes in time.
    pub(super) fn wait(self, deadline: Instant) -> Fact<T> {
        let hear = match self.answer {
            Ok(hear) => hear,
            Err(unknown) => return unknown,
        };
        match hear.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(answer) => Fact::Known(answer),
            Err(RecvTimeoutError::Timeout) => {
                self.question.unanswered = Some(hear);
                Fact::unknown_for(UnknownReason::TimedOut, "there was no answer in time")
            }
            Err(RecvTimeoutError::Disconnected) => {
                Fact::unknown_for(UnknownReason::Unreadable, "the look at it was broken off")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use super::Question;
    use crate::hardware::fact::{Fact, UnknownReason};

    fn long() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    fn reason<T>(fact: &Fact<T>) -> Option<UnknownReason> {
        fact.why_unknown().map(|unknown| unknown.reason)
    }

    #[test]
    fn an_answer_is_waited_for() {
        let mut question = Question::default();
        assert_eq!(question.ask(|| 7).wait(long()), Fact::Known(7));
        assert_eq!(question.ask(|| 8).wait(long()), Fact::Known(8));
    }

    #[test]
    fn what_hangs_is_given_up_and_asked_again_only_when_it_has_answered() {
        let mut question = Question::default();
        let (release, hang) = mpsc::channel::<()>();
        let (begun, wait) = mpsc::channel();
        let ask = move || {
            begun.send(()).expect("the test waits");
            hang.recv().is_ok()
        };
        assert_eq!(reason(&question.ask(ask).wait(Instant::now())), Some(UnknownReason::TimedOut));
        wait.recv().expect("begun");
        assert_eq!(reason(&question.ask(|| unreachable!("asked twice")).wait(long())), Some(UnknownReason::TimedOut));
        release.send(()).expect("released");
        while question.ask(|| true).wait(long()) != Fact::Known(true) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_panic_of_the_asker_is_no_answer() {
        let mut question = Question::<u8>::default();
        assert_eq!(reason(&question.ask(|| panic!("broken")).wait(long())), Some(UnknownReason::Unreadable));
    }
}
