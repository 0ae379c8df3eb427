//! The rule of a script's interpreter: what the first line names must be there, of the right Python, with its modules.

use super::super::context::Context;
use super::super::outcome::Outcome;
use super::super::table::Interpreter;
use super::config::first_of;
use super::file::one_of;
use crate::inspect::facts::glob;
use crate::inspect::facts::text::{self, FactError, unreadable};

/// Where `env` looks.
const PATH: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// Modules that only Python 2 has.
const PYTHON2_MODULES: [&str; 4] = ["ConfigParser", "commands", "urllib2", "Queue"];
const LIBRARIES: [&str; 4] = ["/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/local/lib64"];
const SITES: [&str; 2] = ["site-packages", "dist-packages"];

pub(super) fn interpreter(rule: &Interpreter, context: &Context<'_>) -> Outcome {
    Outcome::from_result(try_interpreter(rule, context))
}

fn try_interpreter(rule: &Interpreter, context: &Context<'_>) -> Result<Outcome, FactError> {
    let scripts = context.paths(&rule.scripts);
    let Some(script) = first_of(&scripts, context)? else {
        return Ok(Outcome::fail(format!("{} is not there", one_of(&scripts))));
    };
    let source = text::read(context.facts.root, &script)?.unwrap_or_default();
    let Some(line) = source.lines().next().and_then(|line| line.strip_prefix("#!")) else {
        return Ok(Outcome::fail(format!("{script} does not name its interpreter")).with(script, ""));
    };
    let Some(real) = resolve(line, context)? else {
        return Ok(Outcome::fail(format!("the interpreter of {script} is not there")).with(script, line));
    };
    let Some(major) = major(&real, context)? else {
        return Ok(Outcome::unknown(format!("it is not known which Python {real} is")).with(script, line));
    };
    if let Some(module) = only_python2(&source)
        && major != '2'
    {
        let reason = format!("{script} imports {module}, which only Python 2 has, but runs with Python {major}");
        return Ok(Outcome::fail(reason).with(script, line).with(real, format!("Python {major}")));
    }
    let modules = rule.modules.iter().map(|module| Outcome::from_result(has_module(module, major, context)));
    let itself = Outcome::pass(format!("{script} runs with {real}")).with(script, line);
    Ok(Outcome::all(std::iter::once(itself).chain(modules).collect()))
}

/// The program that the first line of a script names, without links.
fn resolve(line: &str, context: &Context<'_>) -> Result<Option<String>, FactError> {
    let mut words = line.split_whitespace();
    let Some(program) = words.next() else { return Ok(None) };
    let Some(found) = context.facts.root.find(program).map_err(unreadable(program))? else { return Ok(None) };
    if !program.ends_with("/env") {
        return Ok(Some(found.path));
    }
    let Some(name) = words.find(|word| !word.starts_with('-') && !word.contains('=')) else { return Ok(None) };
    for path in PATH.map(|directory| format!("{directory}/{name}")) {
        if let Some(found) = context.facts.root.find(&path).map_err(unreadable(&path))? {
            return Ok(Some(found.path));
        }
    }
    Ok(None)
}

/// The Python that a program is: by its name, or by the libraries that are there.
fn major(real: &str, context: &Context<'_>) -> Result<Option<char>, FactError> {
    let name = real.rsplit('/').next().unwrap_or_default();
    let digit = name.trim_start_matches(|letter: char| !letter.is_ascii_digit()).chars().next();
    if digit.is_some() || !name.contains("python") {
        return Ok(digit);
    }
    let mut there = Vec::new();
    for major in ['2', '3'] {
        let pattern = format!("/usr/lib*/python{major}.*");
        if !glob::expand(context.facts.root, &pattern).map_err(unreadable(&pattern))?.is_empty() {
            there.push(major);
        }
    }
    Ok(if let [only] = there[..] { Some(only) } else { None })
}

/// A module that a source imports and that only Python 2 has. What it imports as one of two choices does not count.
fn only_python2(source: &str) -> Option<&'static str> {
    let imports = |module: &&&str| {
        let import = |line: &str| {
            // A line that is indented stands in a `try`, or in a function.
            let mut words = line.split([' ', ',', '\t']);
            match words.next() {
                Some("import") => words.any(|word| word == **module),
                Some("from") => words.find(|word| !word.is_empty()) == Some(**module),
                _ => false,
            }
        };
        source.lines().any(import)
    };
    PYTHON2_MODULES.iter().find(imports).copied()
}

fn has_module(module: &str, major: char, context: &Context<'_>) -> Result<Outcome, FactError> {
    for library in LIBRARIES {
        for site in SITES {
            for name in [module.to_owned(), format!("{module}.py")] {
                let pattern = format!("{library}/python{major}*/{site}/{name}");
                let found = glob::expand(context.facts.root, &pattern).map_err(unreadable(&pattern))?;
                if let Some(path) = found.into_iter().next() {
                    return Ok(Outcome::pass(format!("{module} is there")).with(path, module));
                }
            }
        }
    }
    Ok(Outcome::fail(format!("Python {major} has no module {module}")).with(module, ""))
}

#[cfg(test)]
mod tests {
    use super::only_python2;

    #[test]
    fn only_imports_that_are_always_done_tell_the_version_of_python() {
        for (source, expected) in [
            ("import ConfigParser\n", Some("ConfigParser")),
            ("import os, commands\n", Some("commands")),
            ("from  urllib2 import urlopen\n", Some("urllib2")),
            ("import\tQueue as queue\n", Some("Queue")),
            ("try:\n    import configparser\nexcept ImportError:\n    import ConfigParser\n", None),
            ("def f():\n\timport commands\n", None),
            ("import configparser\n# import ConfigParser\n", None),
            ("from my import commands\n", None),
        ] {
            assert_eq!(only_python2(source), expected, "{source}");
        }
    }
}
