//! Rules of files: that they are there, lead somewhere, are gone, or cannot be written by others.

use super::super::context::Context;
use super::super::outcome::Outcome;
use super::super::table::{Absent, File, Link, Permissions};
use crate::inspect::facts::glob;
use crate::inspect::facts::text::{FactError, MAX_TEXT_BYTES, kind_name, unreadable};
use crate::inspect::fs::Kind;
use crate::inspect::root::Found;

/// Permission bits with which a file runs as its owner or its group.
const SET_ID: u32 = 0o6000;
/// Permission bits with which others than the owner can write.
const WRITABLE: u32 = 0o022;
const OWNER_EXECUTES: u32 = 0o100;
/// What systemd takes for a machine id that is yet to be made.
const NO_MACHINE_ID: &[u8] = b"uninitialized\n";

pub(super) fn file(rule: &File, context: &Context<'_>) -> Outcome {
    let patterns = context.paths(&rule.any_of);
    let mut outcomes = Vec::new();
    for pattern in &patterns {
        match glob::expand(context.facts.root, pattern).map_err(unreadable(pattern)) {
            Ok(paths) => {
                let each = paths.iter().map(|path| Outcome::from_result(one_file(path, rule, context)));
                outcomes.extend(each);
            }
            Err(error) => outcomes.push(Outcome::from_result(Err(error))),
        }
    }
    if outcomes.is_empty() {
        let outcome = Outcome::fail(format!("{} is not there", one_of(&patterns)));
        return patterns.into_iter().fold(outcome, |outcome, pattern| outcome.with(pattern, ""));
    }
    Outcome::any(outcomes)
}

/// Paths, as a sentence names them.
pub(super) fn one_of(paths: &[String]) -> String {
    match paths {
        [first, _, _, ..] => format!("{first}, or another of {} paths,", paths.len()),
        few => few.join(" or "),
    }
}

fn one_file(path: &str, rule: &File, context: &Context<'_>) -> Result<Outcome, FactError> {
    let root = context.facts.root;
    let Some(found) = root.find(path).map_err(unreadable(path))? else {
        let target = root.read_link(path).map_err(unreadable(path))?.unwrap_or_default();
        return Ok(Outcome::fail(format!("{path} is a link that leads nowhere")).with(path, target));
    };
    let mode = found.metadata.mode;
    let has = |bits: u32| mode.is_some_and(|mode| mode & bits != 0);
    let outcome = match found.metadata.kind {
        Kind::Directory if rule.or_directory => Outcome::pass(format!("{path} is there")),
        Kind::File if found.metadata.size_bytes == 0 => Outcome::fail(format!("{path} is empty")),
        Kind::File if has(SET_ID) => Outcome::warn(format!("{path} is there, but runs with rights of its owner")),
        Kind::File if rule.executable && mode.is_some() && !has(OWNER_EXECUTES) => {
            Outcome::fail(format!("{path} is not executable"))
        }
        Kind::File => Outcome::pass(format!("{path} is there")),
        kind @ (Kind::Directory | Kind::Symlink | Kind::Special) => {
            Outcome::fail(format!("{path} is a {} instead of a file", kind_name(kind)))
        }
    };
    Ok(outcome.with(path, describe(&found, context)?))
}

/// What a file is, with its digest if it is small.
fn describe(found: &Found, context: &Context<'_>) -> Result<String, FactError> {
    let mut words = vec![kind_name(found.metadata.kind).to_owned()];
    words.extend(found.metadata.mode.map(|mode| format!("mode {mode:04o}")));
    if found.metadata.kind == Kind::File && found.metadata.size_bytes <= MAX_TEXT_BYTES {
        let content = context.facts.root.read(&found.path, MAX_TEXT_BYTES).map_err(unreadable(&found.path))?;
        words.extend(content.map(|content| format!("blake3 {}", blake3::hash(&content).to_hex())));
    }
    Ok(words.join(", "))
}

