//! The table of bad inputs, row by row: where each is tried, or why it is not. A test holds the list to the sources.
//!
//! What is tried here is tried over the real listener, with a daemon that serves many rows. After each row it is alive, has
//! the descriptors and children of before, has written nothing to a disk that nobody named, and has given back what it took.
//!
//! Where a row expects something else than is pinned here, `design.md` of the project or the library decides; the case says so.

mod control;
mod disks;
mod faults;
mod formats;
mod messages;
mod sources;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bms_agent::rpc::proto::longrunning::Operation;
use bms_agent::rpc::proto::v1::push_image_request::Message;
use bms_agent::rpc::proto::v1::{ImageSource, InstallImageRequest, PushBegin, image_source};
use prost::Message as _;
use tonic::Code;
use uuid::Uuid;

use self::messages::INSTALL;
use crate::support::client::{Client, outcome};
use crate::support::secure::Secure;
use crate::support::{Daemon, Image, LoopDisk, MIB, Seed};

/// What a request is told that can never be right.
const MALFORMED: (Code, &str) = (Code::InvalidArgument, "REQUEST_MALFORMED");

/// A daemon for many rows.
struct Rows {
    secure: Secure,
}

impl Rows {
    /// A daemon with these lines in its configuration.
    fn start(lines: &str) -> Self {
        let start = |_, table: &str| Daemon::start_sparing(&format!("allow_loop_devices = true\n{lines}\n{table}"));
        Self { secure: Secure::start_by(start) }
    }

    /// A client of a role. With it, the daemon is at rest.
    async fn client(&self, role: &str) -> Client {
        let client = self.secure.client(&self.secure.identity(role)).await;
        client.operation_names().await;
        self.secure.rests();
        client
    }

    /// What holds after each row.
    async fn after(&self, row: &str) {
        self.secure.settled_after(row).await;
    }
}

/// What an install of an image that the agent fetches came to: the call's refusal, or the operation's.
async fn install(client: &Client, disk: &LoopDisk, source: image_source::Source) -> Result<(), (Code, String)> {
    let source = Some(ImageSource { source: Some(source) });
    let request_id = Uuid::new_v4().to_string();
    let request = InstallImageRequest { request_id, disk: Some(disk.wire_selector()), source, ..Default::default() };
    let begun = client.ask(INSTALL, request.encode_to_vec()).await.map_err(|told| (told.code, told.reason))?;
    let operation = Operation::decode(begun[0].as_slice()).expect("an operation");
    let ended = client.ended(&operation.name).await;
    outcome(ended).map(drop).map_err(|fault| (fault.code, fault.reason))
}

/// What a former tenant left at the begin of a disk: a table, so that the disk is bootable.
fn former() -> Vec<u8> {
    Image::new(4 * MIB, &mut Seed::quiet(100)).bytes[..1 << 20].to_vec()
}

/// Whether a source that has said all that it says goes away or stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Leaves,
    Stays,
}

/// What a push with these messages, and no more, came to.
async fn push(client: &Client, begin: PushBegin, messages: Vec<Message>, then: Then) -> Result<(), (Code, String)> {
    let mut push = client.push(begin).await.map_err(|fault| (fault.code, fault.reason))?;
    for message in messages {
        // Once it has failed nobody listens any more.
        if !push.send(message).await {
            break;
        }
    }
    if then == Then::Leaves {
        push.close();
    }
    let ended = tokio::time::timeout(Duration::from_secs(60), push.end()).await.expect("an end");
    outcome(ended).map(drop).map_err(|fault| (fault.code, fault.reason))
}

/// The same as a table has it.
fn refused(result: &Result<(), (Code, String)>) -> (Code, &str) {
    let (code, reason) = result.as_ref().expect_err("it must not succeed");
    (*code, reason)
}

