//! Pages of `docs/` that tell of names in the sources.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use bms_agent::reason::Reason;

/// Parts of the repository that have tests.
const SOURCES: [&str; 2] = ["src", "tests"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join("docs").join(name)).expect(name)
}

/// All files of Rust below a directory.
fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let (path, kind) = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?))).expect("an entry");
        if kind.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
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

#[test]
fn the_threat_model_names_tests_and_files_that_there_are() {
    let mut files = Vec::new();
    SOURCES.iter().for_each(|dir| sources(&root().join(dir), &mut files));
    let texts: Vec<String> = files.iter().map(|path| fs::read_to_string(path).expect("a source")).collect();
    let known: BTreeSet<&str> = texts.iter().flat_map(|text| tests_of(text)).collect();
    let text = page("threat-model.md");
    let (_, promises) = text.split_once("\n## Promises\n").expect("the promises");
    let (promises, _) = promises.split_once("\n## ").expect("what comes behind them");
    let mut named = 0;
    for row in promises.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---")).skip(1) {
        let proof = row.trim_end_matches(" |").rsplit(" | ").next().expect("a cell");
        let before = named;
        for code in codes(proof) {
            if Path::new(code).extension().is_some_and(|extension| extension == "rs") {
                let path = if code.starts_with("tests/") { root().join(code) } else { root().join("src").join(code) };
                assert!(path.is_file(), "there is no {}", path.display());
                // A test without the usual harness is named by its file alone.
                named += usize::from(code == "tests/sandbox.rs");
            } else {
                assert!(known.contains(code), "no test is named {code}");
                named += 1;
            }
        }
        assert!(named > before, "nothing proves: {row}");
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
