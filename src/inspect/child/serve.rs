//! The child's side: it reads its request, gives up its rights, and only then looks at the disk.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fmt;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::AsFd as _;
use std::process::ExitCode;
use std::rc::Rc;

use super::wire::Line;
use super::{ARGUMENT, EXAMINE, EXAMINE_HOST, FREE_SPACE, Found, answer};
use crate::inspect::reader::{DirectReader, DiskReader, check_bounds};
use crate::inspect::{examine, free, sandbox};

/// Bytes that are written at once.
const PIECE_BYTES: usize = 64 << 10;

/// Whether this process was started as a child.
pub fn is_asked() -> bool {
    std::env::args_os().nth(1).as_deref() == Some(OsStr::new(ARGUMENT))
}

/// Answers the request of the parent; to be called before anything else, in a process with one thread.
pub fn serve() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        [what, len_bytes, logical_block_size] if *what == FREE_SPACE => {
            match (len_bytes.parse(), logical_block_size.parse()) {
                (Ok(len_bytes), Ok(logical_block_size)) => free_space(len_bytes, logical_block_size),
                (Err(_), _) | (_, Err(_)) => return refuse(&"the disk has no size"),
            }
        }
        [what, len_bytes] if *what == EXAMINE => match len_bytes.parse() {
            Ok(len_bytes) => examine(len_bytes),
            Err(_) => return refuse(&"the disk has no size"),
        },
        [what] if *what == EXAMINE_HOST => examine_host(),
        _ => return refuse(&"an unknown request"),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(&error),
    }
}

fn free_space(len_bytes: u64, logical_block_size: u32) -> io::Result<()> {
    let disk = io::stdin().as_fd().try_clone_to_owned()?;
    let landlock = sandbox::enter(sandbox::Source::Disk(disk.as_fd())).map_err(io::Error::other)?;
    let reader = DirectReader::new(disk.into(), len_bytes);
    let space = free::find(&reader, logical_block_size);
    answer::write(&mut BufWriter::with_capacity(PIECE_BYTES, io::stdout().lock()), landlock, space)
}

fn examine(len_bytes: u64) -> io::Result<()> {
    let landlock = sandbox::enter(sandbox::Source::Asked).map_err(io::Error::other)?;
    let mut line = Line::new(io::stdin().lock(), io::stdout().lock());
    let request = serde_json::from_slice(&line.request()?)?;
    let line = Rc::new(RefCell::new(line));
    let disk: Rc<dyn DiskReader> = Rc::new(Asked { line: line.clone(), len_bytes });
    let examination = examine::examine(&disk, &request);
    line.borrow_mut().answer(&serde_json::to_vec(&Found { landlock, examination })?)
}

fn examine_host() -> io::Result<()> {
    let landlock = sandbox::enter(sandbox::Source::Files).map_err(io::Error::other)?;
    let mut line = Line::new(io::stdin().lock(), io::stdout().lock());
    let request = serde_json::from_slice(&line.request()?)?;
    let examination = examine::examine_host(&request);
    line.answer(&serde_json::to_vec(&Found { landlock, examination })?)
}

/// A disk whose bytes the parent gives.
struct Asked<R, W> {
    line: Rc<RefCell<Line<R, W>>>,
    len_bytes: u64,
}

impl<R, W> fmt::Debug for Asked<R, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked").field("len_bytes", &self.len_bytes).finish_non_exhaustive()
    }
}

impl<R: Read, W: Write> DiskReader for Asked<R, W> {
    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        check_bounds(self.len_bytes, offset, out.len())?;
        self.line.borrow_mut().read_at(offset, out)
    }
}

/// The parent keeps what is said here.
#[expect(clippy::print_stderr, reason = "the last word of a process")]
fn refuse(why: &dyn fmt::Display) -> ExitCode {
    eprintln!("{why}");
    ExitCode::FAILURE
}
