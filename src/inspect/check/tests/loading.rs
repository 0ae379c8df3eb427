//! Tests of tables of checks: those that are built in, and those of operators.

use std::fs;
use std::path::Path;

use super::fixture::Image;
use crate::inspect::check::{Checks, ChecksError, MAX_CHECKS};
use crate::inspect::report::Status;

const MINE: &str = r#"
[[check]]
id = "MINE-01"
title = "our agent is installed"
plug_in = "image"
severity = "required"
rule = { file = { any_of = ["/opt/agent"] } }
remedy = "Install it."
doc = "We need it."
"#;

fn parse(text: &str) -> Result<Checks, ChecksError> {
    Checks::parse(Path::new("/x/mine.toml"), text)
}

fn refusal(text: &str) -> String {
    parse(text).expect_err("refused").to_string()
}

#[test]
fn the_guide_tells_of_every_check_that_is_built_in() {
    let guide = include_str!("../../../../docs/inspection.md");
    for check in Checks::built_in().expect("built in").iter() {
        assert!(guide.contains(&format!("| {} |", check.id)), "{} is not in docs/inspection.md", check.id);
    }
}

#[test]
fn operators_add_and_override_checks() {
    let directory = tempfile::tempdir().expect("directory");
    fs::write(directory.path().join("10-mine.toml"), MINE).expect("write");
    let over = MINE.replace("MINE-01", "CI-01").replace("our agent", "what we call cloud-init");
    fs::write(directory.path().join("20-over.toml"), over).expect("write");
    fs::write(directory.path().join("README"), "no checks").expect("write");
    let built_in = Checks::built_in().expect("built in");
    let loaded = Checks::load(directory.path()).expect("loaded");
    assert_eq!(loaded.iter().count(), built_in.iter().count() + 1);
    assert_eq!(loaded.iter().next().expect("first").title, "what we call cloud-init is installed");
    assert_eq!(loaded.iter().last().expect("last").id, "MINE-01");
    assert_eq!(Checks::load(&directory.path().join("missing")).expect("nothing there"), built_in);
}

#[test]
fn what_is_wrong_in_a_table_is_named() {
    let unknown = refusal(&MINE.replace("remedy", "remedi"));
    assert!(unknown.contains("/x/mine.toml") && unknown.contains("line") && unknown.contains("remedi"), "{unknown}");
    let kind = refusal(&MINE.replace("file =", "fiel ="));
    assert!(kind.contains("line 7") && kind.contains("fiel"), "{kind}");
    let id = refusal(&MINE.replace("MINE-01", "mine"));
    assert!(id.contains("\"mine\"") && id.contains("id must"), "{id}");
    let text = refusal(&MINE.replace("Install it.", &"x".repeat(501)));
    assert!(text.contains("MINE-01") && text.contains("remedy must have 1 to 500 bytes"), "{text}");
    assert!(refusal(&MINE.replace("[\"/opt/agent\"]", "[]")).contains("rule asks for nothing"));
    assert!(refusal(&format!("{MINE}{MINE}")).contains("id is there twice"));
    let nested = format!("{}{{ file = {{ any_of = [\"x\"] }} }}{}", "{ all = [".repeat(9), "] }".repeat(9));
    assert!(refusal(&MINE.replace("{ file = { any_of = [\"/opt/agent\"] } }", &nested)).contains("nested too deep"));
}

#[test]
fn there_are_not_too_many_checks() {
    let directory = tempfile::tempdir().expect("directory");
    let many: String = (0..MAX_CHECKS).map(|at| MINE.replace("MINE-01", &format!("MINE-{at}"))).collect();
    fs::write(directory.path().join("many.toml"), many).expect("write");
    let error = Checks::load(directory.path()).expect_err("too many");
    assert!(error.to_string().contains(&MAX_CHECKS.to_string()), "{error}");
}

#[test]
fn checks_survive_the_way_to_the_child() {
    let checks = Checks::built_in().expect("built in");
    let sent = serde_json::to_vec(&checks).expect("JSON");
    assert_eq!(serde_json::from_slice::<Checks>(&sent).expect("checks"), checks);
}

/// No check that is built in asks for that.
#[test]
fn a_package_that_shall_not_be_there_is_told_from_one_that_is_not() {
    let status = |image: &Image, pattern: &str| {
        let rule = format!("{{ no_package = {{ any_of = [\"none\", \"{pattern}\"] }} }}");
        let checks = parse(&MINE.replace("{ file = { any_of = [\"/opt/agent\"] } }", &rule)).expect("a table");
        let finding = image.report_of(&checks).findings.remove(0);
        (finding.status, finding.reason)
    };
    let image = Image::linux();
    let found = (Status::Fail, "package cloud-init is installed".to_owned());
    assert_eq!(status(&image, "cloud-*"), found);
    assert_eq!(status(&image, "snapd"), (Status::Pass, "no package none or snapd is installed".to_owned()));
    image.remove("var/lib/dpkg");
    image.write("var/lib/rpm/rpmdb.sqlite", "no database");
    assert_eq!(status(&image, "snapd").0, Status::Unknown);
}

proptest::proptest! {
    #[test]
    fn no_file_makes_it_panic(text in "(\\PC|[\\[\\]={}\"\n]|check|rule|all)*") {
        drop(parse(&text));
    }
}
