//! Rules of packages and services.

use super::super::context::Context;
use super::super::outcome::{Outcome, known};
use super::super::table::{Enabled, NotEnabled, Package, UnitOrder};
use super::for_each;
use crate::inspect::facts::packages::Packages;
use crate::inspect::facts::services::{Init, Services};
use crate::inspect::facts::text::FactError;
use crate::inspect::facts::units::{Directive, State};

/// Directives by which a unit waits for others.
const WAITS: [&str; 3] = ["After", "Requires", "Requisite"];
/// Directives that show where a unit stands.
const SHOWN: [&str; 6] = ["After", "Before", "Wants", "Requires", "DefaultDependencies", "ExecStart"];

pub(super) fn package(rule: &Package, context: &Context<'_>) -> Outcome {
    known(&context.facts.packages, |packages| match rule.any_of.iter().find_map(|pattern| packages.matching(pattern)) {
        Some(package) => Outcome::pass(format!("package {} is installed", package.name))
            .with(&packages.source, format!("{} {}", package.name, package.version)),
        None => {
            Outcome::fail(format!("no package {} is installed", rule.any_of.join(" or "))).with(database(packages), "")
        }
    })
}

/// The database of packages, as evidence names it.
fn database(packages: &Packages) -> &str {
    if packages.source.is_empty() { "package database" } else { &packages.source }
}

pub(super) fn no_package(rule: &Package, context: &Context<'_>) -> Outcome {
    known(&context.facts.packages, |packages| match rule.any_of.iter().find_map(|pattern| packages.matching(pattern)) {
        Some(package) => Outcome::fail(format!("package {} is installed", package.name))
            .with(&packages.source, format!("{} {}", package.name, package.version)),
        None => Outcome::pass(format!("no package {} is installed", rule.any_of.join(" or "))),
    })
}

pub(super) fn enabled(rule: &Enabled, context: &Context<'_>) -> Outcome {
    known(&context.facts.services, |services| {
        for_each(&rule.services, "no service is asked for", |names| started(names, services))
    })
}

/// One service, by its names.
fn started(names: &[String], services: &Services) -> Outcome {
    let each = |name: &String| match services.state(name) {
        State::Enabled { path, by } => Outcome::pass(format!("{name} is started at boot")).with(path, by),
        State::Disabled { path, idle } => {
            let outcome = Outcome::fail(format!("{name} is not started at boot")).with(path, "");
            idle.into_iter()
                .fold(outcome, |outcome, link| outcome.with(link, "in the directory of what is not started"))
        }
        State::Masked(path) => Outcome::fail(format!("{name} is masked")).with(path, "masked"),
        State::Absent => Outcome::fail(format!("there is no {name}")).with(name, ""),
    };
    let present = |name: &&String| services.state(name) != State::Absent;
    // Of the other names of a service that is there, nothing need be said.
    let known: Vec<Outcome> = names.iter().filter(present).map(each).collect();
    if known.is_empty() {
        let outcome = Outcome::fail(format!("there is no service {}", names.join(" or ")));
        return names.iter().fold(outcome, |outcome, name| outcome.with(name, ""));
    }
    Outcome::any(known)
}

pub(super) fn not_enabled(rule: &NotEnabled, context: &Context<'_>) -> Outcome {
    known(&context.facts.services, |services| {
        for_each(&rule.services, "no service is asked for", |name| match services.state(name) {
            State::Enabled { path, by } => Outcome::fail(format!("{name} is started at boot")).with(path, by),
            State::Disabled { path, .. } | State::Masked(path) => {
                Outcome::pass(format!("{name} is not started at boot")).with(path, "")
            }
            State::Absent => Outcome::pass(format!("there is no {name}")),
        })
    })
}

pub(super) fn unit_order(rule: &UnitOrder, context: &Context<'_>) -> Outcome {
    known(&context.facts.services, |services| {
        if services.init != Init::Systemd {
            return Outcome::not_applicable("it is not systemd that starts services");
        }
        Outcome::from_result(order(rule, services, context))
    })
}

fn order(rule: &UnitOrder, services: &Services, context: &Context<'_>) -> Result<Outcome, FactError> {
    let Some(directives) = services.units.directives(context.facts.root, &rule.unit)? else {
        return Ok(Outcome::not_applicable(format!("there is no {}", rule.unit)));
    };
    let waits = |directive: &&Directive| {
        let names = |wanted: &String| directive.value.split_whitespace().any(|name| name == wanted);
        WAITS.contains(&directive.key.as_str()) && rule.not_after.iter().any(names)
    };
    let outcome = match directives.iter().find(waits) {
        Some(waits) => Outcome::warn(format!("{} has {}={}", rule.unit, waits.key, waits.value)),
        None => Outcome::pass(format!("{} does not wait for {}", rule.unit, rule.not_after.join(" or "))),
    };
    let shown = directives.into_iter().filter(|directive| SHOWN.contains(&directive.key.as_str()));
    Ok(shown.fold(outcome, |outcome, one| outcome.with(one.path, format!("{}={}", one.key, one.value))))
}
