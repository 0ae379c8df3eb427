//! Evaluates rules: each kind in a leaf, combined here.

mod boot;
mod cloud_init;
mod config;
mod drivers;
mod file;
mod interpreter;
mod service;

use super::condition::{self, Holds};
use super::context::Context;
use super::outcome::Outcome;
use super::table::{Case, Rule};
use crate::inspect::report::Status;

/// What a rule comes to.
pub(super) fn evaluate(rule: &Rule, context: &Context<'_>) -> Outcome {
    let each = |rules: &[Rule]| rules.iter().map(|rule| evaluate(rule, context)).collect();
    match rule {
        Rule::All(rules) => Outcome::all(each(rules)),
        Rule::Any(rules) => Outcome::any(each(rules)),
        Rule::Cases(cases) => of_cases(cases, context),
        Rule::When(case) => when(case, context),
        Rule::File(rule) => file::file(rule, context),
        Rule::Link(rule) => file::link(rule, context),
        Rule::Absent(rule) => file::absent(rule, context),
        Rule::Permissions(rule) => file::permissions(rule, context),
        Rule::Package(rule) => service::package(rule, context),
        Rule::NoPackage(rule) => service::no_package(rule, context),
        Rule::Enabled(rule) => service::enabled(rule, context),
        Rule::NotEnabled(rule) => service::not_enabled(rule, context),
        Rule::UnitOrder(rule) => service::unit_order(rule, context),
        Rule::Ini(rule) => config::ini(rule, context),
        Rule::InfVersion(rule) => config::inf_version(rule, context),
        Rule::CloudConfig(rule) => config::cloud_config(rule, context),
        Rule::CloudInitDatasource(_) => cloud_init::datasource(context),
        Rule::CloudInitDetection(_) => cloud_init::detection(context),
        Rule::CloudInitNotDisabled(_) => cloud_init::not_disabled(context),
        Rule::CloudInitDistro(_) => cloud_init::distro(context),
        Rule::Interpreter(rule) => interpreter::interpreter(rule, context),
        Rule::Module(rule) => drivers::module(rule, context),
        Rule::ModuleVersion(rule) => drivers::module_version(rule, context),
        Rule::Initramfs(rule) => drivers::initramfs(rule, context),
        Rule::ModuleNotBlocked(rule) => drivers::not_blocked(rule, context),
        Rule::BootDrivers(_) => drivers::boot_drivers(context),
        Rule::AnyBootDriver(rule) => drivers::any_boot_driver(rule, context),
        Rule::KernelImages(_) => boot::kernel_images(context),
        Rule::Architecture(_) => boot::architecture(context),
        Rule::KernelArgument(rule) => boot::kernel_argument(rule, context),
        Rule::DeviceNames(rule) => boot::device_names(rule, context),
        Rule::Firmware(_) => boot::firmware(context),
        Rule::Partitions(_) => boot::partitions(context),
    }
}

/// The rule of the case that holds. If that is not known, what all cases agree on.
fn of_cases(cases: &[Case], context: &Context<'_>) -> Outcome {
    let mut possible = Vec::new();
    let mut why = None;
    for case in cases {
        match condition::holds(&case.when, context) {
            Holds::Yes => return evaluate(&case.rule, context),
            Holds::No => (),
            Holds::Unknown(reason) => {
                possible.push(evaluate(&case.rule, context));
                why = Some(reason);
            }
        }
    }
    let Some(why) = why else { return Outcome::not_applicable("none of its cases holds") };
    agreed(possible, &why)
}

/// What several possible outcomes have in common.
pub(super) fn agreed(possible: Vec<Outcome>, why: &str) -> Outcome {
    let agree = possible.windows(2).all(|pair| matches!(pair, [a, b] if a.status == b.status));
    let all = Outcome::all(possible);
    if agree { all } else { all.doubted(why) }
}

fn when(case: &Case, context: &Context<'_>) -> Outcome {
    match condition::holds(&case.when, context) {
        Holds::Yes => evaluate(&case.rule, context),
        Holds::No => Outcome::not_applicable("its condition does not hold"),
        Holds::Unknown(why) => evaluate(&case.rule, context).doubted(&why),
    }
}

/// One outcome for each of several things, which must all be as they should.
fn for_each<T>(things: &[T], nothing: &str, ask: impl Fn(&T) -> Outcome) -> Outcome {
    if things.is_empty() { Outcome::fail(nothing) } else { Outcome::all(things.iter().map(ask).collect()) }
}

/// Whether an outcome is as good as it can be.
fn is_pass(outcome: &Outcome) -> bool {
    outcome.status == Status::Pass
}
