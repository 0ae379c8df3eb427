use std::cell::Cell;
use std::collections::BTreeSet;

use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

use super::super::tests::plain;
use super::{Aliases, matches as matches_within};
use crate::inspect::facts::Known;
use crate::inspect::facts::test_tree::Tree;

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// As long as there is time.
const STEPS: u64 = 1 << 30;

fn matches(pattern: &[u8], text: &[u8]) -> bool {
    matches_within(pattern, text, &Cell::new(STEPS)).expect("enough steps")
}

fn drivers(aliases: &Aliases, modalias: &str) -> Known<BTreeSet<String>> {
    aliases.drivers_for(&[modalias], &Cell::new(STEPS)).remove(0)
}

#[test]
fn patterns_fit_as_those_of_fnmatch() {
    for (pattern, text, fits) in [
        ("pci:v00008086d*sv*sd*bc*sc*i*", "pci:v00008086d00001572sv00008086sd00000001bc02sc00i00", true),
        ("pci:v00008086d00001573sv*", "pci:v00008086d00001572sv00008086", false),
        ("*", "", true),
        ("", "", true),
        ("", "a", false),
        ("a", "", false),
        ("a*b*c", "aXbXbXc", true),
        ("a*b*c", "aXbXbX", false),
        ("a?c", "abc", true),
        ("a?c", "ac", false),
        ("a[bx-z]c", "ayc", true),
        ("a[!bx-z]c", "ayc", false),
        ("a[!b]c", "axc", true),
        ("a[]]c", "a]c", true),
        ("a[b", "a[b", true),
        ("fs-ext4", "fs_ext4", true),
        ("of:N*T*Cvirtio,mmio*", "of:NaT(null)Cvirtio,mmio", true),
    ] {
        assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), fits, "{pattern} {text}");
    }
}

#[test]
fn drivers_of_a_device_are_found_by_its_modalias() {
    let loadable = b"# Aliases extracted from modules themselves.\nalias pci:v00008086d* i40e\n\
        alias pci:v*d*sv*sd*bc01sc08i02* nvme-core\nalias fs-ext4 ext4\nbroken\n"
        .to_vec();
    let builtin =
        b"ahci.alias=pci:v*d*sv*sd*bc01sc06i01*\0ahci.license=GPL\0virtio_pci.alias=pci:v00001AF4d*\0".to_vec();
    let aliases = Aliases::parse(loadable, builtin);
    for (modalias, names) in [
        ("pci:v0000144Dd0000A808sv0sd0bc01sc08i02", set(&["nvme_core"])),
        ("pci:v00008086d00000001sv0sd0bc01sc06i01", set(&["ahci", "i40e"])),
        ("pci:v00001AF4d00001001sv0", set(&["virtio_pci"])),
        ("usb:v1", set(&[])),
    ] {
        assert_eq!(drivers(&aliases, modalias), Known::Is(names), "{modalias}");
    }
}

#[test]
fn patterns_that_cannot_be_read_make_a_device_unknown_only_if_no_other_fits() {
    let directory = "/lib/modules/6.1.0-1";
    let builtin = Known::Is(set(&["sd_mod", "virtio_pci"]));
    let tree = plain();
    let read = |tree: &Tree| Aliases::read(&tree.root(), directory, &builtin);
    assert!(
        matches!(drivers(&read(&tree), "pci:v1"), Known::Unknown(why) if why.ends_with("modules.alias is missing"))
    );
    tree.file("usr/lib/modules/6.1.0-1/modules.alias", "alias a* b\n");
    let old = read(&tree);
    assert_eq!(drivers(&old, "abc"), Known::Is(set(&["b"])));
    assert_eq!(drivers(&old, "scsi:t-0x00"), Known::Is(set(&["sd_mod"])), "what is often compiled in is known");
    assert!(matches!(drivers(&old, "virtio:d00000002v00001AF4"), Known::Unknown(_)), "it is not compiled in");
    let modinfo = |content: &str| tree.file("usr/lib/modules/6.1.0-1/modules.builtin.modinfo", content);
    modinfo("a.alias=virtio:d*\0b.alias=pci:v00001022d*");
    assert_eq!(drivers(&read(&tree), "virtio:d00000002v00001AF4"), Known::Is(set(&["a"])));
    assert_eq!(drivers(&read(&tree), "usb:v1"), Known::Is(set(&[])), "all patterns are known, and none fits");
    assert_eq!(drivers(&read(&tree), "pci:v00001022d1"), Known::Is(set(&["b"])), "the last record without its end");
    assert_eq!(drivers(&read(&tree), "scsi:t-0x00"), Known::Is(set(&["sd_mod"])));
}

