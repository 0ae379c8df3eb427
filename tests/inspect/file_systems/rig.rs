//! Trees of files to put into file systems, images to put them in, and the comparison of the two.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::Read as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use bms_agent::inspect::fs::{FileSystem, Kind};
use tempfile::{NamedTempFile, TempDir};

use crate::{run, text};

/// Files of the directory with many.
pub(crate) const MANY: usize = 3000;
/// The same where the tool that copies them takes minutes for more.
pub(crate) const SOME: usize = 300;

/// What a file system can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    /// Modes, links, and names that differ in case.
    Unix,
    /// Files and directories, whose names have no case.
    Dos,
}

/// A directory with files.
pub(crate) struct Tree(TempDir);

impl Tree {
    /// Files and directories alone.
    pub(crate) fn plain(many: usize) -> Self {
        let tree = Self(tempfile::tempdir().expect("directory"));
        let mut random = fastrand::Rng::with_seed(4);
        tree.file("etc/os-release", b"ID=debian\n");
        tree.file("EFI/BOOT/BOOTX64.EFI", &vec![7; 70_000]);
        tree.file("empty", b"");
        tree.file("a name that is rather long, with äöü and €.Txt", b"long");
        tree.file("deep/1/2/3/4/5/6/7/8/9/10/11/12/file", b"deep");
        let noise: Vec<u8> = (0..5_000_000).map(|_| random.u8(..)).collect();
        tree.file("lib/modules/5 MB.ko", &noise);
        (0..many).for_each(|number| tree.file(&format!("many/file number {number}"), number.to_string().as_bytes()));
        tree
    }

    /// Files, directories and links whose names a prototype of `mkfs.xfs` can hold.
    pub(crate) fn simple() -> Self {
        let tree = Self(tempfile::tempdir().expect("directory"));
        tree.file("etc/os-release", b"ID=centos\n");
        tree.file("empty", b"");
        tree.file("usr/lib/module.ko", &vec![5; 3_000_000]);
        tree.link("usr/lib", "lib64");
        (0..MANY).for_each(|number| tree.file(&format!("many/{number}"), number.to_string().as_bytes()));
        tree
    }

    /// A prototype of this tree.
    pub(crate) fn prototype(&self) -> NamedTempFile {
        let file = NamedTempFile::new().expect("file");
        fs::write(file.path(), prototype(self.path())).expect("write");
        file
    }

    /// All that Linux has.
    pub(crate) fn unix() -> Self {
        let tree = Self::plain(MANY);
        tree.file("usr/lib/libc.so", b"libc");
        tree.link("usr/lib", "lib64");
        tree.link("/absolute/none", "dangling");
        tree.link(&"0123456789/".repeat(40), "a link of 440 bytes");
        tree.link("x".repeat(59).as_str(), "usr/59");
        tree.link("x".repeat(60).as_str(), "usr/60");
        tree.file("name\nwith \x1b[31mescapes", b"n");
        tree.file("beyond the first plane \u{1f600}", b"x");
        tree.file("FILE", b"large");
        tree.file("file", b"small");
        fs::write(tree.path().join(OsString::from_vec(b"not \xff UTF-8".to_vec())), b"n").expect("write");
        for (number, mode) in [0o4755, 0o2700, 0o1777, 0o000, 0o640].into_iter().enumerate() {
            let name = format!("mode {number}");
            tree.file(&name, b"m");
            fs::set_permissions(tree.path().join(name), Permissions::from_mode(mode)).expect("mode");
        }
        run("mkfifo", &[text(&tree.path().join("fifo"))]);
        let pattern: Vec<u8> = (0..3_000_000_u32).flat_map(|at| (at / 500).to_le_bytes()).collect();
        tree.file("compressible", &pattern);
        let sparse = File::create(tree.path().join("sparse")).expect("create");
        for at in [1 << 20, 8 << 20, 20 << 20] {
            sparse.write_all_at(&[9; 5000], at + 123).expect("write");
        }
        sparse.set_len(40 << 20).expect("length");
        tree
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn file(&self, name: &str, content: &[u8]) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        fs::write(path, content).expect("write");
    }

