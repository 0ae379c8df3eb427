//! Rules of kernel modules. A driver is there only if it is for every kernel that can be booted.

use super::super::context::Context;
use super::super::outcome::{Outcome, known};
use super::super::table::{AnyBootDriver, Initramfs, Module, ModuleNotBlocked, ModuleVersion};
use super::super::version::Version;
use super::for_each;
use crate::inspect::facts::Known;
use crate::inspect::facts::cmdline::CommandLine;
use crate::inspect::facts::glob;
use crate::inspect::facts::kernel::{self as facts, Kernel, ModuleInfo, Place};
use crate::inspect::facts::modprobe::canonical;
use crate::inspect::facts::text::{self, FactError, unreadable};
use crate::inspect::report::Status;

const NO_KERNEL: &str = "there is no kernel";
/// What programs that make an initramfs are told to put into it.
const CONFIGURATION: [&str; 5] = [
    "/etc/dracut.conf",
    "/etc/dracut.conf.d/*.conf",
    "/usr/lib/dracut/dracut.conf.d/*.conf",
    "/etc/initramfs-tools/modules",
    "/etc/sysconfig/kernel",
];
/// Begins of lines there that keep something out of it.
const OMITS: &str = "omit_";

/// One outcome for each kernel that counts.
fn for_each_kernel(context: &Context<'_>, ask: impl Fn(&Kernel) -> Outcome) -> Outcome {
    known(&context.kernels(), |kernels| for_each(kernels, NO_KERNEL, |kernel| ask(kernel)))
}

fn info(path: &str, context: &Context<'_>) -> Known<ModuleInfo> {
    (context.facts.boot.module_info)(context.facts.root, path)
}

pub(super) fn module(rule: &Module, context: &Context<'_>) -> Outcome {
    for_each_kernel(context, |kernel| {
        let each = |(at, name): (usize, &String)| {
            let alias = rule.alias.as_deref().filter(|_| at == 0);
            fitting(kernel, name, alias, context)
        };
        Outcome::all(rule.all_of.iter().enumerate().map(each).collect())
    })
}

/// Whether a kernel has a module that was built for it.
fn fitting(kernel: &Kernel, name: &str, alias: Option<&str>, context: &Context<'_>) -> Outcome {
    let release = &kernel.release;
    let path = match kernel.place(name) {
        Place::Builtin => return Outcome::pass(format!("{name} is built into {release}")).with(release, "built in"),
        Place::Nowhere => return Outcome::fail(format!("{release} has no {name}")).with(release, ""),
        Place::Unknown(reason) => return Outcome::unknown(reason).with(release, ""),
        Place::Unindexed(path) => {
            let reason = format!("modules.dep of {release} does not name {name}: depmod must be run");
            return Outcome::fail(reason).with(path, "not in modules.dep");
        }
        Place::Loadable(path) => path,
    };
    if matches!(context.facts.root.find(path), Ok(None)) {
        let reason = format!("modules.dep of {release} names {name}, but {path} is not there");
        return Outcome::fail(reason).with(path, "");
    }
    known(&info(path, context), |info| {
        let vermagic = info.vermagic.as_deref().unwrap_or_default();
        let outcome = match info.release() {
            None => Outcome::unknown(format!("{path} does not say which kernel it is for")),
            Some(built_for) if built_for == release => Outcome::pass(format!("{release} has {name}")),
            // Such a module was found to fit another kernel when it was linked there.
            Some(_) if path.contains("/weak-updates/") => {
                Outcome::pass(format!("{release} has {name} of another kernel"))
            }
            Some(built_for) => Outcome::fail(format!("{name} of {release} was built for {built_for}")),
        };
        let drives = |alias: &str| info.aliases.iter().any(|known| known.starts_with(alias));
        let alias = match alias {
            Some(alias) if !drives(alias) => Outcome::warn(format!("{path} does not say that it drives {alias}")),
            Some(_) | None => Outcome::not_applicable("no device is asked for"),
        };
        Outcome::all(vec![outcome.with(path, format!("vermagic {vermagic}")), alias])
    })
}

pub(super) fn module_version(rule: &ModuleVersion, context: &Context<'_>) -> Outcome {
    for_each_kernel(context, |kernel| match kernel.place(&rule.module) {
        Place::Builtin => Outcome::unknown(format!("{} is built in and says no version", rule.module)),
        Place::Nowhere => Outcome::fail(format!("{} has no {}", kernel.release, rule.module)),
        Place::Unknown(reason) => Outcome::unknown(reason),
        Place::Loadable(path) | Place::Unindexed(path) => known(&info(path, context), |info| {
            let version = info.version.as_deref().unwrap_or_default();
            match Version::is_at_least(version, &rule.at_least) {
                Some(true) => Outcome::pass(format!("{path} is new enough")),
                Some(false) => Outcome::fail(format!("{path} is older than {}", rule.at_least)),
                None => Outcome::unknown(format!("{path} has no version that can be read")),
            }
            .with(path, format!("version {version}"))
        }),
    })
}

