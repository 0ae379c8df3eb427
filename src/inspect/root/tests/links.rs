use std::os::unix::fs::symlink;

use proptest::prelude::{Just, Strategy, prop, prop_oneof, proptest};

use super::{MemFs, Node, Root, broken, found_path as found};
use crate::inspect::fs::directory::DirectoryFs;
use crate::inspect::fs::{FileSystem as _, FsError, Kind};

/// Puts the same tricks into a directory and into memory: what is looked up, and where it leads.
const TRICKS: [(&str, Option<&str>); 44] = [
    ("", Some("/")),
    ("/", Some("/")),
    ("..", Some("/")),
    ("/../../..", Some("/")),
    ("etc/passwd", Some("/etc/passwd")),
    ("//etc///passwd", Some("/etc/passwd")),
    ("/./etc/./passwd/.", Some("/etc/passwd")),
    ("/etc/passwd/", Some("/etc/passwd")),
    ("/etc/passwd/x", None),
    ("/etc/passwd/..", None),
    ("/etc/../etc/passwd", Some("/etc/passwd")),
    ("/etc/missing", None),
    ("/missing/../etc/passwd", None),
    ("/../etc/../../etc/passwd", Some("/etc/passwd")),
    ("/links/relative", Some("/etc/passwd")),
    ("/links/absolute", Some("/etc/passwd")),
    ("/links/beyond", Some("/etc/passwd")),
    ("/links/directory/passwd", Some("/etc/passwd")),
    ("/links/directory/", Some("/etc")),
    ("/links/directory/..", Some("/")),
    ("/links/slash/passwd", Some("/etc/passwd")),
    ("/links/to_root/etc/passwd", Some("/etc/passwd")),
    ("/links/dot/relative", Some("/etc/passwd")),
    ("/links/dangling", None),
    ("/links/dangling/x", None),
    ("/links/empty", None),
    ("/links/self", None),
    ("/links/ping", None),
    ("/links/below_itself", None),
    ("/links/long_loop/passwd", None),
    ("/links/fifo", Some("/fifo")),
    ("/links/fifo/x", None),
    ("/links/through_file", None),
    ("/links/through_dangling", None),
    ("/links/file_slash", Some("/etc/passwd")),
    ("/links/dots", Some("/etc/passwd")),
    ("/opt/huawei/1/environ", None),
    ("/opt/huawei", None),
    ("/opt/host/etc/passwd", Some("/etc/passwd")),
    ("/bin/sh", Some("/usr/bin/dash")),
    ("/lib/modules", Some("/usr/lib/modules")),
    ("/loop/passwd", None),
    ("/chain/40", Some("/etc/passwd")),
    ("/chain/41", None),
];

const LINKS: [(&str, &str); 26] = [
    ("links/relative", "../etc/passwd"),
    ("links/absolute", "/etc/passwd"),
    ("links/beyond", "../../../../../../etc/passwd"),
    ("links/directory", "../etc"),
    ("links/slash", "/etc/"),
    ("links/to_root", "/"),
    ("links/dot", "."),
    ("links/dangling", "/nowhere/at/all"),
    ("links/self", "self"),
    ("links/ping", "pong"),
    ("links/pong", "/links/ping"),
    ("links/below_itself", "below_itself/x"),
    ("links/long_loop", "/loop"),
    ("links/fifo", "/fifo"),
    ("links/through_file", "/etc/passwd/../passwd"),
    ("links/through_dangling", "dangling/../../etc/passwd"),
    ("links/file_slash", "/etc/passwd/"),
    ("links/dots", "./.././/etc/./passwd"),
    ("opt/huawei", "../../../../proc"),
    ("opt/host", "/../.."),
    ("bin", "usr/bin"),
    ("lib", "/usr/lib"),
    ("usr/bin/sh", "dash"),
    ("loop", "loop2"),
    ("loop2", "./loop"),
    ("chain/1", "../etc/passwd"),
];

