use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::{ContextName, Contexts, ContextsError, Editor, Place};
use crate::cli::Address;
use crate::tls::Files;

const WRITTEN: &str = "\
# My servers.
current = \"a\" # the first one

# Rack 1.
[contexts.a]
host = \"a.example\" # behind the firewall
cert = \"me.pem\"
key = \"me.key\"
ca = \"ca.pem\"

# This one here.
[contexts.b]
socket = \"/run/a.sock\"
";

fn name(text: &str) -> ContextName {
    text.parse().expect("a name")
}

fn socket(path: &str) -> Address {
    Address::Socket(path.into())
}

fn host(text: &str, dir: &str) -> Address {
    let file = |name: &str| Path::new(dir).join(name);
    Address::Host(
        text.parse().expect("a host"),
        Files { cert: file("me.pem"), key: file("me.key"), ca: file("ca.pem") },
    )
}

/// A file with this text, in a directory of its own.
fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("config.toml");
    fs::write(&path, text).expect("written");
    fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("mode");
    (dir, path)
}

fn edit(
    path: &Path,
    change: impl FnOnce(&mut Editor) -> Result<(), ContextsError>,
) -> Result<(Contexts, String), ContextsError> {
    let mut editor = Editor::open(&Place::Usual(path.to_owned()))?;
    change(&mut editor)?;
    let contexts = editor.save()?;
    Ok((contexts, fs::read_to_string(path).expect("there")))
}

#[test]
fn the_first_context_makes_the_file_and_its_directory_for_their_owner_alone() {
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("config/bmsctl/config.toml");
    let (contexts, text) = edit(&path, |file| file.set(&name("a"), &host("a.example", "/tls"))).expect("set");
    assert_eq!(contexts.all[&name("a")], host("a.example", "/tls"));
    assert_eq!(contexts.current, None, "nobody asked for that");
    let expected = "[contexts.a]\nhost = \"a.example:7443\"\ncert = \"/tls/me.pem\"\nkey = \"/tls/me.key\"\n\
                    ca = \"/tls/ca.pem\"\n";
    assert_eq!(text, expected);
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().expect("a directory"))), (0o600, 0o700));
}

#[test]
fn what_is_not_changed_stays_as_it_was_written() {
    let (_dir, path) = written(WRITTEN);
    let (_, text) = edit(&path, |file| file.make_current(&name("b"))).expect("used");
    assert_eq!(text, WRITTEN.replace("current = \"a\" #", "current = \"b\" #"));
    assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);

    let (contexts, text) = edit(&path, |file| file.set(&name("a"), &host("z.example", "/x"))).expect("set");
    assert!(text.contains("# Rack 1.\n[contexts.a]\nhost = \"z.example:7443\" # behind the firewall\n"), "{text}");
    assert_eq!(contexts.all[&name("a")], host("z.example", "/x"));

    let (contexts, text) = edit(&path, |file| file.set(&name("a"), &socket("/s"))).expect("set");
    assert_eq!(contexts.all[&name("a")], socket("/s"));
    assert!(text.contains("[contexts.a]\nsocket = \"/s\"\n") && text.contains("# This one here.\n"), "{text}");
    assert_eq!(fs::read_dir(path.parent().expect("a directory")).expect("listed").count(), 1, "nothing is left beside");
}

#[test]
fn contexts_of_every_spelling_can_be_changed() {
    for text in [
        "contexts = { a = { socket = \"/a\" } }\n",
        "contexts.a.socket = \"/a\"\n",
        "[contexts]\na = { socket = \"/a\" }\n",
    ] {
        let (_dir, path) = written(text);
        edit(&path, |file| file.set(&name("a"), &socket("/new"))).expect(text);
        edit(&path, |file| file.set(&name("2001:db8::1"), &host("::1", "/x"))).expect(text);
        let (contexts, _) = edit(&path, |file| file.make_current(&name("2001:db8::1"))).expect(text);
        assert_eq!(contexts.current, Some(name("2001:db8::1")), "{text}");
        assert_eq!(contexts.all[&name("a")], socket("/new"), "{text}");
        assert_eq!(contexts.all[&name("2001:db8::1")], host("::1", "/x"), "{text}");
    }
}

#[test]
fn a_context_that_is_removed_is_current_no_more() {
    let (_dir, path) = written(WRITTEN);
    let mut current = false;
    let remove = |file: &mut Editor| {
        current = file.remove(&name("a"))?;
        Ok(())
    };
    let (contexts, text) = edit(&path, remove).expect("removed");
    assert!(current);
    assert_eq!((contexts.current, contexts.all.len()), (None, 1));
    assert!(!text.contains("a.example") && text.contains("# This one here.\n[contexts.b]"), "{text}");
}

#[test]
fn what_is_not_there_is_neither_used_nor_removed() {
    let (_dir, path) = written(WRITTEN);
    let used = edit(&path, |file| file.make_current(&name("c"))).expect_err("not there");
    let removed = edit(&path, |file| file.remove(&name("c")).map(drop)).expect_err("not there");
    for error in [used, removed] {
        assert!(error.to_string().ends_with("has no context c; it has: a, b"), "{error}");
    }
    assert_eq!(fs::read_to_string(&path).expect("there"), WRITTEN);
}

#[test]
fn a_file_that_makes_no_sense_is_left_alone() {
    let (_dir, path) = written("[contexts.a]\nsockt = \"/a\"\n");
    let error = edit(&path, |file| file.set(&name("b"), &socket("/b"))).expect_err("malformed");
    assert!(matches!(error, ContextsError::Malformed { .. }), "{error}");
    assert_eq!(fs::read_to_string(&path).expect("there"), "[contexts.a]\nsockt = \"/a\"\n");
}

#[test]
fn a_symbolic_link_stays_one() {
    let (_dir, path) = written(WRITTEN);
    let link = path.with_file_name("link.toml");
    std::os::unix::fs::symlink(&path, &link).expect("link");
    edit(&link, |file| file.make_current(&name("b"))).expect("used");
    assert!(link.symlink_metadata().expect("there").is_symlink());
    assert!(fs::read_to_string(&path).expect("there").contains("current = \"b\""));
}

/// Many write at once, and nobody's context is lost.
#[test]
fn two_who_change_the_file_at_once_do_so_one_after_the_other() {
    let (_dir, path) = written("");
    std::thread::scope(|scope| {
        for number in 0..8 {
            let path = &path;
            scope.spawn(move || edit(path, |file| file.set(&name(&format!("n{number}")), &socket("/s"))).expect("set"));
        }
    });
    let contexts = Contexts::read(&Place::Named(path)).expect("contexts");
    assert_eq!(contexts.all.len(), 8);
}
