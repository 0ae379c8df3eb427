use std::path::Path;

use super::{AliasError, Aliases, Likeness, Part};
use crate::hardware::model::HardwareModel;

fn x86(vendor: &str, product: &str) -> HardwareModel {
    HardwareModel::new(Some(vendor), Some(product), Some("x86_64"))
}

fn arm(vendor: &str, product: &str) -> HardwareModel {
    HardwareModel::new(Some(vendor), Some(product), Some("aarch64"))
}

fn with(text: &str) -> Result<Aliases, AliasError> {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("aliases.toml");
    std::fs::write(&path, text).expect("write");
    Aliases::load(&path)
}

#[test]
fn a_renamed_vendor_and_a_renamed_product_are_the_same() {
    let aliases = Aliases::built_in().expect("aliases");
    let huawei = x86("Huawei", "2288H V5");
    for (one, other, expected) in [
        (huawei.clone(), x86("XFUSION", "2288H V5"), Likeness::Same),
        (huawei.clone(), x86("Huawei Technologies Co., Ltd.", "2288h  v5"), Likeness::Same),
        (huawei.clone(), x86("xFusion", "5288 V5"), Likeness::Different(Part::Product)),
        (huawei.clone(), x86("Dell Inc.", "2288H V5"), Likeness::Different(Part::Vendor)),
        (huawei.clone(), arm("Huawei", "2288H V5"), Likeness::Different(Part::Architecture)),
        (arm("Huawei", "TaiShan 2280 V2"), arm("Huawei", "TaiShan 200 (Model 2280)"), Likeness::Same),
        (arm("Acme", "TaiShan 2280 V2"), arm("Acme", "TaiShan 200 (Model 2280)"), Likeness::Different(Part::Product)),
    ] {
        assert_eq!(aliases.compare(&one, &other), expected, "{one} and {other}");
        assert_eq!(aliases.compare(&other, &one), expected, "{other} and {one}");
    }
    assert_eq!(aliases.resolve(&x86("xFusion", "2288H V5")), huawei);
}

#[test]
fn what_is_known_to_differ_decides_and_the_unknown_is_never_the_same() {
    let aliases = Aliases::built_in().expect("aliases");
    let known = arm("Huawei", "TaiShan 2280 V2");
    let model = |vendor, product| HardwareModel::new(vendor, product, Some("aarch64"));
    for (other, expected) in [
        (model(None, Some("TaiShan 200 (Model 2280)")), Likeness::Unknown(Part::Vendor)),
        (model(None, Some("TaiShan 5280")), Likeness::Different(Part::Product)),
        (model(Some("Huawei"), None), Likeness::Unknown(Part::Product)),
        (model(Some("Acme"), None), Likeness::Different(Part::Vendor)),
        (HardwareModel::new(Some("Huawei"), Some("TaiShan 2280 V2"), None), Likeness::Unknown(Part::Architecture)),
    ] {
        assert_eq!(aliases.compare(&known, &other), expected, "{other}");
    }
    let nothing = HardwareModel::default();
    assert_eq!(aliases.compare(&nothing, &nothing), Likeness::Unknown(Part::Architecture));
}

#[test]
fn the_operator_adds_names_of_vendors_and_products() {
    let aliases = with(
        r#"
        [[product]]
        vendor = "BigCloud"
        name = "bm.large"
        also = ["RH2288H V3"]

        [[vendor]]
        name = "BigCloud"
        also = ["Huawei"]
        "#,
    )
    .expect("aliases");
    assert_eq!(aliases.compare(&x86("XFUSION", "RH2288H V3"), &x86("BigCloud", "bm.large")), Likeness::Same);
    assert_eq!(
        aliases.compare(&arm("Huawei", "TaiShan 2280 V2"), &arm("BigCloud", "TaiShan 200 (Model 2280)")),
        Likeness::Same,
        "what is built in holds for the vendor's new name"
    );
}

#[test]
fn names_that_meet_in_one_more_name_are_the_same() {
    let aliases = with(
        r#"
        vendor = [
            { name = "a", also = ["b"] },
            { name = "c", also = ["d"] },
            { name = "d", also = ["B"] },
        ]
        "#,
    )
    .expect("aliases");
    assert_eq!(aliases.compare(&x86("a", "x"), &x86("c", "x")), Likeness::Same);
    assert_eq!(aliases.resolve(&x86("d", "x")), x86("a", "x"));
}

#[test]
fn a_file_that_is_no_table_is_refused_with_its_line() {
    for (text, expected) in [
        ("[[vendor]]\nname = 1\n", "line 2: invalid type"),
        ("[[vendor]]\nname = \"a\"\nalso = []\nlike = []\n", "line 4: unknown field `like`"),
        ("[[product]]\nname = \"a\"\nalso = []\n", "line 1: missing field `vendor`"),
        ("[[vendor]]\nname = \" \"\nalso = []\n", "\" \" is no name"),
    ] {
        let error = with(text).expect_err("refused").to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert!(matches!(with(&"#".repeat(65 << 10)), Err(AliasError::Unreadable { .. })));
    assert!(matches!(Aliases::load(Path::new("/dev")), Err(AliasError::Unreadable { .. })));
}

#[test]
fn without_a_file_there_are_the_built_in_ones() {
    assert_eq!(Aliases::load(Path::new("/nowhere")).expect("aliases"), Aliases::built_in().expect("aliases"));
}
