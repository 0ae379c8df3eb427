//! Names with a `*` in them. Each step of a path that has one is searched for in the directories that the steps before it
//! lead to; a `*` never stands for several steps.

use crate::inspect::fs::FsError;
use crate::inspect::root::Root;

/// Most paths that one pattern gives.
const MAX_PATHS: usize = 256;

/// Whether a name matches a pattern, in which each `*` stands for any text.
pub fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

/// The same, whatever the case of ASCII letters.
pub fn matches_ignoring_case(pattern: &str, name: &str) -> bool {
    matches(&pattern.to_ascii_lowercase(), &name.to_ascii_lowercase())
}

/// The paths of an image that match a pattern, links at their ends not followed, in order. The case of letters does not
/// matter in steps with a `*`: a file system of Windows may give them in any.
///
/// # Errors
/// [`FsError`], if a directory cannot be read; [`FsError::Limit`], if there are more paths than 256, also on the way.
pub fn expand(root: &Root<'_>, pattern: &str) -> Result<Vec<String>, FsError> {
    let mut found = vec![String::new()];
    for step in pattern.split('/').filter(|step| !step.is_empty()) {
        let mut next = Vec::new();
        for directory in &found {
            if step.contains('*') {
                let names = root.list(directory)?.unwrap_or_default().into_iter().map(|entry| entry.name);
                next.extend(
                    names.filter(|name| matches_ignoring_case(step, name)).map(|name| format!("{directory}/{name}")),
                );
            } else {
                next.push(format!("{directory}/{step}"));
            }
            if next.len() > MAX_PATHS {
                return Err(FsError::Limit { what: "the number of paths that match", limit: MAX_PATHS as u64 });
            }
        }
        found = next;
    }
    // What a directory lists is there, even if its name is none that can be looked up.
    if pattern.rsplit('/').find(|step| !step.is_empty()).is_some_and(|last| last.contains('*')) {
        return Ok(found);
    }
    let mut there = Vec::new();
    for path in found {
        if root.find_link(&path)?.is_some() {
            there.push(path);
        }
    }
    Ok(there)
}

#[cfg(test)]
mod tests {
    use super::{MAX_PATHS, expand, matches, matches_ignoring_case};
    use crate::inspect::facts::test_tree::Tree;
    use crate::inspect::fs::FsError;

    #[test]
    fn every_step_with_a_star_is_searched() {
        let tree = Tree::new();
        for path in ["a1/x/f.c", "a2/x/f.h", "a2/y/f.c", "b/x/f.c"] {
            tree.file(path, "");
        }
        let found = |pattern: &str| expand(&tree.root(), pattern).expect("readable");
        assert_eq!(found("/a*/x/f.*"), ["/a1/x/f.c", "/a2/x/f.h"]);
        assert_eq!(found("a*/*/f.c"), ["/a1/x/f.c", "/a2/y/f.c"]);
        assert_eq!(found("a*/y/none"), [""; 0]);
    }

    #[test]
    fn more_paths_than_are_looked_at_are_no_shorter_list() {
        let tree = Tree::new();
        (0..MAX_PATHS).for_each(|at| tree.file(&format!("a/{at}"), ""));
        assert_eq!(expand(&tree.root(), "a/*").expect("readable").len(), MAX_PATHS);
        tree.file("a/more", "");
        for pattern in ["a/*", "a/*/b"] {
            let error = expand(&tree.root(), pattern).expect_err("too many");
            assert!(matches!(error, FsError::Limit { limit: 256, .. }), "{error}");
        }
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name) in
            [("a", "a"), ("*", ""), ("a*", "a"), ("*.cfg", ".cfg"), ("a*b*c", "a-bb-c"), ("**", "x"), ("ab*ba", "abba")]
        {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in
            [("a", "ab"), ("", "a"), ("a*", "b"), ("*.cfg", "a.cfg~"), ("ab*ba", "aba"), ("a*b*c", "ac")]
        {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
        assert!(matches_ignoring_case("EFI/*/grubX64.efi", "efi/centos/GRUBX64.EFI"));
    }
}