pub(super) fn link(rule: &Link, context: &Context<'_>) -> Outcome {
    let links = context.paths(&rule.any_of);
    let targets = context.paths(&rule.to);
    Outcome::any(links.iter().map(|link| Outcome::from_result(one_link(link, &targets, context))).collect())
}

fn one_link(link: &str, targets: &[String], context: &Context<'_>) -> Result<Outcome, FactError> {
    let root = context.facts.root;
    let written = root.read_link(link).map_err(unreadable(link))?;
    let Some(found) = root.find(link).map_err(unreadable(link))? else {
        let reason = if written.is_some() { "is a link that leads nowhere" } else { "is not there" };
        return Ok(Outcome::fail(format!("{link} {reason}")).with(link, written.unwrap_or_default()));
    };
    for target in targets {
        let target = root.find(target).map_err(unreadable(target))?;
        if target.is_some_and(|target| target.path == found.path) {
            return Ok(Outcome::pass(format!("{link} leads to {}", found.path)).with(link, found.path));
        }
    }
    Ok(Outcome::fail(format!("{link} does not lead to {}", one_of(targets))).with(link, found.path))
}

pub(super) fn absent(rule: &Absent, context: &Context<'_>) -> Outcome {
    let mut left = Vec::new();
    for pattern in context.paths(&rule.paths) {
        match remains(&pattern, rule, context) {
            Ok(paths) => left.extend(paths),
            Err(error) => return Outcome::from_result(Err(error)),
        }
    }
    let Some(first) = left.first() else { return Outcome::pass("nothing is left") };
    let reason = format!("{first} is left{}", if left.len() > 1 { ", and more" } else { "" });
    let outcome = if rule.warn { Outcome::warn(reason) } else { Outcome::fail(reason) };
    left.into_iter().fold(outcome, |outcome, path| outcome.with(path, "left"))
}

fn remains(pattern: &str, rule: &Absent, context: &Context<'_>) -> Result<Vec<String>, FactError> {
    let mut left = glob::expand(context.facts.root, pattern).map_err(unreadable(pattern))?;
    let excepted = context.paths(&rule.except);
    left.retain(|path| !excepted.contains(path));
    let mut counted = Vec::new();
    for path in left {
        if !is_blank(&path, context)? {
            counted.push(path);
        }
    }
    Ok(counted)
}

/// Whether a file says nothing.
fn is_blank(path: &str, context: &Context<'_>) -> Result<bool, FactError> {
    let root = context.facts.root;
    let Some(found) = root.find_link(path).map_err(unreadable(path))? else { return Ok(true) };
    if found.metadata.kind != Kind::File || found.metadata.size_bytes > NO_MACHINE_ID.len() as u64 {
        return Ok(false);
    }
    let content = root.read(path, NO_MACHINE_ID.len() as u64).map_err(unreadable(path))?.unwrap_or_default();
    Ok(content.is_empty() || content == NO_MACHINE_ID)
}

pub(super) fn permissions(rule: &Permissions, context: &Context<'_>) -> Outcome {
    let mut outcomes = Vec::new();
    for pattern in context.paths(&rule.paths) {
        let paths = match glob::expand(context.facts.root, &pattern).map_err(unreadable(&pattern)) {
            Ok(paths) => paths,
            Err(error) => return Outcome::from_result(Err(error)),
        };
        outcomes.extend(paths.iter().map(|path| Outcome::from_result(one_mode(path, context))));
    }
    if outcomes.is_empty() { Outcome::not_applicable("there is nothing to protect") } else { Outcome::all(outcomes) }
}

fn one_mode(path: &str, context: &Context<'_>) -> Result<Outcome, FactError> {
    let found = context.facts.root.find(path).map_err(unreadable(path))?;
    let Some(mode) = found.and_then(|found| found.metadata.mode) else {
        return Ok(Outcome::unknown(format!("the permissions of {path} are not known")));
    };
    let outcome = if mode & WRITABLE == 0 {
        Outcome::pass(format!("only its owner can write {path}"))
    } else {
        Outcome::fail(format!("others than its owner can write {path}"))
    };
    Ok(outcome.with(path, format!("mode {mode:04o}")))
}
