//! The process that parses, from the parent's side: it is started, watched, ended, and its answer is not trusted.
//!
//! The child is the running program, called anew with [`ARGUMENT`]. To find free space it has the disk as its standard
//! input and answers on its standard output (`pipes`); to look into what is written, it asks for bytes there (`exchange`),
//! so that they may be those of a disk, an image in a repository, or a disk with a boot region that is still held back.
//! What it says of a tenant's disk harms at most that tenant's image: it can call used bytes free, or a check passed. It
//! cannot make the parent read, write, allocate or wait beyond the limits here, nor say more than a report may. A child
//! that dies, hangs or talks nonsense is an [`InspectError`].

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

mod answer;
mod error;
mod exchange;
mod pipes;
mod serve;
mod wire;

#[cfg(test)]
mod tests;

pub use self::answer::AnswerError;
pub use self::error::InspectError;
use self::exchange::Exchange;
use self::pipes::{Pipe, hear};
pub use self::serve::{is_asked, serve};
pub use self::wire::WireError;
use super::examine::{Examination, Request};
use super::free::FreeSpace;
use super::reader::DiskReader;
use super::sandbox::Landlock;
use crate::text::printable;

/// First argument that makes a program a child.
pub const ARGUMENT: &str = "inspect-child";
/// To find what is free on a disk.
const FREE_SPACE: &str = "free-space";
/// To look into a disk or image.
const EXAMINE: &str = "examine";
/// To look at the running system.
const EXAMINE_HOST: &str = "examine-host";
/// Time that a child has.
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// How soon a cancel is noticed.
const TICK: Duration = Duration::from_millis(100);
/// Most bytes that are kept of what a child says on standard error.
const MAX_SAID_BYTES: usize = 4 << 10;
/// Bytes that are read at once.
const PIECE_BYTES: usize = 64 << 10;

/// Starts children that inspect disks.
#[derive(Debug, Clone)]
pub struct Inspector {
    executable: PathBuf,
    time_limit: Duration,
}

impl Default for Inspector {
    /// Children are the running program, even if its file was replaced meanwhile.
    fn default() -> Self {
        Self::new(Path::new("/proc/self/exe"))
    }
}

impl Inspector {
    /// Children are `executable`, a program that begins with [`is_asked`] and [`serve`].
    pub fn new(executable: &Path) -> Self {
        Self { executable: executable.to_owned(), time_limit: TIME_LIMIT }
    }

    /// Finds the free space of a disk of `len_bytes`; `disk` is open for reading alone, with or without O_DIRECT.
    ///
    /// # Errors
    /// [`InspectError`]. Whatever it is but [`InspectError::Cancelled`], the disk can still be captured: whole.
    ///
    /// # Blocking
    /// Up to 60 seconds. It ends within 100 milliseconds of a cancel. No child is left when it returns.
    pub fn free_space(
        &self,
        disk: File,
        len_bytes: u64,
        logical_block_size: u32,
        cancel: &CancellationToken,
    ) -> Result<FreeSpace, InspectError> {
        let request = [FREE_SPACE.to_owned(), len_bytes.to_string(), logical_block_size.to_string()];
        let answer = self.ask(disk, &request, cancel)?;
        let (landlock, space) = answer::parse(&answer, len_bytes)?;
        warn_without(landlock);
        Ok(space)
    }

    /// Looks into a disk or image: its file systems, its system, and what that is checked for.
    ///
    /// # Errors
    /// [`InspectError`]. Whatever it is but [`InspectError::Cancelled`], nothing is known of what was to be inspected.
    ///
    /// # Blocking
    /// Up to 60 seconds, and once as long as `disk` takes for a read. No child is left when it returns.
    pub fn examine(
        &self,
        disk: &dyn DiskReader,
        request: &Request,
        cancel: &CancellationToken,
    ) -> Result<Examination, InspectError> {
        self.look(&[EXAMINE.to_owned(), disk.len_bytes().to_string()], disk, request, cancel)
    }

    /// Looks at the running system as at an image: its files, as they are now.
    ///
    /// # Errors
    /// As [`examine`](Self::examine).
    ///
    /// # Blocking
    /// Up to 60 seconds. No child is left when it returns.
    pub fn examine_host(&self, request: &Request, cancel: &CancellationToken) -> Result<Examination, InspectError> {
        // There is no disk to ask for bytes of.
        self.look(&[EXAMINE_HOST.to_owned()], &Vec::new(), request, cancel)
    }

