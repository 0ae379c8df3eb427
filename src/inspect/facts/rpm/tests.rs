//! Tests of the three forms of rpm's database: one file that sqlite3 made, two that are made here.

use super::{Package, bdb, ndb, package, sqlite};

/// Made by sqlite3 with pages of 512 bytes: 24 rows `(hnum, blob)`, of 256 to 946 bytes.
const SQLITE: &[u8] = include_bytes!("rpmdb.sqlite");

/// The header of a package, longer than a page.
fn header(name: &str, version: &str) -> Vec<u8> {
    let values = [(1000_u32, name), (1001, version), (1002, "1.el7")];
    let (mut index, mut data) = (Vec::new(), Vec::new());
    for (tag, value) in values {
        for word in [tag, 6, u32::try_from(data.len()).expect("short"), 1] {
            index.extend_from_slice(&word.to_be_bytes());
        }
        data.extend_from_slice(value.as_bytes());
        data.push(0);
    }
    data.resize(900, b'x');
    let head = [3, u32::try_from(data.len()).expect("short")].map(u32::to_be_bytes).concat();
    [head, index, data].concat()
}

fn read(headers: super::Headers, database: &[u8]) -> Option<Vec<Package>> {
    let mut packages = Vec::new();
    headers(database, &mut |header| packages.extend(package(header)))?;
    Some(packages)
}

fn expected() -> Vec<Package> {
    let package = |name: &str, version: &str| Package { name: name.to_owned(), version: version.to_owned() };
    vec![package("kmod-scsi_ep_front", "1.0.18-1.el7"), package("cloud-init", "0.7.9-1.el7")]
}

fn ndb_of(headers: &[Vec<u8>]) -> Vec<u8> {
    let mut database = vec![0; 4096];
    database[..4].copy_from_slice(b"RpmP");
    database[12] = 1;
    for (at, header) in headers.iter().enumerate() {
        let slot = 32 + 16 * at;
        let block = u32::try_from(database.len() / 16).expect("short");
        database[slot..slot + 4].copy_from_slice(b"Slot");
        database[slot + 4] = 1;
        database[slot + 8..slot + 12].copy_from_slice(&block.to_le_bytes());
        let len = u32::try_from(header.len()).expect("short");
        database.extend([b"BlbS".as_slice(), &[0; 8], &len.to_le_bytes(), header].concat());
        database.resize(database.len().next_multiple_of(16), 0);
    }
    database
}

fn bdb_of(headers: &[Vec<u8>]) -> Vec<u8> {
    let mut meta = vec![0; 512];
    meta[12..16].copy_from_slice(&0x0006_1561_u32.to_le_bytes());
    meta[20..24].copy_from_slice(&512_u32.to_le_bytes());
    let mut hash = vec![0; 512];
    (hash[20], hash[25]) = (u8::try_from(2 * headers.len()).expect("few"), 13);
    let mut pages = Vec::new();
    for (at, header) in headers.iter().enumerate() {
        let entry = 500 - 12 * at;
        hash[26 + 4 * at + 2..26 + 4 * at + 4].copy_from_slice(&u16::try_from(entry).expect("short").to_le_bytes());
        hash[entry] = 3;
        hash[entry + 4] = u8::try_from(2 + pages.len()).expect("few");
        let parts = header.chunks(512 - 26);
        let last = parts.len() - 1;
        for (part, content) in parts.enumerate() {
            let mut page = vec![0; 26];
            page[16] = if part == last { 0 } else { u8::try_from(3 + pages.len()).expect("few") };
            page[22..24].copy_from_slice(&u16::try_from(content.len()).expect("short").to_le_bytes());
            page[25] = 7;
            page.extend_from_slice(content);
            page.resize(512, 0);
            pages.push(page);
        }
    }
    [meta, hash, pages.concat()].concat()
}

fn headers() -> Vec<Vec<u8>> {
    vec![header("kmod-scsi_ep_front", "1.0.18"), header("cloud-init", "0.7.9")]
}

#[test]
fn packages_of_each_form_are_read() {
    assert_eq!(read(ndb::headers, &ndb_of(&headers())), Some(expected()));
    assert_eq!(read(bdb::headers, &bdb_of(&headers())), Some(expected()));
    let names: Vec<String> = read(sqlite::headers, SQLITE).expect("sound").into_iter().map(|one| one.name).collect();
    let mut sorted = names.clone();
    sorted.sort();
    let expected: Vec<String> = (0..24).map(|at| format!("package-{at:02}")).collect();
    assert_eq!(sorted, expected);
}

#[test]
fn more_headers_than_are_read_are_no_shorter_list() {
    let slots = super::MAX_HEADERS + 2;
    let many = |slots: usize| {
        // All of them are the same header, behind a table of whole pages.
        let mut database = vec![0; (slots * 16).next_multiple_of(4096)];
        let pages = u32::try_from(database.len() / 4096).expect("few");
        let block = u32::try_from(database.len() / 16).expect("short");
        let slot = [b"Slot".as_slice(), &[1, 0, 0, 0], &block.to_le_bytes(), &[0; 4]].concat();
        database[..slots * 16].copy_from_slice(&slot.repeat(slots));
        database[..4].copy_from_slice(b"RpmP");
        database[12..16].copy_from_slice(&pages.to_le_bytes());
        let header = header("a", "1");
        let len = u32::try_from(header.len()).expect("short");
        [database, [b"BlbS".as_slice(), &[0; 8], &len.to_le_bytes(), &header].concat()].concat()
    };
    assert_eq!(read(ndb::headers, &many(slots)).map(|packages| packages.len()), Some(super::MAX_HEADERS));
    assert_eq!(read(ndb::headers, &many(slots + 1)), None);
}

#[test]
fn what_is_no_database_is_told_from_an_empty_one() {
    for headers in [ndb::headers, bdb::headers, sqlite::headers] as [super::Headers; 3] {
        assert_eq!(read(headers, b""), None);
        assert_eq!(read(headers, &[0; 5000]), None);
    }
    assert_eq!(read(ndb::headers, &ndb_of(&[])), Some(Vec::new()));
    assert_eq!(read(bdb::headers, &bdb_of(&[])), Some(Vec::new()));
}

proptest::proptest! {
    #[test]
    fn no_damage_makes_it_panic_or_read_on_and_on(
        damage in proptest::collection::vec((0..40_000_usize, proptest::num::u8::ANY), 1..20),
        cut in 0..2_usize,
    ) {
        let databases = [(sqlite::headers as super::Headers, SQLITE.to_vec()), (ndb::headers, ndb_of(&headers())), (bdb::headers, bdb_of(&headers()))];
        for (headers, mut database) in databases {
            for (at, byte) in &damage {
                // Half of it hits the heads, where it hurts most.
                let at = if at % 2 == 0 { at % 600 } else { at % database.len() };
                database[at] = *byte;
            }
            database.truncate(database.len() - cut * (damage[0].0 % database.len()));
            drop(read(headers, &database));
        }
    }
}
