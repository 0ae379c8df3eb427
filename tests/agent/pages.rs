//! Pages of `docs/` that tell of names in the sources.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use bms_agent::reason::Reason;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join("docs").join(name)).expect(name)
}

/// The functions that are tests: those below an attribute that ends so.
fn tests_of(text: &str) -> impl Iterator<Item = &str> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let marks = lines
        .iter()
        .enumerate()
        .filter(|(_, line)| matches!(**line, "#[test]" | "#[tokio::test]") || line.starts_with("#[tokio::test("));
    let named: Vec<&str> = marks
        .filter_map(|(at, _)| {
            // Other attributes may stand between.
            let function = lines[at..].iter().take(8).find(|line| line.contains("fn "))?;
            function.split_once("fn ")?.1.split(['(', '<']).next()
        })
        .collect();
    named.into_iter()
}

/// What stands in a page as `code`.
fn codes(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The text of a source that a page names: below `src/`, or of a test.
fn source(name: &str) -> String {
    let path = if name.starts_with("tests/") { root().join(name) } else { root().join("src").join(name) };
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_threat_model_names_tests_that_there_are_where_it_says_they_are() {
    let text = page("threat-model.md");
    let (_, promises) = text.split_once("\n## Promises\n").expect("the promises");
    let (promises, _) = promises.split_once("\n## ").expect("what comes behind them");
    let mut named = 0;
    for row in promises.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---")).skip(1) {
        let proof = row.trim_end_matches(" |").rsplit(" | ").next().expect("a cell");
        let (files, tests): (Vec<&str>, Vec<&str>) = codes(proof).partition(|code| code.ends_with(".rs"));
        let texts: Vec<String> = files.into_iter().map(source).collect();
        let known: BTreeSet<&str> = texts.iter().flat_map(|text| tests_of(text)).collect();
        assert!(!tests.is_empty(), "nothing proves: {row}");
        for test in &tests {
            assert!(known.contains(test), "no test {test} in the files of: {row}");
        }
        named += tests.len();
    }
    assert!(named > 60, "{named}");
}

#[test]
fn operators_are_told_what_to_do_about_every_reason() {
    let (operations, errors) = (page("operations.md"), page("errors.md"));
    let named: BTreeSet<&str> = codes(&operations).collect();
    let mut section = String::new();
    let mut seen = 0;
    for line in errors.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            section = format!("errors.md#{}", title.to_lowercase().replace(' ', "-"));
        }
        let Some(name) = line.strip_prefix("| `").and_then(|row| row.split('`').next()) else { continue };
        seen += 1;
        assert!(operations.contains(&section), "{name}: docs/operations.md does not link {section}");
        assert!(named.contains(name), "docs/operations.md does not say what to do about {name}");
    }
    assert_eq!(seen, Reason::ALL.len(), "docs/errors.md has a row for each reason");
}