fn in_memory() -> MemFs {
    let mut fs = MemFs::new().file("etc/passwd", "root").file("usr/bin/dash", "").dir("usr/lib/modules");
    fs = fs.with("fifo", Node::Fifo);
    for (path, target) in LINKS {
        fs = fs.link(path, target);
    }
    for number in 2..=41 {
        fs = fs.link(&format!("chain/{number}"), &(number - 1).to_string());
    }
    // No file system makes such a link, but a stranger can.
    fs.link("links/empty", "")
}

/// The same on this system, as its own root directory might be, with a neighbour that must not be reached.
fn in_directory() -> tempfile::TempDir {
    let outer = tempfile::tempdir().expect("temporary directory");
    let top = outer.path().join("top");
    for directory in ["etc", "usr/bin", "usr/lib/modules", "links", "opt", "chain"] {
        std::fs::create_dir_all(top.join(directory)).expect("directory");
    }
    std::fs::write(top.join("etc/passwd"), "root").expect("file");
    std::fs::write(top.join("usr/bin/dash"), "").expect("file");
    std::fs::write(outer.path().join("secret"), "secret").expect("file");
    rustix::fs::mkfifoat(rustix::fs::CWD, top.join("fifo"), rustix::fs::Mode::RUSR).expect("FIFO");
    for (path, target) in LINKS {
        symlink(target, top.join(path)).expect("link");
    }
    for number in 2..=41 {
        symlink((number - 1).to_string(), top.join(format!("chain/{number}"))).expect("link");
    }
    outer
}

#[test]
fn links_lead_where_they_would_in_a_root_of_their_own() {
    let outer = in_directory();
    let directory = DirectoryFs::open(&outer.path().join("top")).expect("directory");
    let roots = [in_memory().root(), Root::new(Box::new(directory))];
    for root in &roots {
        for (path, expected) in TRICKS {
            assert_eq!(found(root, path).as_deref(), expected, "{path:?} in {:?}", root.mounts[0].fs.kind());
        }
    }
}

#[test]
fn a_link_at_the_end_is_kept_if_that_is_asked_for() {
    let root = in_memory().root();
    for (path, expected) in [
        ("/links/self", "/links/self"),
        ("/links/dangling", "/links/dangling"),
        ("/links/directory/", "/links/directory"),
        ("/bin/sh", "/usr/bin/sh"),
    ] {
        let found = root.find_link(path).expect("readable").expect("there");
        assert_eq!((found.path.as_str(), found.metadata.kind), (expected, Kind::Symlink));
    }
    assert_eq!(root.find_link("/loop/x").expect("readable"), None);
    assert_eq!(root.read_link("/bin/sh").expect("readable").as_deref(), Some("dash"));
    assert_eq!(root.read_link("/etc/passwd").expect("readable"), None);
    assert_eq!(root.read_link("/missing").expect("readable"), None);
}

#[test]
fn only_ordinary_files_are_opened_and_only_directories_listed() {
    let outer = in_directory();
    let directory = DirectoryFs::open(&outer.path().join("top")).expect("directory");
    for root in [in_memory().root(), Root::new(Box::new(directory))] {
        assert_eq!(root.read("/links/absolute", 100).expect("readable").as_deref(), Some(&b"root"[..]));
        assert_eq!(root.read("/etc/passwd", 2).expect("readable").as_deref(), Some(&b"ro"[..]));
        assert_eq!(root.read_whole("/etc/passwd", 4).expect("readable").as_deref(), Some(&b"root"[..]));
        let error = root.read_whole("/etc/passwd", 3).expect_err("too long");
        assert!(matches!(error, FsError::Limit { limit: 3, .. }));
        for path in ["/fifo", "/links/fifo", "/etc", "/missing", "/links/dangling", "/opt/huawei"] {
            assert!(root.open(path).expect("readable").is_none(), "{path}");
            assert_eq!(root.read_whole(path, 4).expect("readable"), None, "{path}");
        }
        let names = |path| root.list(path).expect("readable").map(|list| list.into_iter().map(|e| e.name).collect());
        let expected: Vec<String> = ["bin", "lib"].map(str::to_owned).into();
        assert_eq!(names("/lib/../../usr"), Some(expected));
        assert_eq!(names("/lib/modules"), Some(Vec::new()));
        for path in ["/etc/passwd", "/fifo", "/missing", "/links/self"] {
            assert_eq!(names(path), None, "{path}");
        }
    }
}

