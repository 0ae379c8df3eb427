//! Whether the kernels of an image can drive the server's network cards.

use super::super::Question;
use super::super::device::{self, Cards, Device};
use super::{drivers, of_host};
use crate::inspect::facts::Known;
use crate::inspect::outcome::{Outcome, known};

/// Those without which the server may not be reached.
pub(super) fn needed(question: &Question<'_>) -> Outcome {
    of_cards(question, |cards| (&cards.needed, cards.any_may_be_needed), "this server has no network card")
}

/// All others.
pub(super) fn others(question: &Question<'_>) -> Outcome {
    of_cards(question, |cards| (&cards.others, !cards.any_may_be_needed), "there are no others")
}

/// Asks of some cards. `choose` says, too, whether cards without an interface, which have no driver on this system, would be
/// among them: then it must be known whether there are such.
fn of_cards(question: &Question<'_>, choose: impl FnOnce(&Cards) -> (&[Device], bool), nothing: &str) -> Outcome {
    known(&of_host(&question.host.nics, "the network cards"), |_| {
        let cards = device::cards(question.host);
        let (cards, has_silent) = choose(&cards);
        let driven =
            if cards.is_empty() { Outcome::not_applicable(nothing) } else { drivers::are_installed(question, cards) };
        match of_host(&question.host.network_controllers, "the list of network controllers") {
            Known::Unknown(why) if has_silent => Outcome::all(vec![driven, Outcome::unknown(why)]),
            Known::Unknown(_) | Known::Is(_) => driven,
        }
    })
}
