//! Facts on the wire: what is known is set, what is not is absent and noted.

use super::{Mirrored, Place};
use crate::hardware::fact::{Fact, Unknown};

impl Place {
    /// What is known; why it is not is noted.
    pub(super) fn known<T>(&mut self, fact: Fact<T>) -> Option<T> {
        match fact {
            Fact::Known(value) => Some(value),
            Fact::Unknown(unknown) => {
                self.unknown.insert(self.path.clone(), unknown);
                None
            }
        }
    }

    /// Why what is not known here is not; the default is the reason of what nobody explained.
    pub(super) fn why_unknown(&mut self) -> Option<Unknown> {
        self.unknown.remove(&self.path)
    }
}

impl<T: Mirrored> Mirrored for Fact<T> {
    type Wire = Option<T::Wire>;

    fn view(self, place: &mut Place) -> Self::Wire {
        place.known(self).map(|value| value.view(place))
    }

    fn parse(wire: Self::Wire, place: &mut Place) -> Self {
        match wire {
            Some(value) => Self::Known(T::parse(value, place)),
            None => Self::Unknown(place.why_unknown().unwrap_or_default()),
        }
    }
}

/// A list is never absent on the wire: if it is empty, its note tells whether it is known.
impl<T: Mirrored> Mirrored for Fact<Vec<T>> {
    type Wire = Vec<T::Wire>;

    fn view(self, place: &mut Place) -> Self::Wire {
        let items = place.known(self).unwrap_or_default().into_iter().enumerate();
        items.map(|(index, item)| place.within(&format!("[{index}]"), |place| item.view(place))).collect()
    }

    fn parse(wire: Self::Wire, place: &mut Place) -> Self {
        match place.why_unknown() {
            Some(unknown) if wire.is_empty() => Self::Unknown(unknown),
            Some(_) | None => {
                let items = wire.into_iter().enumerate();
                let item = |(index, item)| place.within(&format!("[{index}]"), |place| T::parse(item, place));
                Self::Known(items.map(item).collect())
            }
        }
    }
}
