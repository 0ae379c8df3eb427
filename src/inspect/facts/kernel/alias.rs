//! Which drivers a kernel has for a device, by the patterns that modules give for modaliases.
//!
//! The lists are a stranger's: they are bounded, and so is the time that all matching together takes.

use std::cell::Cell;
use std::collections::BTreeSet;

use super::modules::MAX_LIST_BYTES;
use super::usual;
use crate::inspect::facts::Known;
use crate::inspect::root::Root;
use crate::text;

/// Longest pattern, in bytes; those of distributions have some 200.
const MAX_PATTERN_BYTES: usize = 1024;
/// Longest name of a module, in bytes; the kernel takes 55.
const MAX_NAME_BYTES: usize = 64;
/// Most modules for one device.
const MAX_DRIVERS: usize = 16;

/// Why nothing is known when too much was compared.
const TOO_SLOW: &str = "the patterns of the kernel's modules take too long to be compared";
/// Why nothing is known of a device that no pattern fits, in a kernel before Linux 6.18.
const UNTOLD: &str = "no module is for it, and the kernel does not say what its built-in drivers are for";

/// With this begin patterns that kernels are built with since Linux 6.18 alone, where they are for something compiled in:
/// nobody writes them by hand, as those of other buses, and there is no server's kernel without any.
const GENERATED: &[u8] = b"pci:";

/// The patterns of a kernel's modules, as depmod and the kernel's build left them.
#[derive(Debug, Clone, Default)]
pub struct Aliases {
    /// Content of modules.alias.
    loadable: Vec<u8>,
    /// Content of modules.builtin.modinfo, and what is known beside it of what is compiled in.
    builtin: Vec<u8>,
    /// Why there may be more patterns than these; none if they are all.
    unread: Option<String>,
    /// Whether the kernel does not say what is compiled in is for, so that only of usual devices all drivers are known.
    is_untold: bool,
}

impl Aliases {
    /// The patterns of the kernel whose modules are in `directory`. `builtin` are the names of those that are compiled in.
    pub fn read(root: &Root<'_>, directory: &str, builtin: &Known<BTreeSet<String>>) -> Self {
        let mut aliases = Self::default();
        match read_list(root, &format!("{directory}/modules.alias")) {
            Known::Is(list) => aliases.loadable = list,
            Known::Unknown(why) => aliases.unread = Some(why),
        }
        match read_list(root, &format!("{directory}/modules.builtin.modinfo")) {
            Known::Is(list) => aliases.builtin = list,
            Known::Unknown(why) => {
                aliases.unread.get_or_insert(why);
            }
        }
        let is_told = aliases.builtin().any(|(pattern, _)| pattern.starts_with(GENERATED));
        aliases.is_untold = !is_told;
        match builtin {
            Known::Is(names) => {
                aliases.builtin.push(0);
                aliases.builtin.extend(usual::records(names).into_bytes());
            }
            Known::Unknown(why) if aliases.is_untold => {
                aliases.unread.get_or_insert_with(|| why.clone());
            }
            Known::Unknown(_) => {}
        }
        aliases
    }

    /// Patterns of loadable modules, from the content of modules.alias, and of those compiled in, from that of
    /// modules.builtin.modinfo.
    pub const fn parse(loadable: Vec<u8>, builtin: Vec<u8>) -> Self {
        Self { loadable, builtin, unread: None, is_untold: false }
    }

    /// Names of the modules (with `_` for `-`) that are for devices with these modaliases, for each of them. If none is, and
    /// not all patterns could be read, it is not known.
    ///
    /// `steps` is how many bytes may still be compared; what was is taken off it. When there are none left, nothing is
    /// known.
    pub fn drivers_for(&self, modaliases: &[&str], steps: &Cell<u64>) -> Vec<Known<BTreeSet<String>>> {
        let mut drivers = vec![BTreeSet::new(); modaliases.len()];
        for (pattern, module) in self.loadable().chain(self.builtin()) {
            for (modalias, drivers) in modaliases.iter().zip(&mut drivers) {
                match matches(pattern, modalias.as_bytes(), steps) {
                    Some(true) if drivers.len() <= MAX_DRIVERS => drivers.extend(name_of(module)),
                    Some(_) => {}
                    None => return vec![Known::Unknown(TOO_SLOW.to_owned()); modaliases.len()],
                }
            }
        }
        modaliases.iter().zip(drivers).map(|(modalias, drivers)| self.known(modalias, drivers)).collect()
    }