#[test]
fn before_linux_6_18_a_kernel_does_not_say_what_is_for_a_device() {
    let directory = "/lib/modules/6.1.0-1";
    let tree = plain();
    tree.file("usr/lib/modules/6.1.0-1/modules.alias", "alias pci:v00008086d000037D0sv* i40e\n");
    // Of Debian's 6.1, which has drivers of PCI devices in it, shpchp among them.
    let said = "shpchp.license=GPL\0rtc_cmos.alias=platform:rtc_cmos\0loop.alias=devname:loop-control\0";
    tree.file("usr/lib/modules/6.1.0-1/modules.builtin.modinfo", said);
    let read = |names: &[&str]| Aliases::read(&tree.root(), directory, &Known::Is(set(names)));
    let shpchp = "pci:v00001B36d0000000Csv00000000sd00000000bc06sc04i00";
    assert!(matches!(drivers(&read(&["shpchp"]), shpchp), Known::Unknown(why) if why.contains("built-in")));
    assert_eq!(drivers(&read(&["ahci"]), "pci:v00008086d000037D0sv00000000bc02"), Known::Is(set(&["i40e"])));
    for (driver, modalias) in [
        ("aacraid", "pci:v00009005d0000028Dsv000019E5sd00000000bc01sc04i00"),
        ("ahci", "pci:v000019E5d0000A235sv000019E5sd0000371Ebc01sc06i01"),
        ("bnxt_en", "pci:v000014E4d000016D7sv000014E4sd00001404bc02sc00i00"),
        ("e1000e", "pci:v00008086d000010D3sv00001AF4sd00001100bc02sc00i00"),
        ("hinic", "pci:v000019E5d00000200sv000019E5sd0000D139bc02sc00i00"),
        ("hisi_sas_v3_hw", "pci:v000019E5d0000A230sv000019E5sd00000000bc01sc07i00"),
        ("hns3", "pci:v000019E5d0000A222sv000019E5sd00000454bc02sc00i00"),
        ("i40e", "pci:v00008086d000037D1sv000019E5sd0000D123bc02sc00i00"),
        ("igb", "pci:v00008086d00001521sv000019E5sd0000D111bc02sc00i00"),
        ("ixgbe", "pci:v00008086d000010FBsv000019E5sd0000D10Cbc02sc00i00"),
        ("megaraid_sas", "pci:v00001000d0000005Dsv000019E5sd0000D207bc01sc04i00"),
        ("mlx5_core", "pci:v000015B3d00001015sv000019E5sd0000D12Abc02sc00i00"),
        ("mpt3sas", "pci:v00001000d00000097sv000019E5sd0000D213bc01sc07i00"),
        ("nvme", "pci:v0000144Dd0000A808sv0000144Dsd0000A801bc01sc08i02"),
        ("sd_mod", "scsi:t-0x00"),
        ("smartpqi", "pci:v00009005d0000028Fsv000019E5sd0000D227bc01sc07i00"),
        ("tg3", "pci:v000014E4d0000165Fsv000019E5sd0000D100bc02sc00i00"),
        ("virtio_blk", "virtio:d00000002v00001AF4"),
        ("virtio_net", "virtio:d00000001v00001AF4"),
        ("virtio_pci", "pci:v00001AF4d00001042sv00001AF4sd00001100bc01sc00i00"),
        ("virtio_scsi", "virtio:d00000008v00001AF4"),
        ("vmd", "pci:v00008086d0000201Dsv00008086sd00000000bc01sc04i00"),
        ("xhci_pci", "pci:v00008086d0000A1AFsv000019E5sd0000371Fbc0Csc03i30"),
    ] {
        assert_eq!(drivers(&read(&[driver]), modalias), Known::Is(set(&[driver])), "{modalias}");
        assert_eq!(drivers(&read(&[]), modalias), Known::Is(set(&[])), "{driver} is not compiled in");
    }
    let strange = "pci:v0000DEADd0000BEEFsv00000000sd00000000bc01sc00i00";
    assert!(matches!(drivers(&read(&["nvme"]), strange), Known::Unknown(why) if why.contains("does not say")));
}