#[test]
fn links_cross_what_is_joined_in() {
    let mut root = MemFs::new()
        .file("boot/hidden", "")
        .link("kernel", "boot/vmlinuz")
        .file("etc/top", "")
        .link("boot2", "/boot")
        .root();
    root.join(
        "/boot/",
        Box::new(MemFs::new().link("up", "../etc/top").link("abs", "/vmlinuz").file("vmlinuz", "").dir("efi")),
    );
    root.join(
        "boot/efi",
        Box::new(MemFs::new().link("out", "../vmlinuz").file("loader", "").link("far", "/../kernel")),
    );
    for (path, expected) in [
        ("/boot/hidden", None),
        ("/kernel", Some("/boot/vmlinuz")),
        ("/boot/up", Some("/etc/top")),
        ("/boot/abs", None),
        ("/boot/efi/out", Some("/boot/vmlinuz")),
        ("/boot/efi/far", Some("/boot/vmlinuz")),
        ("/boot2/efi/loader", Some("/boot/efi/loader")),
        ("/boot/efi/../../etc/top", Some("/etc/top")),
        ("/boot/efix", None),
    ] {
        assert_eq!(found(&root, path).as_deref(), expected, "{path}");
    }
    root.join("/boot", Box::new(MemFs::new().file("new", "")));
    assert_eq!(found(&root, "/boot/new").as_deref(), Some("/boot/new"), "the last hides the first");
    assert_eq!(found(&root, "/boot/vmlinuz"), None);
}

#[test]
fn what_is_joined_in_and_cannot_be_read_is_an_error_and_the_rest_is_not() {
    let mut root = MemFs::new().file("etc/a", "").file("boot/b", "").link("etc/kernel", "/boot/vmlinuz").root();
    root.join("/boot", broken("/boot: UUID=1 is not on this disk"));
    for path in ["/boot", "/boot/b", "/boot/missing", "/etc/kernel"] {
        let error = root.find(path).expect_err(path);
        assert_eq!(error.to_string(), "/boot: UUID=1 is not on this disk");
        root.open(path).err().expect(path);
        root.list(path).expect_err(path);
    }
    assert_eq!(found(&root, "/etc/a").as_deref(), Some("/etc/a"));
    assert_eq!(found(&root, "/bootx"), None);
    assert!(root.list("/").expect("readable").is_some());
    assert!(root.find_link("/etc/kernel").expect("readable").is_some());
}

#[test]
fn a_walk_without_end_ends() {
    let many = "x/".repeat(2000);
    let mut fs = MemFs::new().link("wide", &"./a/../".repeat(600)).dir("a");
    fs = fs.link("a/x", "/a").link("a/y", &"x/".repeat(30));
    let root = fs.root();
    assert_eq!(found(&root, &format!("/a/{many}")), None);
    assert_eq!(found(&root, "/wide"), None, "more components than any path has");
    assert_eq!(found(&root, "/a/y").as_deref(), Some("/a"));
    assert_eq!(found(&root, "/a/y/y"), None, "more links than Linux follows");
    let deep = "d/".repeat(1500);
    assert_eq!(found(&root, &deep), None);
}

#[test]
fn a_directory_gives_nothing_of_what_is_outside_of_it() {
    let outer = in_directory();
    symlink("../secret", outer.path().join("top/out")).expect("link");
    symlink(outer.path().join("secret"), outer.path().join("top/absolute_out")).expect("link");
    let fs = DirectoryFs::open(&outer.path().join("top")).expect("directory");
    // Paths that the trait does not allow must not lead out either.
    for path in ["../secret", "etc/../../secret", "out", "absolute_out", "links/to_root/etc/passwd", "opt/host/secret"]
    {
        let leads_out = fs.metadata(path).ok().flatten().is_some_and(|metadata| metadata.kind != Kind::Symlink);
        assert!(!leads_out, "{path}");
        fs.open(path).err().expect(path);
        fs.list(path).expect_err(path);
    }
    let absolute = outer.path().join("secret");
    let absolute = absolute.to_str().expect("UTF-8");
    fs.open(absolute).err().expect("an absolute path");
    let root = Root::new(Box::new(fs));
    for path in ["out", "absolute_out", "/../secret", absolute] {
        assert_eq!(found(&root, path), None, "{path}");
    }
}