    /// What is known of the drivers of a device.
    fn known(&self, modalias: &str, drivers: BTreeSet<String>) -> Known<BTreeSet<String>> {
        match &self.unread {
            Some(why) if drivers.is_empty() => Known::Unknown(why.clone()),
            None if drivers.is_empty() && self.is_untold && !usual::is_known(modalias) => {
                Known::Unknown(UNTOLD.to_owned())
            }
            _ if drivers.len() > MAX_DRIVERS => Known::Unknown(format!("more than {MAX_DRIVERS} modules claim it")),
            Some(_) | None => Known::Is(drivers),
        }
    }

    /// Lines `alias PATTERN MODULE`.
    fn loadable(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let lines = self.loadable.split(|&byte| byte == b'\n');
        let pairs = lines.filter_map(|line| split_at_byte(line.strip_prefix(b"alias ")?, b' '));
        pairs.filter(|(pattern, _)| is_short(pattern))
    }

    /// Records `MODULE.alias=PATTERN`, each with a zero at its end.
    fn builtin(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let pairs = self.builtin.split(|&byte| byte == 0).filter_map(|record| {
            let (key, pattern) = split_at_byte(record, b'=')?;
            Some((pattern, key.strip_suffix(b".alias")?))
        });
        pairs.filter(|(pattern, _)| is_short(pattern))
    }
}

fn read_list(root: &Root<'_>, path: &str) -> Known<Vec<u8>> {
    match root.read_whole(path, MAX_LIST_BYTES) {
        Ok(Some(list)) => Known::Is(list),
        Ok(None) => Known::Unknown(format!("{} is missing", text::printable(path))),
        Err(error) => Known::Unknown(format!("{}: {}", text::printable(path), text::chain(&error))),
    }
}

fn split_at_byte(bytes: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|&byte| byte == separator)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

/// A longer pattern is for no device.
const fn is_short(pattern: &[u8]) -> bool {
    pattern.len() <= MAX_PATTERN_BYTES
}

/// The name as the kernel has it; none if no module could be called so.
fn name_of(module: &[u8]) -> Option<String> {
    let fits = module.len() <= MAX_NAME_BYTES && module.iter().all(u8::is_ascii_graphic) && !module.is_empty();
    fits.then(|| String::from_utf8_lossy(module).replace('-', "_"))
}

/// Whether a text fits a pattern as of `fnmatch`: `*`, `?`, `[abc]`, `[a-z]`, `[!a]`. `-` and `_` are the same outside of
/// brackets. None if `steps` do not suffice; without brackets they are at most twice the product of both lengths.
pub fn matches(pattern: &[u8], text: &[u8], steps: &Cell<u64>) -> Option<bool> {
    let (mut pattern_at, mut text_at) = (0, 0);
    // Where to go on after the last star if what comes behind it does not fit: it takes one byte more.
    let mut star: Option<(usize, usize)> = None;
    while text_at < text.len() {
        let rest = &pattern[pattern_at..];
        let looked_at = if rest.first() == Some(&b'[') { rest.len() } else { 1 };
        steps.set(steps.get().checked_sub(looked_at as u64)?);
        if rest.first() == Some(&b'*') {
            pattern_at += 1;
            star = Some((pattern_at, text_at));
        } else if let Some(len) = fits(rest, text[text_at]) {
            pattern_at += len;
            text_at += 1;
        } else if let Some((behind_star, taken)) = star {
            (pattern_at, text_at) = (behind_star, taken + 1);
            star = Some((behind_star, taken + 1));
        } else {
            return Some(false);
        }
    }
    Some(pattern[pattern_at..].iter().all(|&byte| byte == b'*'))
}

/// Length of the pattern's first element, if a byte fits it.
fn fits(pattern: &[u8], byte: u8) -> Option<usize> {
    let same = |a: u8, b: u8| a == b || (matches!(a, b'-' | b'_') && matches!(b, b'-' | b'_'));
    match *pattern.first()? {
        b'?' => Some(1),
        b'[' => match bracket(pattern, byte) {
            Some((len, fits)) => fits.then_some(len),
            None => (byte == b'[').then_some(1),
        },
        first => same(first, byte).then_some(1),
    }
}

/// Length of the bracket that a pattern begins with, and whether a byte is in it; none if it does not end.
fn bracket(pattern: &[u8], byte: u8) -> Option<(usize, bool)> {
    let negated = matches!(pattern.get(1), Some(b'!' | b'^'));
    let first = 1 + usize::from(negated);
    // A closing bracket right at the begin is one of the set.
    let end = first + 1 + pattern.get(first + 1..)?.iter().position(|&byte| byte == b']')?;
    let mut set = &pattern[first..end];
    let mut is_in = false;
    while let [low, rest @ ..] = set {
        (is_in, set) = match rest {
            [b'-', high, behind @ ..] => (is_in || (*low..=*high).contains(&byte), behind),
            _ => (is_in || *low == byte, rest),
        };
    }
    Some((end + 1, is_in != negated))
}

#[cfg(test)]
mod tests;