    fn look(
        &self,
        arguments: &[String],
        disk: &dyn DiskReader,
        request: &Request,
        cancel: &CancellationToken,
    ) -> Result<Examination, InspectError> {
        let told = serde_json::to_vec(request).map_err(InspectError::Request)?;
        let mut child =
            self.command(arguments).stdin(Stdio::piped()).spawn().map_err(|source| self.not_started(source))?;
        let ends = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let mut running = Running(child);
        let (Some(to), Some(from), Some(errors)) = ends else {
            return Err(InspectError::Hear(io::ErrorKind::BrokenPipe.into()));
        };
        let pipes = [OwnedFd::from(to), OwnedFd::from(from), OwnedFd::from(errors)].map(File::from);
        let exchange = Exchange::new(disk, pipes, &told).map_err(InspectError::Hear)?;
        let heard = exchange.run(cancel, self.time_limit)?;
        let status = running.end().map_err(InspectError::Hear)?;
        let said = printable(String::from_utf8_lossy(&heard.said).trim());
        let Some(answer) = heard.answer else { return Err(InspectError::Died { status, said }) };
        note(&said);
        let found: Found = serde_json::from_slice(&answer).map_err(InspectError::Examination)?;
        warn_without(found.landlock);
        tracing::debug!(given_bytes = heard.given_bytes, "inspected");
        let examination = found.examination.believed(&request.checks).ok_or(InspectError::OtherChecks)?;
        Ok(Examination { read_bytes: heard.given_bytes, ..examination })
    }

    /// Starts a child with a request, and gives all that it answered.
    fn ask(&self, disk: File, request: &[String], cancel: &CancellationToken) -> Result<Vec<u8>, InspectError> {
        let flags = fcntl(&disk, FcntlArg::F_GETFL).map_err(|errno| InspectError::Hear(errno.into()))?;
        if flags & OFlag::O_ACCMODE.bits() != OFlag::O_RDONLY.bits() {
            return Err(InspectError::Writable);
        }
        let mut child = self.command(request).stdin(disk).spawn().map_err(|source| self.not_started(source))?;
        let answer = Pipe::new(child.stdout.take(), answer::MAX_BYTES + 1);
        let mut pipes = [answer, Pipe::new(child.stderr.take(), MAX_SAID_BYTES)];
        let mut running = Running(child);
        hear(&mut pipes, cancel, self.time_limit)?;
        let status = running.end().map_err(InspectError::Hear)?;
        let [answer, said] = pipes.map(|pipe| pipe.kept);
        let said = printable(String::from_utf8_lossy(&said).trim());
        if answer.is_empty() {
            return Err(InspectError::Died { status, said });
        }
        note(&said);
        Ok(answer)
    }

    fn command(&self, request: &[String]) -> Command {
        let mut command = Command::new(&self.executable);
        command.arg(ARGUMENT).args(request).env_clear().current_dir("/");
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn not_started(&self, source: io::Error) -> InspectError {
        InspectError::Start { executable: self.executable.clone(), source }
    }
}

/// Hears what a child may say, by every parser of answers, and drops it.
#[cfg(any(test, feature = "fuzz"))]
pub(super) fn hear_anything(said: &[u8]) {
    wire::parse(said).ok();
    answer::parse(said, u64::MAX).ok();
    serde_json::from_slice::<Found>(said).ok();
}

/// What a child answers after it looked into something.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Found {
    landlock: Landlock,
    examination: Examination,
}

fn note(said: &str) {
    if !said.is_empty() {
        tracing::warn!(said, "what inspects the disk said something");
    }
}

fn warn_without(landlock: Landlock) {
    if landlock == Landlock::None {
        tracing::warn!("the kernel has no Landlock: disks are inspected with one layer less around it");
    }
}

/// A child that is killed and reaped when this is dropped, at the latest.
#[derive(Debug)]
struct Running(Child);

impl Running {
    /// Kills the child, if it is still there, and gives how it ended.
    fn end(&mut self) -> io::Result<ExitStatus> {
        // One that has ended keeps its status; one that lingers after its answer has nothing more to say.
        self.0.kill()?;
        self.0.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::error!(%error, "cannot end what inspects a disk");
        }
    }
}
