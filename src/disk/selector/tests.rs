//! Selectors as people and programs give them.

use proptest::prelude::{ProptestConfig, Strategy, any, proptest};
use proptest::{option, prop_assert_eq, sample};

use super::{Selector, SelectorError};
use crate::disk::discovery::Disk;
use crate::disk::fixture::Fixture;
use crate::disk::identity::Transport;
use crate::reason::{DomainError as _, Reason};

/// Two NVMe disks of 40 GiB, one SATA disk of 4 TiB, and a mounted virtio disk.
fn server() -> Vec<Disk> {
    let fixture = Fixture::new();
    fixture.nvme("nvme0n1", "259:0", "S1").attribute("wwid", "eui.01\n").attribute("diskseq", "1\n");
    fixture.nvme("nvme1n1", "259:1", "S2").attribute("wwid", "eui.02\n").attribute("diskseq", "2\n");
    fixture.sata("sda", "8:0", "Z1").attribute("size", "8589934592\n").attribute("queue/logical_block_size", "4096\n");
    fixture.virtio("vda", "254:0", "vol-0");
    fixture.link("dev/disk/by-path/pci-0000:00:17.0-ata-1", "../../sda");
    fixture.mounts(&[("254:0", "/", "ext4", "/dev/vda")]);
    fixture.scan()
}

fn select(disks: &[Disk], text: &str) -> String {
    let selector: Selector = text.parse().expect("valid");
    selector.select(disks).expect("one disk").name.clone()
}

fn refused(text: &str) -> SelectorError {
    text.parse::<Selector>().expect_err(text)
}

#[test]
fn each_key_names_a_disk() {
    let disks = server();
    for (text, name) in [
        ("serial=S2", "nvme1n1"),
        ("wwn=eui.01", "nvme0n1"),
        ("by-path=pci-0000:00:17.0-ata-1", "sda"),
        ("name=vda", "vda"),
        ("model=ST4000NM0035-1V4", "sda"),
        ("size=4T", "sda"),
        ("model=SAMSUNG MZQL21T9HCJR-00A07,diskseq=2", "nvme1n1"),
        ("size=40GiB,transport=virtio", "vda"),
        ("size=4398046511104,rotational=yes,block-size=4096,min-size=1T", "sda"),
    ] {
        assert_eq!(select(&disks, text), name, "{text}");
    }
}

#[test]
fn a_disk_in_use_is_selected_all_the_same() {
    let disks = server();
    let selector: Selector = "name=vda".parse().expect("valid");
    let disk = selector.select(&disks).expect("vda");
    assert_eq!(disk.refusals(&disks)[0].reason, Reason::DiskProtected);
}

#[test]
fn none_is_an_error_that_shows_every_disk_and_why_not() {
    let error = "serial=S1,min-size=1T".parse::<Selector>().expect("valid").select(&server()).expect_err("none");
    assert_eq!(error.reason(), Reason::DiskNotFound);
    let expected = "\
no disk matches serial=S1,min-size=1099511627776
  NAME     SIZE      BYTES          SERIAL  WWN     MODEL                       TRANSPORT  WHY NOT
  nvme0n1  40.0 GiB  42949672960    S1      eui.01  SAMSUNG MZQL21T9HCJR-00A07  nvme       smaller than 1.0 TiB
  sda      4.0 TiB   4398046511104  Z1      -       ST4000NM0035-1V4            ata        other serial
  nvme1n1  40.0 GiB  42949672960    S2      eui.02  SAMSUNG MZQL21T9HCJR-00A07  nvme       other serial, smaller than 1.0 TiB
  vda      40.0 GiB  42949672960    vol-0   -       -                           virtio     other serial, smaller than 1.0 TiB";
    assert_eq!(error.to_string(), expected);
    let metadata = error.metadata();
    assert!(metadata.contains(&("candidates", "nvme0n1,nvme1n1,sda,vda".to_owned())), "{metadata:?}");
    assert!(metadata.contains(&("selector", "serial=S1,min-size=1099511627776".to_owned())), "{metadata:?}");
}

#[test]
fn several_are_an_error_that_shows_those_that_match() {
    let error = "size=40G,transport=nvme".parse::<Selector>().expect("valid").select(&server()).expect_err("two");
    assert_eq!(error.reason(), Reason::DiskAmbiguous);
    let text = error.to_string();
    assert!(text.starts_with("2 disks match transport=nvme,size=42949672960\n"), "{text}");
    assert!(text.contains("nvme0n1") && text.contains("nvme1n1") && !text.contains("sda"), "{text}");
    assert!(error.metadata().contains(&("matches", "nvme0n1,nvme1n1".to_owned())));
}

#[test]
fn no_disks_at_all_are_said_so() {
    let error = "name=sda".parse::<Selector>().expect("valid").select(&[]).expect_err("none");
    assert_eq!(error.to_string(), "no disk matches name=sda\n  there are no disks");
}