    fn link(&self, target: &str, name: &str) {
        symlink(target, self.path().join(name)).expect("link");
    }

    pub(crate) fn top_level(&self) -> Vec<PathBuf> {
        fs::read_dir(self.path()).expect("directory").map(|entry| entry.expect("entry").path()).collect()
    }

    pub(crate) fn copy_to(&self, directory: &Path) {
        run("cp", &["-a", "--sparse=always", &format!("{}/.", text(self.path())), text(directory)]);
    }
}

/// A prototype for `mkfs.xfs` of the files, directories and links in a directory.
pub(crate) fn prototype(directory: &Path) -> String {
    format!("/stand/none\n0 0\n{}", lines(directory, "d--755 0 0"))
}

/// A directory in a prototype: its own line, those of what it holds, and its end.
fn lines(directory: &Path, own: &str) -> String {
    let mut lines = format!("{own}\n");
    for entry in fs::read_dir(directory).expect("directory").map(|entry| entry.expect("entry")) {
        let (name, path) = (entry.file_name(), entry.path());
        let (name, metadata) = (name.to_str().expect("UTF-8"), entry.metadata().expect("metadata"));
        let mode = metadata.mode() & 0o777;
        lines += &match metadata.file_type() {
            file_type if file_type.is_dir() => self::lines(&path, &format!("{name} d--{mode:o} 0 0")),
            file_type if file_type.is_symlink() => {
                format!("{name} l--{mode:o} 0 0 {}\n", text(&fs::read_link(&path).expect("link")))
            }
            _ => format!("{name} ---{mode:o} 0 0 {}\n", text(&path)),
        };
    }
    lines + "$\n"
}

/// An image, and a place to mount it.
pub(crate) struct Image {
    directory: TempDir,
    pub(crate) path: PathBuf,
}

/// A mounted image; it is unmounted in the end.
pub(crate) struct Mounted {
    pub(crate) path: PathBuf,
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // A process that another test starts right now may share our open files for a moment.
        let mut tries = (0..1000).map(|_| Command::new("umount").arg(&self.path).output().expect("umount"));
        let done = tries.any(|output| output.status.success());
        assert!(done || std::thread::panicking(), "{} cannot be unmounted", self.path.display());
    }
}

impl Image {
    pub(crate) fn empty(len_bytes: u64) -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("image");
        File::create(&path).expect("create").set_len(len_bytes).expect("length");
        fs::create_dir(directory.path().join("mount")).expect("directory");
        Self { directory, path }
    }

    /// One that is somewhere else.
    pub(crate) fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), ..Self::empty(0) }
    }

    pub(crate) fn mount(&self, options: &str) -> Mounted {
        self.mount_as("auto", options)
    }

    pub(crate) fn mount_as(&self, kind: &str, options: &str) -> Mounted {
        let path = self.directory.path().join("mount");
        let options = format!("loop,{options}");
        let arguments = ["-t", kind, "-o", &options, text(&self.path), text(&path)];
        // Whoever else takes a loop device right now may take the very one that mount has chosen.
        let mut tries = (0..20).map(|_| Command::new("mount").args(arguments).output().expect("mount"));
        let failed = tries.find(|output| output.status.success()).is_none();
        assert!(!failed, "{} cannot be mounted", self.path.display());
        Mounted { path }
    }

    /// Mounts it, and copies a tree into it.
    pub(crate) fn fill(&self, options: &str, tree: &Tree) {
        tree.copy_to(&self.mount(options).path);
    }

    /// A copy of it as it is now.
    pub(crate) fn copied(&self) -> Self {
        let copy = Self::empty(0);
        run("cp", &["--sparse=always", text(&self.path), text(&copy.path)]);
        copy
    }
}

/// What a file is called by what is compared with it: bytes that are no text are escaped.
fn text_of(name: &std::ffi::OsStr) -> String {
    let escape = |part: std::str::Utf8Chunk<'_>| {
        part.valid().to_owned() + &part.invalid().iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>()
    };
    name.as_bytes().utf8_chunks().map(escape).collect()
}