#[test]
fn a_directory_tells_what_its_names_stand_for() {
    let outer = in_directory();
    let top = outer.path().join("top");
    symlink("x", top.join("line\nfeed")).expect("link");
    let fs = DirectoryFs::open(&top).expect("directory");
    let kind = |path: &str| fs.metadata(path).expect("readable").map(|metadata| metadata.kind);
    assert_eq!(kind(""), Some(Kind::Directory));
    assert_eq!(kind("etc/passwd"), Some(Kind::File));
    assert_eq!(kind("fifo"), Some(Kind::Special));
    assert_eq!(kind("bin"), Some(Kind::Symlink));
    assert_eq!(kind("bin/dash"), None, "not through a link");
    assert_eq!(kind("etc/passwd/x"), None);
    assert_eq!(fs.read_link("bin").expect("link"), "usr/bin");
    fs.read_link("etc").expect_err("no link");
    fs.open("fifo").err().expect("no ordinary file, and nobody waits for one");
    fs.open("bin").err().expect("a link");
    fs.list("bin").expect_err("a link");
    let names: Vec<String> = fs.list("").expect("directory").into_iter().map(|entry| entry.name).collect();
    assert!(names.contains(&"line\nfeed".to_owned()), "{names:?}");
    assert!(!names.iter().any(|name| [".", ".."].contains(&name.as_str())));
    DirectoryFs::open(&top.join("etc/passwd")).expect_err("no directory");
}

fn target() -> impl Strategy<Value = String> {
    let part = prop_oneof![Just("."), Just(".."), Just("a"), Just("b"), Just("c"), Just("")];
    prop::collection::vec(part, 0..6).prop_map(|parts| parts.join("/"))
}

proptest! {
    /// Both kinds of file system give the same answers, whatever links there are, and so does the system itself.
    #[test]
    fn any_links_lead_to_the_same_place_everywhere(targets in prop::collection::vec(target(), 6), path in target()) {
        let places = ["a", "b", "d/a", "d/b", "d/c", "d/e"];
        let outer = tempfile::tempdir().expect("temporary directory");
        std::fs::create_dir(outer.path().join("d")).expect("directory");
        std::fs::create_dir(outer.path().join("c")).expect("directory");
        let mut fs = MemFs::new().dir("d").dir("c");
        for (place, target) in places.into_iter().zip(&targets).filter(|(_, target)| !target.is_empty()) {
            symlink(target, outer.path().join(place)).expect("link");
            fs = fs.link(place, target);
        }
        let directory = DirectoryFs::open(outer.path()).expect("directory");
        let (memory, real) = (fs.root(), Root::new(Box::new(directory)));
        let seen = found(&memory, &path);
        assert_eq!(seen, found(&real, &path));
        assert_eq!(seen, by_the_kernel(outer.path(), &path), "as the kernel itself resolves it");
    }
}

/// Where a path leads, by the kernel's own rules for a root.
fn by_the_kernel(top: &std::path::Path, path: &str) -> Option<String> {
    use rustix::fs::{Mode, OFlags, ResolveFlags};
    use std::os::fd::AsRawFd as _;

    let open = |path: &str| {
        let directory = rustix::fs::open(top, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).expect("directory");
        rustix::fs::openat2(directory, path, OFlags::PATH, Mode::empty(), ResolveFlags::IN_ROOT).ok()
    };
    let place = |fd: &std::os::fd::OwnedFd| {
        std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).expect("own descriptor")
    };
    let (top, found) = (place(&open(".")?), place(&open(if path.is_empty() { "." } else { path })?));
    let inner = found.strip_prefix(&top).expect("inside").to_str().expect("UTF-8").to_owned();
    Some(format!("/{inner}"))
}
