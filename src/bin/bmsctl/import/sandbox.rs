//! What a program that parses an untrusted image may do: read programs and libraries, the image, and its result.
//!
//! Landlock holds a thread and all that it starts. On a kernel without it nothing is held: this is the second fence, and
//! the first one is what an image may be.

use std::fs::File;
use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, PathBeneath, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _,
    RulesetError, Scope, path_beneath_rules,
};

/// The newest rights that are known here; a kernel that knows fewer gives those.
const KNOWN: ABI = ABI::V6;
/// Where programs and libraries are, and what they need to run.
const PROGRAMS: [&str; 9] =
    ["/usr", "/bin", "/lib", "/lib64", "/nix", "/etc/ld.so.cache", "/proc", "/dev/null", "/dev/urandom"];

/// Holds this thread, and what it starts, to `program`, reading `image` and writing `result`. There is no way back.
pub(crate) fn enter(program: &Path, image: &File, result: Option<&File>) -> Result<(), RulesetError> {
    let beside = program.parent().into_iter();
    let programs = PROGRAMS.into_iter().map(Path::new).chain(beside);
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(Scope::from_all(KNOWN))?
        .create()?
        .add_rules(path_beneath_rules(programs, AccessFs::from_read(KNOWN)))?
        .add_rule(PathBeneath::new(image, AccessFs::ReadFile))?;
    if let Some(result) = result {
        let access = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate;
        rules = rules.add_rule(PathBeneath::new(result, access))?;
    }
    rules.restrict_self()?;
    Ok(())
}
