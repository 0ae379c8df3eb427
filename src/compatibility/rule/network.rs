//! Whether the kernels of an image can drive the server's network cards.

use super::super::Question;
use super::super::device::{self, Device};
use super::{drivers, of_host};
use crate::inspect::outcome::{Outcome, known};

/// Those without which the server may not be reached.
pub(super) fn needed(question: &Question<'_>) -> Outcome {
    known(&of_host(&question.host.nics, "the network cards"), |_| {
        of_cards(question, &device::cards(question.host).needed, "this server has no network card")
    })
}

/// All others.
pub(super) fn others(question: &Question<'_>) -> Outcome {
    known(&of_host(&question.host.nics, "the network cards"), |_| {
        of_cards(question, &device::cards(question.host).others, "there are no others")
    })
}

fn of_cards(question: &Question<'_>, cards: &[Device], nothing: &str) -> Outcome {
    if cards.is_empty() { Outcome::not_applicable(nothing) } else { drivers::are_installed(question, cards) }
}
