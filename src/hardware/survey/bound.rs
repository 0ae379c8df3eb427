//! How long an inventory may get. What a kernel shows is bounded file by file, and a directory may have thousands of them;
//! an answer must not be longer than what a client takes.

use serde::Serialize;

use crate::hardware::fact::{Fact, UnknownReason};
use crate::hardware::inventory::Inventory;

/// Longest list as JSON, in bytes: some 500 disks. No list is longer as a message of gRPC, so that all seven, and what is
/// beside them, have less than the 4 MiB that its clients take.
pub(crate) const MAX_LIST_BYTES: usize = 512 << 10;

/// Makes lists unknown that are too long to be sent.
pub(crate) fn bound(inventory: &mut Inventory) {
    bound_list(&mut inventory.memory.dimms);
    bound_list(&mut inventory.tpms);
    bound_list(&mut inventory.bmcs);
    bound_list(&mut inventory.disks);
    bound_list(&mut inventory.storage_controllers);
    bound_list(&mut inventory.network_controllers);
    bound_list(&mut inventory.nics);
}

fn bound_list<T: Serialize>(list: &mut Fact<Vec<T>>) {
    let count = list.items().len();
    let unknown = match serde_json::to_vec(list) {
        Ok(json) if json.len() <= MAX_LIST_BYTES => return,
        Ok(json) => format!("{count} of them take {} bytes, which is too much for an answer", json.len()),
        Err(error) => error.to_string(),
    };
    *list = Fact::unknown_for(UnknownReason::Malformed, &unknown);
}

#[cfg(test)]
mod tests {
    use crate::hardware::fact::{Fact, UnknownReason};
    use crate::hardware::machines::{Card, Machine};

    #[test]
    fn a_list_that_is_too_long_is_not_known() {
        let card = Card { ids: [0x8086, 0x37d0, 0, 0], class: 0x02_0000, driver: None };
        let slots = (0..1200).map(|slot| format!("pci0000:00/0000:{:02x}:{:02x}.0", slot / 32, slot % 32));
        let machine = slots.fold(Machine::new("a thousand cards", "x86_64"), |machine, slot| machine.card(&slot, card));
        let inventory = machine.inventory();
        let why = inventory.network_controllers.why_unknown().expect("too many");
        assert_eq!(why.reason, UnknownReason::Malformed);
        assert!(why.detail.as_ref().is_some_and(|detail| detail.starts_with("1200 of them take ")), "{why:?}");
        assert_eq!(inventory.storage_controllers, Fact::Known(vec![]));
        assert!(inventory.generation.value().is_none());
    }
}
