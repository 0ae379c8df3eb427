//! What the child does to itself before it reads the first byte of a stranger's disk: it gives up everything.
//!
//! Afterwards it can read one descriptor - or, to look at the running system, its files - write to standard output and
//! error, get memory up to a limit, and end. Each
//! layer holds without the others; only Landlock may be missing, for not every kernel has it, and the answer says so.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, PathBeneath, PathFd, PathFdError, RulesetAttr as _, RulesetCreatedAttr as _,
    RulesetError, RulesetStatus, Scope,
};
use nix::libc;
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};
use serde::{Deserialize, Serialize};

/// Most address space, in bytes: the program, and what it allocates.
const MAX_ADDRESS_SPACE_BYTES: u64 = 256 << 20;
/// Most processor time, in seconds.
const MAX_PROCESSOR_SECONDS: u64 = 60;
/// Most descriptors of who reads the files of this system.
const MAX_FILES: u64 = 32;
/// The newest Landlock that is asked for; the kernel gives what it has of it.
const LANDLOCK: ABI = ABI::V6;

/// How much of Landlock the kernel enforces: access to files, network, signals and abstract sockets, all refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Landlock {
    /// All that was asked for.
    Full,
    /// As much as this kernel's older version can.
    Partial,
    /// Nothing: this kernel has it not, or it is switched off.
    None,
}