#[test]
fn hostile_patterns_are_bounded_in_length_number_and_time() {
    let lines = |line: &str, times| Aliases::parse(line.repeat(times).into_bytes(), Vec::new());
    let long = format!("alias {}* a\n", "*".repeat(1024));
    assert_eq!(drivers(&lines(&long, 3), "x"), Known::Is(set(&[])));
    let name = format!("alias * {}\n", "m".repeat(65));
    assert_eq!(drivers(&lines(&name, 3), "x"), Known::Is(set(&[])));
    let all: String = (0..17).map(|number| format!("alias x* m{number}\n")).collect();
    assert!(matches!(drivers(&lines(&all, 100), "x"), Known::Unknown(why) if why.starts_with("more than 16")));
    let slow = format!("alias {}b m\n", "*a".repeat(500));
    let steps = Cell::new(1 << 20);
    let found = lines(&slow, 5000).drivers_for(&["a", &"a".repeat(250)], &steps);
    assert!(matches!(found.as_slice(), [Known::Unknown(_), Known::Unknown(_)]), "{found:?}");
    assert!(steps.get() < 1000, "{} are left", steps.get());
}

/// What a pattern means, without any thought of time.
fn plainly_matches(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], text) => text.is_empty(),
        ([b'*', rest @ ..], text) => (0..=text.len()).any(|taken| plainly_matches(rest, &text[taken..])),
        (_, []) => false,
        ([b'?', rest @ ..], [_, text @ ..]) => plainly_matches(rest, text),
        ([b'[', rest @ ..], [first, text @ ..]) => match plain_bracket(rest) {
            Some((set, rest)) => set(*first) && plainly_matches(rest, text),
            None => *first == b'[' && plainly_matches(rest, text),
        },
        ([b'-' | b'_', rest @ ..], [b'-' | b'_', text @ ..]) => plainly_matches(rest, text),
        ([same, rest @ ..], [first, text @ ..]) => same == first && plainly_matches(rest, text),
    }
}

/// The set that a bracket stands for, and what comes behind it; none if it does not end.
fn plain_bracket(pattern: &[u8]) -> Option<(impl Fn(u8) -> bool, &[u8])> {
    let (negated, pattern) = match pattern {
        [b'!' | b'^', rest @ ..] => (true, rest),
        _ => (false, pattern),
    };
    let end = (1..pattern.len()).find(|&at| pattern[at] == b']')?;
    let mut bytes = BTreeSet::new();
    let mut at = 0;
    while at < end {
        let is_range = at + 2 < end && pattern[at + 1] == b'-';
        let last = if is_range { pattern[at + 2] } else { pattern[at] };
        bytes.extend(pattern[at]..=last);
        at += if is_range { 3 } else { 1 };
    }
    Some((move |byte| bytes.contains(&byte) != negated, &pattern[end + 1..]))
}

proptest! {
    #[test]
    fn arbitrary_lists_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        drivers(&Aliases::parse(bytes.clone(), bytes), "pci:v00008086");
    }

    #[test]
    fn patterns_fit_as_by_the_plainest_of_matchers(pattern in "[ab_*?!^\\[\\]-]{0,12}", text in "[ab_\\]!-]{0,10}") {
        prop_assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), plainly_matches(pattern.as_bytes(), text.as_bytes()));
    }

    #[test]
    fn no_pattern_takes_more_steps_than_it_has(
        pattern in "([*]|[*]a|[?]|\\[a-c\\]|\\[!b\\]|a|\\[){0,300}",
        text in "[ab]{0,256}",
    ) {
        let steps = Cell::new(1 << 20);
        let answer = matches_within(pattern.as_bytes(), text.as_bytes(), &steps);
        let brackets = pattern.matches('[').count() as u64 * pattern.len() as u64;
        let most = 2 * (pattern.len() as u64 + 1 + brackets) * (text.len() as u64 + 1);
        prop_assert!((1 << 20) - steps.get() <= most);
        let few = Cell::new(((1 << 20) - steps.get()).saturating_sub(1));
        if steps.get() < 1 << 20 && answer.is_some() {
            prop_assert_eq!(matches_within(pattern.as_bytes(), text.as_bytes(), &few), None, "one step less is too few");
        }
    }

    #[test]
    fn a_pattern_of_stars_takes_no_longer_than_its_length_times_that_of_the_text(stars in 1..200_usize) {
        let pattern = b"*a".repeat(stars);
        assert!(!matches(&pattern, &b"b".repeat(5000)));
        assert!(matches(&pattern, &b"ab".repeat(stars + 1)[..2 * stars - 1]));
    }
}
