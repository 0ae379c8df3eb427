//! Overrides of findings.

use super::fixture::{Case, GIB, used_overrides, why};
use crate::compatibility::{Fitness, Incompatible, Override, OverrideInvalid};
use crate::hardware::fact::Fact;
use crate::hardware::model::HardwareModel;
use crate::inspect::report::Status;
use crate::reason::{DomainError as _, Reason};

fn by_admin(id: &str) -> Override {
    Override { id: id.to_owned(), by: "spiffe://fleet/admin/alice".to_owned() }
}

/// A server of another model, with too little memory.
fn unfit() -> Case {
    let mut case = Case::fit();
    case.host.system.product_name = Fact::Known("5288 V5".to_owned());
    case.requirements.min_memory_bytes = 65 * GIB;
    case
}

#[test]
fn an_overridden_finding_keeps_its_status_and_does_not_count() {
    let case = unfit();
    assert_eq!(case.judge().fitness, Fitness::Unfit);
    let one = case.judge_with(&[by_admin("HW-01")]).expect("allowed");
    assert_eq!(one.fitness, Fitness::Unfit, "the memory is still too little");
    let both = case.judge_with(&[by_admin("HW-01"), by_admin("HW-04")]).expect("allowed");
    assert_eq!(both.fitness, Fitness::Fit);
    let by = "spiffe://fleet/admin/alice";
    assert_eq!(used_overrides(&both), [("HW-01", by), ("HW-04", by)]);
    assert_eq!(both.findings[0].finding.status, Status::Fail);
    assert!(!both.findings[0].finding.remedy.is_empty());
}

#[test]
fn an_override_of_what_would_not_refuse_is_not_used() {
    let mut case = Case::fit();
    let judgement = case.judge_with(&[by_admin("HW-01"), by_admin("HW-10")]).expect("allowed");
    assert_eq!((judgement.fitness, used_overrides(&judgement).len()), (Fitness::Fit, 0));
    case.evidence().kernels = why();
    let judgement = case.judge_with(&[by_admin("HW-10")]).expect("allowed");
    assert_eq!((judgement.fitness, used_overrides(&judgement).len()), (Fitness::Unknown, 0));
}

#[test]
fn the_unknown_can_be_overridden_finding_by_finding() {
    let mut case = Case::fit();
    case.evidence().kernels = why();
    let ids = ["HW-07", "HW-08", "HW-09"];
    let judgement = case.judge_with(&ids.map(by_admin)).expect("allowed");
    assert_eq!(judgement.fitness, Fitness::Fit);
    assert_eq!(used_overrides(&judgement).iter().map(|(id, _)| *id).collect::<Vec<_>>(), ids);
    for left_out in ids {
        let some: Vec<_> = ids.into_iter().filter(|id| *id != left_out).map(by_admin).collect();
        assert_eq!(case.judge_with(&some).expect("allowed").fitness, Fitness::Unknown, "{left_out} counts");
    }
}

#[test]
fn an_override_of_no_finding_is_an_error() {
    for id in ["HW-99", "hw-01", "", "BOOT-01", "HW-01 "] {
        let error = unfit().judge_with(&[by_admin("HW-01"), by_admin(id)]).expect_err("refused");
        assert_eq!(error, OverrideInvalid::NoFinding { id: id.to_owned() });
    }
}

#[test]
fn nothing_makes_up_for_a_disk_that_cannot_take_the_image() {
    let mut small = Case::fit();
    small.disk().size_bytes = GIB;
    let mut other = Case::fit();
    other.disk().logical_block_size = 4096;
    for (case, id) in [(small, "HW-05"), (other, "HW-06")] {
        let error = case.judge_with(&[by_admin(id)]).expect_err("refused");
        assert!(matches!(&error, OverrideInvalid::Final { id: of, .. } if *of == id), "{error}");
    }
    let unchosen = Case { has_target: false, ..Case::fit() };
    let overrides = ["HW-05", "HW-06", "HW-07", "HW-08"].map(by_admin);
    assert_eq!(unchosen.judge_with(&overrides).expect("nothing failed").fitness, Fitness::Fit);
}

#[test]
fn who_overrides_is_named_printable_and_short() {
    let by = format!("\u{1b}[0m{}", "x".repeat(1000));
    let judgement = unfit().judge_with(&[Override { id: "HW-01".to_owned(), by }]).expect("allowed");
    let (_, by) = used_overrides(&judgement)[0];
    assert!(by.starts_with("\\u{1b}[0mxx") && by.len() < 320, "{by}");
}

#[test]
fn before_a_look_only_what_no_look_can_settle_refuses() {
    let mut case = Case { image: None, ..Case::fit() };
    let judgement = case.judge();
    let open: Vec<_> = judgement.findings.iter().filter(|judged| judged.is_open).collect();
    let ids: Vec<_> = open.iter().map(|judged| judged.finding.id.as_str()).collect();
    assert_eq!(ids, ["HW-03", "HW-07", "HW-08", "HW-09", "HW-10"]);
    assert_eq!((judgement.fitness, judgement.fitness_so_far()), (Fitness::Unknown, Fitness::Fit));
    assert_eq!(judgement.admit(), Ok(()));

    case.requirements.model = HardwareModel::default();
    let refusal = case.judge().admit().expect_err("no look says where it came from");
    assert!(matches!(&refusal, Incompatible::Unknown { findings, .. } if findings == "HW-01"), "{refusal}");
    assert_eq!(refusal.reason(), Reason::CompatibilityUnknown);

    case.requirements.architecture = Some("aarch64".to_owned());
    let refusal = case.judge().admit().expect_err("for other processors");
    assert!(matches!(&refusal, Incompatible::Unfit { findings, .. } if findings == "HW-02"), "{refusal}");
    assert_eq!(refusal.reason(), Reason::ImageIncompatible);
    assert!(refusal.to_string().contains("HW-02 the image is for aarch64, and this server is x86_64"), "{refusal}");
}

#[test]
fn after_a_look_the_unknown_refuses_unless_it_is_overridden() {
    let mut case = Case::fit();
    case.evidence().kernels = why();
    let refusal = case.judge().admit().expect_err("nothing is known of kernels");
    assert!(matches!(&refusal, Incompatible::Unknown { findings, .. } if findings == "HW-07,HW-08,HW-09"), "{refusal}");
    let overridden = case.judge_with(&["HW-07", "HW-08", "HW-09"].map(by_admin)).expect("allowed");
    assert_eq!(overridden.admit(), Ok(()));
}