/// Where a row is tried.
enum Proof {
    /// In this folder, by cases whose text begins with the number of the row.
    Here,
    /// By a test elsewhere.
    Elsewhere(&'static str),
    /// Nowhere, for this reason.
    NotApplicable(&'static str),
}

use Proof::{Elsewhere, Here, NotApplicable};

const BY_THE_DAEMON: &str =
    "the daemon reads no image format: bmsctl converts when it imports, and the daemon refuses by first bytes";

/// Every row of the table, in the sections that concern connections, messages, disks, sources, formats and control. Those on
/// looking into file systems, 113 to 126, are in `tests/inspect`.
const ROWS: &[(u16, &[Proof])] = &[
    (1, &[Elsewhere("who_is_not_authenticated_gets_no_further_than_tls_whatever_the_method")]),
    (2, &[Elsewhere("who_is_not_authenticated_gets_no_further_than_tls_whatever_the_method")]),
    (3, &[Elsewhere("who_is_not_authenticated_gets_no_further_than_tls_whatever_the_method")]),
    (4, &[Elsewhere("who_is_not_authenticated_gets_no_further_than_tls_whatever_the_method")]),
    (5, &[Elsewhere("who_is_not_authenticated_gets_no_further_than_tls_whatever_the_method")]),
    (6, &[Elsewhere("a_certificate_without_exactly_one_role_may_call_nothing")]),
    (7, &[Elsewhere("a_certificate_without_exactly_one_role_may_call_nothing")]),
    (8, &[Elsewhere("a_certificate_without_exactly_one_role_may_call_nothing")]),
    (9, &[Elsewhere("older_tls_plaintext_and_http_1_are_closed")]),
    (10, &[Elsewhere("who_is_not_authenticated_gets_no_further_than_tls_whatever_the_method")]),
    (11, &[Elsewhere("older_tls_plaintext_and_http_1_are_closed")]),
    (12, &[Elsewhere("older_tls_plaintext_and_http_1_are_closed")]),
    (13, &[Elsewhere("who_is_silent_before_or_after_the_handshake_is_let_go_in_5_s")]),
    (14, &[Elsewhere("who_is_silent_before_or_after_the_handshake_is_let_go_in_5_s")]),
    (15, &[Elsewhere("calls_that_are_no_calls_are_answered_and_run_nothing")]),
    (16, &[Elsewhere("calls_that_are_no_calls_are_answered_and_run_nothing")]),
    (17, &[Elsewhere("calls_that_are_no_calls_are_answered_and_run_nothing")]),
    (18, &[Elsewhere("calls_that_are_no_calls_are_answered_and_run_nothing")]),
    (19, &[Elsewhere("floods_of_frames_end_their_own_connection_and_cost_little")]),
    (20, &[Elsewhere("floods_of_frames_end_their_own_connection_and_cost_little")]),
    (21, &[Elsewhere("floods_of_frames_end_their_own_connection_and_cost_little")]),
    (22, &[Elsewhere("floods_of_frames_end_their_own_connection_and_cost_little")]),
    (23, &[Elsewhere("floods_of_frames_end_their_own_connection_and_cost_little")]),
    (24, &[Elsewhere("floods_of_frames_end_their_own_connection_and_cost_little")]),
    (25, &[Elsewhere("calls_that_are_no_calls_are_answered_and_run_nothing")]),
    (26, &[Elsewhere("a_second_message_is_not_executed_and_half_a_message_neither")]),
    (27, &[Elsewhere("calls_that_are_no_calls_are_answered_and_run_nothing")]),
    (28, &[Elsewhere("calls_that_are_no_calls_are_answered_and_run_nothing")]),
    (29, &[Elsewhere("calls_that_are_no_calls_are_answered_and_run_nothing")]),
    (30, &[Elsewhere("calls_that_are_no_calls_are_answered_and_run_nothing")]),
    (31, &[Elsewhere("a_push_whose_deadline_is_over_at_once_leaves_nothing_that_is_in_the_way")]),
    (32, &[Elsewhere("a_second_message_is_not_executed_and_half_a_message_neither")]),
    (33, &[Here]),
    (34, &[Here]),
    (35, &[Here]),
    (36, &[Here]),
    (37, &[Here]),
    (38, &[Here]),
    (39, &[Here]),
    (40, &[Here]),
    (41, &[Here]),
    (42, &[Here, Elsewhere("a_request_is_done_once_and_its_id_stands_for_nothing_else")]),
    (43, &[Here, Elsewhere("a_request_is_done_once_and_its_id_stands_for_nothing_else")]),
    (44, &[Elsewhere("what_another_caller_asked_for_is_not_ones_own")]),
    (45, &[NotApplicable("requests have no epoch of a controller: a request id and a plan token say what is meant")]),
    (
        46,
        &[
            Here,
            Elsewhere("a_plan_token_is_good_once_unaltered_and_for_the_disk_that_was_seen"),
            Elsewhere("a_token_expires_and_its_use_is_forgotten_then"),
            Elsewhere("what_another_caller_asked_for_is_not_ones_own"),
        ],
    ),
    (47, &[Here, Elsewhere("any_change_of_a_token_makes_it_invalid")]),
    (48, &[Elsewhere("every_method_is_for_its_role_and_those_above_it")]),
    (49, &[Here, Elsewhere("overrides_are_for_admins")]),
    (50, &[Here]),
    (51, &[Here]),
    (52, &[Here]),
    (53, &[Here]),
    (54, &[Here]),
    (55, &[Elsewhere("two_disks_with_one_identity_are_refused")]),
    (56, &[Elsewhere("disks_that_cannot_be_told_apart_are_refused")]),
    (57, &[Here, Elsewhere("paths_are_no_selectors")]),
    (58, &[Here, Elsewhere("a_fifo_does_not_hold_anyone_up"), Elsewhere("a_character_device_is_no_disk")]),
    (59, &[Here]),
    (60, &[Elsewhere("a_mounted_disk_is_refused"), Elsewhere("a_disk_with_a_mounted_partition_is_refused")]),
    (
        61,
        &[
            Elsewhere("a_disk_with_a_swap_partition_is_refused"),
            Elsewhere("a_disk_whose_partition_another_device_is_built_on_is_refused"),
            Elsewhere("a_disk_that_somebody_holds_exclusively_is_busy"),
            Elsewhere("an_array_and_its_partition_mount_every_member"),
        ],
    ),
    (62, &[Elsewhere("the_root_disk_is_refused"), Elsewhere("the_disks_of_the_running_system_are_protected")]),
    (
        63,
        &[NotApplicable(
            "who uses a disk is asked of the kernel; a signature alone says who used it, which a plan shows",
        )],
    ),
    (64, &[Elsewhere("a_read_only_disk_is_refused")]),
    (65, &[Elsewhere("state_that_forbids_writing_is_refused")]),
    (
        66,
        &[
            Here,
            Elsewhere("a_disk_smaller_than_the_image_is_refused"),
            Elsewhere("state_that_forbids_writing_is_refused"),
        ],
    ),
    (67, &[Here, Elsewhere("a_vanished_disk_is_not_found")]),
    (
        68,
        &[
            Elsewhere("the_guard_opens_nothing_but_the_node_of_the_selected_disk"),
            Elsewhere("the_guard_notices_a_disk_that_was_exchanged"),
        ],
    ),
    (69, &[Elsewhere("a_second_operation_on_a_disk_is_aborted_and_names_the_first")]),
    (70, &[Here]),
    (71, &[Here, Elsewhere("an_odd_image_is_padded_with_zeroes_and_old_bytes_beyond_it_stay")]),
    (72, &[Here]),
    (73, &[Here]),
    (74, &[Here]),
    (75, &[Here, Elsewhere("none_of_200_bits_flipped_in_transit_reaches_the_disk")]),
    (76, &[Here]),
    (77, &[Here]),
    (78, &[Here]),
    (79, &[Here]),
    (80, &[NotApplicable("images have no order; whoever installs an older one names it by its id")]),
    (81, &[Here]),
    (82, &[Here]),
    (83, &[NotApplicable("manifests are not signed yet; an image that is named by its id is pinned by it")]),
    (84, &[Here, Elsewhere("no_trick_leads_out_of_a_prefix")]),
    (85, &[Elsewhere("what_cannot_be_fetched_is_refused_before_the_disk_is_touched")]),
    (86, &[Elsewhere("over_tls_the_named_authority_alone_is_trusted")]),
    (
        87,
        &[
            Elsewhere("what_cannot_be_fetched_is_refused_before_the_disk_is_touched"),
            Elsewhere("a_network_that_breaks_only_delays"),
        ],
    ),
    (
        88,
        &[
            Elsewhere("a_server_that_stays_dead_or_sends_a_byte_a_second_ends_an_install_in_time"),
            Elsewhere("a_push_that_stands_still_is_ended_and_lets_go_of_its_disk"),
        ],
    ),
    (89, &[Here]),
    (90, &[Here, Elsewhere("a_server_that_knows_no_ranges_sends_again_what_is_not_taken_twice")]),
    (91, &[Elsewhere("an_image_is_judged_for_this_server_for_another_and_before_it_is_written")]),
    (92, &[Elsewhere("an_image_is_judged_for_this_server_for_another_and_before_it_is_written")]),
    (93, &[Here]),
    (94, &[Here, Elsewhere("qcow2_that_reaches_beyond_its_file_or_is_not_understood_is_refused")]),
    (95, &[Here, Elsewhere("qcow2_that_reaches_beyond_its_file_or_is_not_understood_is_refused")]),
    (96, &[Here, Elsewhere("impossible_qcow2_headers_are_refused")]),
    (97, &[Here, Elsewhere("impossible_qcow2_headers_are_refused")]),
    (98, &[Here]),
    (99, &[Here, Elsewhere("an_image_that_names_another_file_is_refused"), NotApplicable(BY_THE_DAEMON)]),
    (100, &[Here]),
    (101, &[Here]),
    (102, &[Here]),
    (103, &[Here]),
    (104, &[Here]),
    (105, &[Here]),
    (106, &[Here]),
    (107, &[Here]),
    (108, &[Here]),
    (109, &[Here]),
    (110, &[Here]),
    (111, &[Here]),
    (112, &[Here, Elsewhere("an_image_for_other_blocks_is_refused")]),
    (127, &[Elsewhere("a_disk_in_use_is_not_captured")]),
    (128, &[Here]),
    (
        129,
        &[
            Elsewhere("a_disk_that_was_exchanged_meanwhile_is_no_image"),
            NotApplicable("a write through a descriptor of before leaves no trace that could be found"),
        ],
    ),
    (130, &[Here]),
    (131, &[Here]),
    (132, &[Here]),
    (133, &[Here, Elsewhere("what_another_caller_asked_for_is_not_ones_own")]),
    (134, &[Here]),
    (135, &[Here]),
    (136, &[Here]),
    (
        137,
        &[NotApplicable("the clock is the whole machine's; what waits counts `Instant`, which clippy.toml keeps so")],
    ),
    (138, &[Here]),
    (139, &[Elsewhere("what_was_noted_and_is_damaged_is_told_and_stops_nothing")]),
];

/// Faults of callers, of the network and of the process; those of disks and of the machine have their own tests.
const FAULTS: &[(u16, &[Proof])] = &[
    (
        24,
        &[
            Elsewhere("a_broken_push_is_continued_by_the_next_one"),
            Elsewhere("an_install_completes_without_its_client_once_that_has_finished"),
        ],
    ),
    (25, &[Elsewhere("a_request_is_done_once_and_its_id_stands_for_nothing_else")]),
    (26, &[Elsewhere("a_second_operation_on_a_disk_is_aborted_and_names_the_first")]),
    (27, &[Here]),
    (28, &[Here]),
    (30, &[Elsewhere("all_files_are_replaced_and_told_of_by_sighup_while_an_image_is_pushed")]),
    (31, &[Here]),
    (32, &[Here]),
    (35, &[Here]),
    (37, &[Elsewhere("a_handler_that_panics_is_an_internal_error_and_the_next_call_is_answered")]),
    (38, &[Elsewhere("work_that_is_lost_ends_its_operation_and_frees_the_disk"), Elsewhere("a_panic_is_an_error")]),
    (43, &[Elsewhere("who_is_not_authenticated_gets_no_further_than_tls_whatever_the_method")]),
];

/// The sources of this folder.
const HERE: &[&str] = &[
    include_str!("rows/control.rs"),
    include_str!("rows/disks.rs"),
    include_str!("rows/faults.rs"),
    include_str!("rows/formats.rs"),
    include_str!("rows/messages.rs"),
    include_str!("rows/sources.rs"),
];

/// Names of all tests of the project.
fn tests() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = ["src", "tests"].into_iter().flat_map(|name| sources(&root.join(name)));
    let tests = sources.flat_map(|path| {
        let text = fs::read_to_string(&path).expect("a source");
        let after = text.split("#[test]").skip(1).chain(text.split("#[tokio::test").skip(1));
        let name =
            |rest: &str| rest.split_once("fn ").map(|(_, rest)| rest.split('(').next().unwrap_or_default().to_owned());
        after.filter_map(name).collect::<Vec<_>>()
    });
    tests.collect()
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    // What is built for tests is linked here, and is no source.
    let entries = fs::read_dir(dir).expect("directory").map(|entry| entry.expect("entry"));
    let entries = entries.filter(|entry| entry.file_name() != "fixtures").map(|entry| entry.path());
    let of = |path: PathBuf| if path.is_dir() { sources(&path) } else { vec![path] };
    entries.flat_map(of).filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

/// Each proof is there; `mark` is how cases of a row begin.
fn assert_proven(what: &str, proofs: &[Proof], mark: &[String], tests: &BTreeSet<String>) {
    assert!(!proofs.is_empty(), "{what}: nothing is said");
    for proof in proofs {
        match proof {
            Here => {
                let is_tried = HERE.iter().any(|source| mark.iter().any(|mark| source.contains(mark.as_str())));
                assert!(is_tried, "{what}: no case begins with {mark:?}");
            }
            Elsewhere(test) => assert!(tests.contains(*test), "{what}: there is no test {test}"),
            NotApplicable(reason) => assert!(reason.len() > 10, "{what}: a reason"),
        }
    }
}

#[test]
fn every_row_of_the_table_is_tried_or_says_why_not() {
    let expected: Vec<u16> = (1..=112).chain(127..=139).collect();
    assert_eq!(ROWS.iter().map(|(row, _)| *row).collect::<Vec<_>>(), expected, "each row once, in order");
    let tests = tests();
    for (row, proofs) in ROWS {
        assert_proven(&format!("row {row}"), proofs, &[format!("\"{row}: ")], &tests);
    }
    for (fault, proofs) in FAULTS {
        assert_proven(
            &format!("F{fault}"),
            proofs,
            &[format!("\"F{fault}: "), format!("F{fault}, "), format!(", F{fault}: ")],
            &tests,
        );
    }
}
