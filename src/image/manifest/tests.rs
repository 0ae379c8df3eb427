//! Manifests: what comes back, what is refused, and what the id covers.

use serde_json::{Value, json};

use super::{CaptureMode, Manifest, ManifestInvalid};

fn example() -> Value {
    json!({
        "schema": 1,
        "name": "debian-12",
        "version": "20261101",
        "kind": "public",
        "owner": "operator",
        "os": { "family": "linux", "distro": "debian", "version": "12", "architecture": "x86_64" },
        "disk": {
            "size_bytes": 4_294_967_296_u64,
            "logical_block_size": 512,
            "partition_table": "gpt",
            "firmware": "uefi",
            "min_disk_bytes": 4_294_967_296_u64,
            "min_memory_bytes": 1_073_741_824,
        },
        "content": {
            "root": "11".repeat(32),
            "group_size_bytes": 262_144,
            "chunk_size_bytes": 1_048_576,
            "tree": "22".repeat(32),
            "data_bytes": 1_300_000_000,
            "stored_bytes": 400_000_000,
        },
        "created_at": 1_790_000_000,
    })
}

fn with(path: &str, value: Value) -> Vec<u8> {
    let mut manifest = example();
    *manifest.pointer_mut(path).expect("a field of the example") = value;
    manifest.to_string().into_bytes()
}

fn refused(path: &str, value: Value) -> ManifestInvalid {
    Manifest::decode(&with(path, value)).expect_err("refused")
}

#[test]
fn comes_back_and_its_id_is_the_hash_of_its_bytes() {
    let manifest = Manifest::decode_strict(example().to_string().as_bytes()).expect("valid");
    let (bytes, id) = manifest.encode().expect("valid");
    assert_eq!(id.0, blake3::hash(&bytes));
    assert_eq!(id.to_string().len(), 64);
    assert_eq!(Manifest::decode(&bytes).expect("valid"), (manifest, id));
}

#[test]
fn white_space_is_another_image() {
    let (bytes, id) =
        Manifest::decode_strict(example().to_string().as_bytes()).expect("valid").encode().expect("valid");
    let mut spaced = bytes;
    spaced.push(b'\n');
    assert_ne!(Manifest::decode(&spaced).expect("valid").1, id);
}

#[test]
fn unknown_fields_are_read_but_not_written() {
    let mut later = example();
    later["invented_later"] = json!(true);
    let bytes = later.to_string().into_bytes();
    let (_, id) = Manifest::decode(&bytes).expect("tolerated");
    assert_eq!(id.0, blake3::hash(&bytes));
    assert!(matches!(Manifest::decode_strict(&bytes), Err(ManifestInvalid::Unknown)));
}

#[test]
fn values_that_make_no_sense_are_refused_by_name() {
    for (path, value, field) in [
        ("/name", json!("../escape"), "name"),
        ("/name", json!(""), "name"),
        ("/version", json!("1".repeat(129)), "version"),
        ("/owner", json!("a\nb"), "owner"),
        ("/disk/size_bytes", json!(0), "disk.size_bytes"),
        ("/disk/size_bytes", json!(u64::MAX), "disk.size_bytes"),
        ("/disk/min_disk_bytes", json!(1), "disk.min_disk_bytes"),
        ("/disk/logical_block_size", json!(520), "disk.logical_block_size"),
        ("/content/data_bytes", json!(5_000_000_000_u64), "content.data_bytes"),
        ("/content/group_size_bytes", json!(262_145), "content.group_size_bytes"),
    ] {
        let ManifestInvalid::Field { field: named, .. } = refused(path, value) else { panic!("{path}: another error") };
        assert_eq!(named, field);
    }
}

#[test]
fn other_schemas_bad_digests_and_long_files_are_refused() {
    assert!(matches!(refused("/schema", json!(2)), ManifestInvalid::Schema { schema: 2 }));
    assert!(matches!(refused("/content/root", json!("ab")), ManifestInvalid::Malformed(_)));
    assert!(matches!(refused("/kind", json!("secret")), ManifestInvalid::Malformed(_)));
    let long = vec![b' '; super::MAX_BYTES + 1];
    assert!(matches!(Manifest::decode(&long), Err(ManifestInvalid::TooLong { .. })));
}

#[test]
fn a_captured_image_says_how_and_need_not_name_a_system() {
    let mut captured = example();
    captured.as_object_mut().expect("an object").remove("os");
    captured["source_hardware_model"] = json!("2288H V5");
    captured["capture"] = json!({ "mode": "used-blocks", "disk_model": "SSD", "free_bytes": 5, "notes": ["ext4"] });
    let manifest = Manifest::decode_strict(captured.to_string().as_bytes()).expect("valid");
    let capture = manifest.capture.as_ref().expect("captured");
    assert_eq!((manifest.os.is_none(), capture.mode, capture.free_bytes), (true, CaptureMode::UsedBlocks, 5));
    captured["capture"] = json!({ "mode": "bit-exact", "free_bytes": 0 });
    let manifest = Manifest::decode_strict(captured.to_string().as_bytes()).expect("valid");
    assert_eq!(manifest.capture.expect("captured").mode, CaptureMode::BitExact);
}