pub(super) fn initramfs(rule: &Initramfs, context: &Context<'_>) -> Outcome {
    let found = for_each_kernel(context, |kernel| early(kernel, &rule.module));
    if found.status != Status::Fail {
        return found;
    }
    // That it is not there is certain, whatever a configuration says or keeps to itself: what it says is a hint.
    let Ok(Some(path)) = named(&rule.module, context) else { return found };
    let reason = format!("{}, although {path} names it: the initramfs must be made anew", found.reason);
    Outcome { reason, ..found }.with(path, &rule.module)
}

/// Whether a kernel has a module before it has its root.
fn early(kernel: &Kernel, module: &str) -> Outcome {
    let release = &kernel.release;
    if kernel.builtin.as_known().is_some_and(|builtin| builtin.contains(&canonical(module))) {
        return Outcome::pass(format!("{module} is built into {release}")).with(release, "built in");
    }
    known(&kernel.initramfs, |initramfs| {
        let Some(initramfs) = initramfs else {
            return Outcome::fail(format!("{release} has no initramfs")).with(release, "");
        };
        match (initramfs.modules.get(&canonical(module)), &kernel.builtin) {
            (Some(entry), _) => {
                Outcome::pass(format!("{module} is in {}", initramfs.path)).with(&initramfs.path, entry)
            }
            (None, Known::Unknown(reason)) => Outcome::unknown(reason.clone()),
            (None, Known::Is(_)) => missing(module, initramfs),
        }
    })
}

fn missing(module: &str, initramfs: &facts::Initramfs) -> Outcome {
    let others: Vec<&str> = initramfs.other_releases.iter().map(String::as_str).collect();
    let hint = if others.is_empty() { String::new() } else { format!(", which is for {}", others.join(", ")) };
    Outcome::fail(format!("{module} is not in {}{hint}", initramfs.path)).with(&initramfs.path, "")
}

/// The file that tells a program to put a module into the initramfs.
fn named(module: &str, context: &Context<'_>) -> Result<Option<String>, FactError> {
    for pattern in CONFIGURATION {
        for path in glob::expand(context.facts.root, pattern).map_err(unreadable(pattern))? {
            let text = text::read(context.facts.root, &path)?.unwrap_or_default();
            let lines = text.lines().map(str::trim_start);
            let lines = lines.filter(|line| !line.starts_with('#') && !line.starts_with(OMITS));
            let mut words = lines.flat_map(|line| {
                line.split(|letter: char| !letter.is_alphanumeric() && letter != '_' && letter != '-')
            });
            if words.any(|word| canonical(word) == canonical(module)) {
                return Ok(Some(path));
            }
        }
    }
    Ok(None)
}

pub(super) fn not_blocked(rule: &ModuleNotBlocked, context: &Context<'_>) -> Outcome {
    let module = canonical(&rule.module);
    let by_file = known(&context.facts.blocks, |blocks| match blocks.iter().find(|block| block.module == module) {
        Some(block) => Outcome::fail(format!("{}:{} keeps {module} from being loaded", block.path, block.line))
            .with(format!("{}:{}", block.path, block.line), &block.text),
        None => Outcome::pass(format!("nothing keeps {module} from being loaded")),
    });
    let lines = context.command_lines();
    let blocks = |line: &&&CommandLine| line.blacklisted_modules().any(|name| name == module);
    match lines.as_known().and_then(|lines| lines.iter().find(blocks)) {
        Some(line) => Outcome::fail(format!("the command line of the kernel keeps {module} from being loaded"))
            .with(&line.source, &line.text),
        None => by_file,
    }
}

/// A list that the profile gives must be there as a whole; of the usual one, which no server needs all of, some.
pub(super) fn boot_drivers(context: &Context<'_>) -> Outcome {
    let drivers = context.profile.boot_drivers();
    let is_said = !context.profile.boot_drivers.is_empty();
    for_each_kernel(context, |kernel| {
        let each: Vec<Outcome> = drivers.iter().map(|driver| early(kernel, driver)).collect();
        let some = Outcome::any(each.clone());
        let all = Outcome::all(each);
        match (all.status, some.status) {
            (Status::Fail, Status::Pass) if !is_said => Outcome { status: Status::Warn, ..all },
            _ => all,
        }
    })
}

/// Of the drivers that count, one will do: which one a server needs is not told here.
pub(super) fn any_boot_driver(rule: &AnyBootDriver, context: &Context<'_>) -> Outcome {
    let counts = |driver: &&str| !rule.not.iter().any(|pattern| glob::matches(pattern, driver));
    let drivers: Vec<&str> = context.profile.boot_drivers().into_iter().filter(counts).collect();
    if drivers.is_empty() {
        return Outcome::not_applicable("the profile names no driver that counts");
    }
    for_each_kernel(context, |kernel| Outcome::any(drivers.iter().map(|driver| early(kernel, driver)).collect()))
}
