//! Images made by `qemu-img`, and images that reach for what is not theirs.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::{ConvertError, Driver, Info, Qemu, VMDK_CAPACITY_OFFSET, installed, to_raw};

const LEN: u64 = 20 << 20;

/// A directory with a sparse raw file.
struct Fixture {
    directory: TempDir,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let raw = File::create(directory.path().join("disk.raw")).expect("created");
        let mut noise = vec![0; 3 << 20];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        raw.write_all_at(&noise, 1 << 20).expect("written");
        raw.set_len(LEN).expect("extended");
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs `qemu-img`, and gives the image that it made.
    fn make(&self, arguments: &str) -> File {
        let arguments = arguments.split_whitespace().chain(["image"]);
        let made = Command::new("qemu-img").args(arguments).current_dir(self.directory.path()).output();
        let made = made.expect("qemu-img");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        File::open(self.path("image")).expect("opens")
    }

    fn to_raw(&self, image: &File, driver: Driver) -> Result<File, ConvertError> {
        to_raw(image, driver, self.directory.path())
    }
}

fn read(file: &File) -> Vec<u8> {
    let mut content = vec![0; usize::try_from(file.metadata().expect("known").len()).expect("small")];
    file.read_exact_at(&mut content, 0).expect("read");
    content
}

#[test]
fn images_of_every_driver_become_the_raw_content_with_its_holes() {
    let fixture = Fixture::new();
    let content = fs::read(fixture.path("disk.raw")).expect("read");
    for (driver, options) in [
        (Driver::Qcow2, "-c -O qcow2 -o compression_type=zstd"),
        (Driver::Qcow2, "-O qcow2 -o extended_l2=on"),
        (Driver::Vmdk, "-O vmdk"),
        (Driver::Vmdk, "-O vmdk -o subformat=streamOptimized"),
        (Driver::Vhdx, "-O vhdx"),
        (Driver::Vhd, "-O vpc -o force_size=on"),
        (Driver::Vdi, "-O vdi"),
    ] {
        let image = fixture.make(&format!("convert {options} disk.raw"));
        let raw = fixture.to_raw(&image, driver).expect("converted");
        assert!(read(&raw) == content, "{options}");
        let metadata = raw.metadata().expect("known");
        assert!(metadata.blocks() * 512 < LEN / 2, "{options}: {} blocks", metadata.blocks());
        assert_eq!(metadata.nlink(), 0, "it has no name that could be left behind");
    }
}

#[test]
fn an_image_that_names_another_file_is_refused() {
    let fixture = Fixture::new();
    for (driver, arguments) in [
        (Driver::Qcow2, "create -q -f qcow2 -b disk.raw -F raw"),
        (Driver::Qcow2, "create -q -f qcow2 -o size=1M,data_file=data,data_file_raw=on"),
    ] {
        let error = fixture.to_raw(&fixture.make(arguments), driver).expect_err("refused");
        // Its fence may keep `qemu-img` from the other file before it can tell of it.
        assert!(matches!(error, ConvertError::Outside { .. } | ConvertError::Failed { .. }), "{arguments}: {error:?}");
    }
    fixture.make("convert -O vmdk disk.raw");
    let image = OpenOptions::new().read(true).write(true).open(fixture.path("image")).expect("opens");
    image.write_all_at(&[0; 8], VMDK_CAPACITY_OFFSET).expect("written");
    let error = fixture.to_raw(&image, Driver::Vmdk).expect_err("refused");
    assert!(matches!(error, ConvertError::Outside { .. }), "{error:?}");
}

#[test]
fn what_qemu_img_tells_of_other_files_is_refused() {
    let info =
        |more: &str| serde_json::from_str::<Info>(&format!("{{\"virtual-size\": 512{more}}}")).expect("an answer");
    let data = |data: &str| info(&format!(r#", "format-specific": {{"type": "any", "data": {data}}}"#));
    info("").check().expect("all in one file");
    data(r#"{"create-type": "monolithicSparse", "extents": [{"filename": "/proc/self/fd/0"}]}"#)
        .check()
        .expect("whole");
    for outside in [
        info(r#", "backing-filename": "/etc/shadow""#),
        info(r#", "full-backing-filename": "json:{}""#),
        data(r#"{"data-file": "/etc/shadow"}"#),
        data(r#"{"create-type": "monolithicSparse", "extents": [{"filename": "/etc/shadow"}]}"#),
        data(r#"{"create-type": "monolithicFlat"}"#),
    ] {
        assert!(matches!(outside.check(), Err(ConvertError::Outside { .. })), "{outside:?}");
    }
    for encrypted in [info(r#", "encrypted": true"#), data(r#"{"encrypt": {"format": "luks"}}"#)] {
        assert!(matches!(encrypted.check(), Err(ConvertError::Encrypted)), "{encrypted:?}");
    }
}

/// The second fence, without the first one.
#[test]
fn qemu_img_cannot_follow_an_image_to_another_file() {
    let fixture = Fixture::new();
    let descriptor = format!(
        "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n\
         RW {} FLAT \"{}\" 0\n",
        LEN / 512,
        fixture.path("disk.raw").display()
    );
    fs::write(fixture.path("image"), descriptor).expect("written");
    let image = File::open(fixture.path("image")).expect("opens");
    let program = installed().expect("qemu-img");
    let error = Qemu { program: &program, image: &image, driver: Driver::Vmdk }.info().expect_err("fenced");
    assert!(matches!(&error, ConvertError::Failed { said, .. } if said.contains("Permission denied")), "{error:?}");
}

#[test]
fn damage_and_no_room_are_told() {
    let fixture = Fixture::new();
    fs::write(fixture.path("image"), vec![7; 100_000]).expect("written");
    let image = File::open(fixture.path("image")).expect("opens");
    for driver in [Driver::Qcow2, Driver::Vmdk, Driver::Vhdx, Driver::Vhd, Driver::Vdi] {
        let error = fixture.to_raw(&image, driver).expect_err("no such image");
        assert!(matches!(&error, ConvertError::Failed { command: "info", said } if !said.is_empty()), "{error:?}");
    }
    let image = fixture.make("convert -O vdi disk.raw");
    let error = to_raw(&image, Driver::Vdi, Path::new("/nonexistent")).expect_err("no such directory");
    assert!(matches!(error, ConvertError::Room { .. }), "{error:?}");
}