/// Fails unless a file system shows what a directory holds.
pub(crate) fn compare(fs: &dyn FileSystem, directory: &Path, case: Case) {
    let compared = compare_directory(fs, directory, "", case);
    assert!(compared > SOME, "{compared} files are too few");
    for absent in ["etc/none", "none/none", "etc/os-release/none", "lib64/libc.so", "many/none"] {
        assert!(fs.metadata(absent).expect("readable").is_none(), "{absent}");
    }
    assert_eq!(fs.metadata("").expect("readable").expect("the top").kind, Kind::Directory);
    fs.open("etc").map(drop).expect_err("a directory is no file");
    fs.list("empty").expect_err("a file is no directory");
    fs.read_link("empty").expect_err("a file is no link");
    let other_case = fs.metadata("ETC/OS-Release").expect("readable");
    assert_eq!(other_case.is_some(), case == Case::Dos);
}

fn compare_directory(fs: &dyn FileSystem, directory: &Path, path: &str, case: Case) -> usize {
    let mut listed: BTreeMap<String, Kind> = BTreeMap::new();
    for entry in fs.list(path).unwrap_or_else(|error| panic!("/{path}: {error:?}")) {
        assert!(listed.insert(entry.name.clone(), entry.kind).is_none(), "{} is there twice", entry.name);
    }
    let mut compared = 0;
    for entry in fs::read_dir(directory).expect("directory") {
        let entry = entry.expect("entry");
        let name = text_of(&entry.file_name());
        let kind = listed.remove(&name).unwrap_or_else(|| panic!("{name} is missing of /{path}"));
        compared += 1;
        let found = entry.metadata().expect("metadata");
        assert_eq!(kind, kind_of(found.file_type()), "{name}");
        // A name that had to be escaped cannot be looked up.
        if entry.file_name().to_str() == Some(&name) {
            let inner = if path.is_empty() { name } else { format!("{path}/{name}") };
            compare_file(fs, &entry.path(), &inner, case);
            if kind == Kind::Directory {
                compared += compare_directory(fs, &entry.path(), &inner, case);
            }
        }
    }
    listed.retain(|name, _| !(path.is_empty() && (name == "lost+found" || name.starts_with('$'))));
    assert!(listed.is_empty(), "there is more in /{path}: {listed:?}");
    compared
}

fn compare_file(fs: &dyn FileSystem, file: &Path, path: &str, case: Case) {
    let expected = fs::symlink_metadata(file).expect("metadata");
    let found = fs.metadata(path).unwrap_or_else(|error| panic!("/{path}: {error:?}"));
    let found = found.unwrap_or_else(|| panic!("/{path} is not there"));
    assert_eq!(found.kind, kind_of(expected.file_type()), "/{path}");
    match case {
        Case::Unix => assert_eq!(found.mode, Some(expected.mode() & 0o7777), "/{path}"),
        Case::Dos => assert_eq!(found.mode, None),
    }
    match found.kind {
        Kind::File => {
            assert_eq!(found.size_bytes, expected.len(), "/{path}");
            let mut content = Vec::new();
            fs.open(path).expect("open").read_to_end(&mut content).unwrap_or_else(|error| panic!("/{path}: {error:?}"));
            assert!(content == fs::read(file).expect("read"), "/{path} differs");
        }
        Kind::Symlink => {
            let target = fs::read_link(file).expect("link");
            assert_eq!(fs.read_link(path).expect("a link"), text(&target), "/{path}");
        }
        Kind::Directory | Kind::Special => {}
    }
}

fn kind_of(file_type: fs::FileType) -> Kind {
    match file_type {
        file_type if file_type.is_file() => Kind::File,
        file_type if file_type.is_dir() => Kind::Directory,
        file_type if file_type.is_symlink() => Kind::Symlink,
        file_type => {
            assert!(file_type.is_fifo(), "{file_type:?}");
            Kind::Special
        }
    }
}