/// A layer that could not be put on. The child then reads nothing.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A call of the kernel failed.
    #[error("cannot {action}")]
    Kernel {
        /// What was to be done.
        action: &'static str,
        /// What the kernel answered.
        source: rustix::io::Errno,
    },
    /// Landlock is there and refused the rules.
    #[error("cannot restrict access to files and network")]
    Landlock(#[from] RulesetError),
    /// Files of this system are only read where the kernel keeps them from being written.
    #[error("this kernel has no Landlock")]
    NoLandlock,
    /// A path cannot be named to Landlock.
    #[error("cannot name the root directory")]
    Path(#[from] PathFdError),
    /// The filter of system calls cannot be made.
    #[error("cannot make the filter of system calls")]
    Filter(#[from] BackendError),
    /// The filter of system calls cannot be installed.
    #[error("cannot install the filter of system calls")]
    Install(#[from] seccompiler::Error),
}

/// Where a child has the bytes from that it looks at.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// It reads a disk by offset.
    Disk(BorrowedFd<'a>),
    /// It asks its parent for them, and hears them on standard input.
    Asked,
    /// It reads the files of this system, and hears its request on standard input.
    Files,
}

/// Gives up every right but to read what `source` says, write to standard output and error, and end.
///
/// The process must have one thread, and must not have read anything of the disk.
///
/// # Errors
/// If a layer other than Landlock cannot be put on. Some may be on by then; the process has to end.
pub fn enter(source: Source<'_>) -> Result<Landlock, SandboxError> {
    let filter = filter(source)?;
    isolate()?;
    let landlock = restrict_paths(source)?;
    limit_resources(source)?;
    seccompiler::apply_filter(&filter)?;
    Ok(landlock)
}

fn kernel(action: &'static str) -> impl FnOnce(rustix::io::Errno) -> SandboxError {
    move |source| SandboxError::Kernel { action, source }
}

/// No rights, none to be had, and no life beyond that of the parent.
fn isolate() -> Result<(), SandboxError> {
    let none = CapabilitySet::empty();
    rustix::thread::set_no_new_privs(true).map_err(kernel("forbid new privileges"))?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(kernel("follow the parent"))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(kernel("forbid tracing"))?;
    // The bounding set stays: it matters to exec alone, which the filter refuses and new privileges would not survive.
    rustix::thread::set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .map_err(kernel("drop capabilities"))
}

fn restrict_paths(source: Source<'_>) -> Result<Landlock, SandboxError> {
    // Without a single rule, all that is handled is refused.
    let mut ruleset = landlock::Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?
        .create()?;
    if matches!(source, Source::Files) {
        let reading = AccessFs::ReadFile | AccessFs::ReadDir;
        ruleset = ruleset.add_rule(PathBeneath::new(PathFd::new("/")?, reading))?;
    }
    match (ruleset.restrict_self()?.ruleset, source) {
        (RulesetStatus::FullyEnforced, _) => Ok(Landlock::Full),
        (RulesetStatus::PartiallyEnforced, _) => Ok(Landlock::Partial),
        // Root without rights still owns its files.
        (RulesetStatus::NotEnforced, Source::Files) => Err(SandboxError::NoLandlock),
        (RulesetStatus::NotEnforced, Source::Disk(_) | Source::Asked) => Ok(Landlock::None),
    }
}

fn limit_resources(source: Source<'_>) -> Result<(), SandboxError> {
    let files = match source {
        Source::Files => MAX_FILES,
        // What is open stays open; nothing more can be.
        Source::Disk(_) | Source::Asked => 0,
    };
    for (resource, limit) in [
        (Resource::As, MAX_ADDRESS_SPACE_BYTES),
        (Resource::Cpu, MAX_PROCESSOR_SECONDS),
        (Resource::Fsize, 0),
        (Resource::Nofile, files),
        (Resource::Nproc, 0),
        (Resource::Core, 0),
    ] {
        let limit = Rlimit { current: Some(limit), maximum: Some(limit) };
        rustix::process::setrlimit(resource, limit).map_err(kernel("limit resources"))?;
    }
    Ok(())
}

/// The system calls that are left. Any other fails with EPERM: what a library tries in passing is no reason to die.
fn filter(source: Source<'_>) -> Result<BpfProgram, BackendError> {
    let number = |fd: i32| u64::from(fd.unsigned_abs());
    let no_exec = || argument(2, SeccompCmpOp::MaskedEq(flag(libc::PROT_EXEC)), 0);
    let anonymous = argument(3, SeccompCmpOp::MaskedEq(flag(libc::MAP_ANONYMOUS)), flag(libc::MAP_ANONYMOUS))?;
    let to = |fd: i32| SeccompRule::new(vec![argument(0, SeccompCmpOp::Eq, number(fd))?]);
    let own = SeccompRule::new(vec![argument(0, SeccompCmpOp::Eq, u64::from(std::process::id()))?])?;
    let reading = match source {
        Source::Disk(disk) => vec![(libc::SYS_pread64, vec![to(disk.as_raw_fd())?])],
        Source::Asked => vec![(libc::SYS_read, vec![to(libc::STDIN_FILENO)?])],
        Source::Files => FILE_CALLS.into_iter().map(|call| (call, Vec::new())).collect(),
    };
    let restricted = [
        (libc::SYS_write, vec![to(libc::STDOUT_FILENO)?, to(libc::STDERR_FILENO)?]),
        (libc::SYS_mmap, vec![SeccompRule::new(vec![no_exec()?, anonymous])?]),
        (libc::SYS_mprotect, vec![SeccompRule::new(vec![no_exec()?])?]),
        // A panic that aborts signals itself, and nobody else.
        (libc::SYS_tgkill, vec![own]),
    ];
    let free = FREE_CALLS.into_iter().map(|call| (call, Vec::new()));
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let arch = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(
        reading.into_iter().chain(restricted).chain(free).collect(),
        refused,
        SeccompAction::Allow,
        arch,
    )?
    .try_into()
}

/// System calls that are harmless whatever their arguments: memory, time, ending, and what a panic needs.
const FREE_CALLS: [i64; 15] = [
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_clock_gettime,
    libc::SYS_getrandom,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_sigaltstack,
    libc::SYS_gettid,
];

/// System calls that read files and directories. That they write nothing is the work of Landlock, of the limit on the
/// length of files, and of `write` being held to two descriptors.
const FILE_CALLS: [i64; 8] = [
    libc::SYS_read,
    libc::SYS_openat2,
    libc::SYS_statx,
    libc::SYS_fstat,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_fcntl,
    libc::SYS_lseek,
];

fn argument(index: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, value)
}

fn flag(bits: i32) -> u64 {
    bits.unsigned_abs().into()
}
