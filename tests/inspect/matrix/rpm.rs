//! A database of rpm, in the form that has one file and no pages.

/// A database with packages of these names.
pub(super) fn database(names: &[&str]) -> Vec<u8> {
    let mut database = vec![0; 4096];
    database[..4].copy_from_slice(b"RpmP");
    database[12] = 1;
    for (at, name) in names.iter().enumerate() {
        let (slot, header) = (32 + 16 * at, header(name));
        let block = u32::try_from(database.len() / 16).expect("short");
        database[slot..slot + 4].copy_from_slice(b"Slot");
        database[slot + 4] = 1;
        database[slot + 8..slot + 12].copy_from_slice(&block.to_le_bytes());
        let len = u32::try_from(header.len()).expect("short");
        database.extend([b"BlbS".as_slice(), &[0; 8], &len.to_le_bytes(), &header].concat());
        database.resize(database.len().next_multiple_of(16), 0);
    }
    database
}

/// Name, version and release of a package.
fn header(name: &str) -> Vec<u8> {
    let (mut index, mut data) = (Vec::new(), Vec::new());
    for (tag, value) in [(1000_u32, name), (1001, "1.0.18"), (1002, "1.el8")] {
        for word in [tag, 6, u32::try_from(data.len()).expect("short"), 1] {
            index.extend_from_slice(&word.to_be_bytes());
        }
        data.extend_from_slice(value.as_bytes());
        data.push(0);
    }
    let head = [3, u32::try_from(data.len()).expect("short")].map(u32::to_be_bytes).concat();
    [head, index, data].concat()
}
