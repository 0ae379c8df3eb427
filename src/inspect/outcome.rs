//! What a rule came to, before it is known how much that counts: of the checks of an image, and of the compatibility gate.

use crate::inspect::facts::Known;
use crate::inspect::facts::text::FactError;
use crate::inspect::report::{Evidence, MAX_EVIDENCE, MAX_TEXT_BYTES, Status};

/// Most that is said of several outcomes together, in bytes: more than anyone is shown, so that what is cut off is seen to be.
const MAX_REASON_BYTES: usize = 2 * MAX_TEXT_BYTES;

/// What a rule came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) status: Status,
    /// Why, in a clause.
    pub(crate) reason: String,
    pub(crate) evidence: Vec<Evidence>,
}

impl Outcome {
    fn new(status: Status, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into(), evidence: Vec::new() }
    }

    pub(crate) fn pass(reason: impl Into<String>) -> Self {
        Self::new(Status::Pass, reason)
    }

    pub(crate) fn warn(reason: impl Into<String>) -> Self {
        Self::new(Status::Warn, reason)
    }

    pub(crate) fn fail(reason: impl Into<String>) -> Self {
        Self::new(Status::Fail, reason)
    }

    pub(crate) fn unknown(reason: impl Into<String>) -> Self {
        Self::new(Status::Unknown, reason)
    }

    pub(crate) fn not_applicable(reason: impl Into<String>) -> Self {
        Self::new(Status::NotApplicable, reason)
    }

    /// Passes if something holds, and fails otherwise; both for a reason that tells it.
    pub(crate) fn of(holds: bool, reason: impl Into<String>) -> Self {
        if holds { Self::pass(reason) } else { Self::fail(reason) }
    }

    pub(crate) fn from_result(result: Result<Self, FactError>) -> Self {
        result.unwrap_or_else(|error| Self::unknown(crate::text::chain(&error)))
    }

    /// With one more thing that was looked at.
    pub(crate) fn with(mut self, path: impl Into<String>, value: impl Into<String>) -> Self {
        self.evidence.push(Evidence { path: path.into(), value: value.into() });
        self
    }

    /// What several rules come to that must all hold: the worst of them. Those that do not apply do not count.
    pub(crate) fn all(outcomes: Vec<Self>) -> Self {
        let worst = outcomes.iter().map(|outcome| outcome.status).max().unwrap_or(Status::NotApplicable);
        Self::together(worst, outcomes)
    }

    /// What several rules come to of which one must hold: the best of them.
    pub(crate) fn any(outcomes: Vec<Self>) -> Self {
        let applying = outcomes.iter().filter(|outcome| outcome.status != Status::NotApplicable);
        let Some(best) = applying.min_by_key(|outcome| outcome.status) else { return Self::all(outcomes) };
        match best.status {
            Status::NotApplicable | Status::Pass | Status::Warn => best.clone(),
            Status::Unknown | Status::Fail => Self::together(best.status, outcomes),
        }
    }

    /// Several, with the reasons of those that have this status: as many as there is room for, however many a stranger's
    /// image gives.
    fn together(status: Status, outcomes: Vec<Self>) -> Self {
        let mut reasons: Vec<String> = Vec::new();
        let mut evidence = Vec::new();
        let mut room = MAX_REASON_BYTES;
        for outcome in outcomes {
            if outcome.status == status && room > 0 && !reasons.contains(&outcome.reason) {
                room = room.saturating_sub(outcome.reason.len().max(1));
                reasons.push(outcome.reason);
            }
            evidence.extend(outcome.evidence);
            evidence.truncate(MAX_EVIDENCE);
        }
        Self { status, reason: reasons.join("; "), evidence }
    }

    /// The same, if it matters whether a check applies and that is not known.
    pub(crate) fn doubted(self, why: &str) -> Self {
        match self.status {
            Status::NotApplicable | Status::Pass => self,
            Status::Warn | Status::Unknown | Status::Fail => {
                let reason = format!("{why}, and it would matter: {}", self.reason);
                Self { status: Status::Unknown, reason, ..self }
            }
        }
    }
}

/// Asks what is known, or says why it is not.
pub(crate) fn known<T>(known: &Known<T>, ask: impl FnOnce(&T) -> Outcome) -> Outcome {
    match known {
        Known::Is(is) => ask(is),
        Known::Unknown(reason) => Outcome::unknown(reason.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::Outcome;
    use crate::inspect::report::Status;

    #[test]
    fn of_ever_so_many_outcomes_no_more_is_said_than_is_shown() {
        let outcome = |number: u32| Outcome::fail(format!("reason {number}")).with(format!("/{number}"), "value");
        let all = Outcome::all((0..2000 * 64).map(outcome).chain([Outcome::pass("good")]).collect());
        assert_eq!(all.status, Status::Fail);
        assert!(all.reason.starts_with("reason 0; reason 1; "), "{}", all.reason);
        assert!((300..1000).contains(&all.reason.len()), "{} bytes", all.reason.len());
        assert_eq!((all.evidence.len(), all.evidence[31].path.as_str()), (32, "/31"));
    }
}
