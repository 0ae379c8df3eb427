//! The child's side: it reads its request from its arguments, gives up its rights, and only then looks at the disk.

use std::ffi::OsStr;
use std::io::{self, BufWriter};
use std::os::fd::AsFd as _;
use std::process::ExitCode;

use super::{ARGUMENT, FREE_SPACE, answer};
use crate::inspect::reader::DirectReader;
use crate::inspect::{free, sandbox};

/// Bytes that are written at once.
const PIECE_BYTES: usize = 64 << 10;

/// Whether this process was started as a child.
pub fn is_asked() -> bool {
    std::env::args_os().nth(1).as_deref() == Some(OsStr::new(ARGUMENT))
}

/// Answers the request of the parent; to be called before anything else, in a process with one thread.
pub fn serve() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    let [what, len_bytes, logical_block_size] = arguments.as_slice() else { return refuse(&"no request") };
    let (Ok(len_bytes), Ok(logical_block_size)) = (len_bytes.parse(), logical_block_size.parse()) else {
        return refuse(&"the disk has no size");
    };
    if what != FREE_SPACE {
        return refuse(&"an unknown request");
    }
    match free_space(len_bytes, logical_block_size) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(&error),
    }
}

fn free_space(len_bytes: u64, logical_block_size: u32) -> io::Result<()> {
    let disk = io::stdin().as_fd().try_clone_to_owned()?;
    let landlock = sandbox::enter(disk.as_fd()).map_err(io::Error::other)?;
    let reader = DirectReader::new(disk.into(), len_bytes);
    let space = free::find(&reader, logical_block_size);
    answer::write(&mut BufWriter::with_capacity(PIECE_BYTES, io::stdout().lock()), landlock, space)
}

/// The parent keeps what is said here.
#[expect(clippy::print_stderr, reason = "the last word of a process")]
fn refuse(why: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("{why}");
    ExitCode::FAILURE
}
