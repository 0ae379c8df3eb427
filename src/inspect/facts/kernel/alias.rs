//! Which drivers a kernel has for a device, by the patterns that modules give for modaliases.

use std::collections::BTreeSet;

use super::modules::MAX_LIST_BYTES;
use crate::inspect::fs::FsError;
use crate::inspect::root::Root;

/// The patterns of a kernel's modules, as depmod and the kernel's build left them.
#[derive(Debug, Clone, Default)]
pub struct Aliases {
    /// Content of modules.alias.
    loadable: Vec<u8>,
    /// Content of modules.builtin.modinfo.
    builtin: Vec<u8>,
}

impl Aliases {
    /// The patterns of the kernel `release`; none if it has no directory of modules.
    ///
    /// # Errors
    /// [`FsError`], if they cannot be read.
    pub fn read(root: &Root<'_>, release: &str) -> Result<Self, FsError> {
        let mut lists = ["modules.alias", "modules.builtin.modinfo"].into_iter().map(|list| {
            let content = root.read_whole(&format!("/lib/modules/{release}/{list}"), MAX_LIST_BYTES);
            Ok::<_, FsError>(content?.unwrap_or_default())
        });
        let mut next = || lists.next().unwrap_or_else(|| Ok(Vec::new()));
        Ok(Self::parse(next()?, next()?))
    }

    /// Patterns of loadable modules, from the content of modules.alias, and of those compiled in, from that of
    /// modules.builtin.modinfo.
    pub const fn parse(loadable: Vec<u8>, builtin: Vec<u8>) -> Self {
        Self { loadable, builtin }
    }

    /// Names of the modules (with `_` for `-`) that are for a device with this modalias.
    pub fn drivers_for(&self, modalias: &str) -> BTreeSet<String> {
        let modalias = modalias.as_bytes();
        let matching = self.loadable().chain(self.builtin()).filter(|(pattern, _)| matches(pattern, modalias));
        matching.map(|(_, module)| String::from_utf8_lossy(module).replace('-', "_")).collect()
    }

    /// Lines `alias PATTERN MODULE`.
    fn loadable(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.loadable.split(|&byte| byte == b'\n').filter_map(|line| {
            let rest = line.strip_prefix(b"alias ")?;
            split_at_byte(rest, b' ')
        })
    }

    /// Records `MODULE.alias=PATTERN`, each with a zero at its end.
    fn builtin(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.builtin.split(|&byte| byte == 0).filter_map(|record| {
            let (key, pattern) = split_at_byte(record, b'=')?;
            Some((pattern, key.strip_suffix(b".alias")?))
        })
    }
}

fn split_at_byte(bytes: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|&byte| byte == separator)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

/// Whether a text fits a pattern as of `fnmatch`: `*`, `?`, `[abc]`, `[a-z]`, `[!a]`. `-` and `_` are the same outside of
/// brackets. Time is at most the product of both lengths.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut pattern_at, mut text_at) = (0, 0);
    // Where to go on after the last star if what comes behind it does not fit: it takes one byte more.
    let mut star: Option<(usize, usize)> = None;
    while text_at < text.len() {
        let rest = &pattern[pattern_at..];
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
            return false;
        }
    }
    pattern[pattern_at..].iter().all(|&byte| byte == b'*')
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