#[test]
fn a_table_of_very_many_disks_is_cut() {
    let many: Vec<Disk> = (0..100).flat_map(|_| server()).collect();
    let error = "serial=none-such".parse::<Selector>().expect("valid").select(&many).expect_err("none");
    let text = error.to_string();
    assert_eq!(text.lines().count(), 2 + 12 + 1);
    assert!(text.ends_with("\n  and 388 more"), "{text}");
    assert!(text.len() < 4096, "{} bytes", text.len());
    assert!(error.metadata().iter().all(|(_, value)| value.len() < 1024), "{:?}", error.metadata());
}

#[test]
fn a_selector_that_could_mean_any_disk_is_invalid() {
    for text in ["transport=nvme", "rotational=no,min-size=40G", "block-size=512", "diskseq=3"] {
        assert_eq!(refused(text), SelectorError::Unspecific, "{text}");
    }
    let error = Selector::default().select(&server()).expect_err("empty");
    assert_eq!(error, SelectorError::Unspecific);
    assert_eq!(error.reason(), Reason::RequestMalformed);
}

#[test]
fn device_paths_are_refused_with_an_example() {
    for text in ["/dev/sda", "name=/dev/sda", "name=../../etc/shadow", "by-path=/dev/disk/by-path/pci-1", "dev/nvme0n1"]
    {
        let error = refused(text);
        assert!(matches!(error, SelectorError::DevicePath { .. }), "{text}: {error:?}");
        assert!(error.to_string().contains("name=nvme0n1"), "{error}");
    }
    let from_the_wire = Selector { name: Some("/dev/sda".to_owned()), ..Selector::default() };
    assert!(matches!(from_the_wire.select(&server()), Err(SelectorError::DevicePath { .. })));
}

#[test]
fn malformed_texts_say_what_is_wrong() {
    for (text, message) in [
        ("", "`` is not key=value, as in serial=S64GNE0R900001 or name=nvme0n1"),
        ("sda", "`sda` is not key=value, as in serial=S64GNE0R900001 or name=nvme0n1"),
        ("serial=A,", "`` is not key=value, as in serial=S64GNE0R900001 or name=nvme0n1"),
        ("serial=A,serial=B", "the key `serial` stands twice"),
        ("serial=", "`serial=` is impossible: the value is empty"),
        ("serial=a\u{7}", "`serial=a\\u{7}` is impossible: the value has control characters, or invisible ones"),
        ("serial=a\u{202e}", "`serial=a\\u{202e}` is impossible: the value has control characters, or invisible ones"),
        ("name=a,rotational=perhaps", "`rotational=perhaps` is impossible: it is yes or no"),
        ("name=a,block-size=1000", "`block-size=1000` is impossible: a block size is a power of two, 512 or 4096"),
    ] {
        assert_eq!(refused(text).to_string(), message);
    }
    for (text, part) in [
        ("size=40GB", "powers of 1024"),
        ("name=a,diskseq=-1", "diskseq=-1"),
        ("name=a,transport=sata", "nvme, ata, sas"),
        ("Serial=A", "it has serial, wwn, by-path"),
    ] {
        let message = refused(text).to_string();
        assert!(message.contains(part), "{message}");
    }
    let long = format!("serial={}", "x".repeat(5000));
    assert!(refused(&long).to_string().len() < 200);
}

#[test]
fn values_may_have_commas_and_backslashes() {
    let selector: Selector = r"model=Disk\, Inc. \\ 5,backing-file=C:\temp".parse().expect("valid");
    assert_eq!(selector.model.as_deref(), Some(r"Disk, Inc. \ 5"));
    assert_eq!(selector.backing_file.as_deref(), Some(r"C:\temp"));
    assert_eq!(selector.to_string(), r"model=Disk\, Inc. \\ 5,backing-file=C:\\temp");
}

fn text() -> impl Strategy<Value = Option<String>> {
    option::of(r"[a-zA-Z0-9,.=\\:_-]([ a-zA-Z0-9,.=\\:_-]{0,12}[a-zA-Z0-9,.=\\:_-])?")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_selector_survives_being_written_and_read(
        texts in [text(), text(), text(), text(), text(), text()],
        transport in option::of(sample::select(Transport::KNOWN.to_vec())),
        rotational in any::<Option<bool>>(),
        numbers in any::<[Option<u64>; 3]>(),
        block_power in option::of(0..32_u32),
    ) {
        let [serial, wwn, by_path, name, model, backing_file] = texts;
        let [size_bytes, min_size_bytes, diskseq] = numbers;
        let logical_block_size = block_power.map(|power| 1 << power);
        let selector = Selector {
            serial, wwn, by_path, name, model, transport, rotational, size_bytes, min_size_bytes, logical_block_size, diskseq,
            backing_file,
        };
        match selector.check() {
            Ok(()) => prop_assert_eq!(selector.to_string().parse(), Ok(selector)),
            Err(error) => prop_assert_eq!(error, SelectorError::Unspecific),
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,64}") {
        let parsed = text.parse::<Selector>();
        if let Ok(selector) = parsed {
            prop_assert_eq!(selector.check(), Ok(()));
        }
    }
}
