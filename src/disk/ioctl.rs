//! The ioctls of block devices that the agent needs: the only unsafe code there is.
//!
//! Numbers and argument types are those of `linux/fs.h`.
#![expect(unsafe_code, reason = "ioctl is unsafe by nature; each call here is checked against linux/fs.h")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

mod raw {
    use nix::libc::c_int;
    nix::ioctl_read!(blkgetsize64, 0x12, 114, u64);
    nix::ioctl_read_bad!(blksszget, nix::request_code_none!(0x12, 104), c_int);
    nix::ioctl_none!(blkrrpart, 0x12, 95);
    nix::ioctl_read!(blkgetdiskseq, 0x12, 128, u64);
}

/// Capacity, in bytes.
pub(super) fn len_bytes(file: &File) -> io::Result<u64> {
    let mut len = 0;
    // SAFETY: the descriptor is open for the whole call, and BLKGETSIZE64 writes one u64, which `len` is.
    unsafe { raw::blkgetsize64(file.as_raw_fd(), &raw mut len) }?;
    Ok(len)
}

/// Logical block size, in bytes.
pub(super) fn logical_block_size(file: &File) -> io::Result<u32> {
    let mut size = 0;
    // SAFETY: the descriptor is open for the whole call, and BLKSSZGET writes one int, which `size` is.
    unsafe { raw::blksszget(file.as_raw_fd(), &raw mut size) }?;
    u32::try_from(size).map_err(io::Error::other)
}

/// Disk sequence number; `None` on kernels before 5.15, which have none.
pub(super) fn diskseq(file: &File) -> io::Result<Option<u64>> {
    let mut seq = 0;
    // SAFETY: the descriptor is open for the whole call, and BLKGETDISKSEQ writes one u64, which `seq` is.
    match unsafe { raw::blkgetdiskseq(file.as_raw_fd(), &raw mut seq) } {
        Ok(_) => Ok(Some(seq)),
        Err(nix::errno::Errno::ENOTTY | nix::errno::Errno::EINVAL) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Asks the kernel to read the partition table again.
pub(super) fn reread_partition_table(file: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open for the whole call, and BLKRRPART takes no argument.
    unsafe { raw::blkrrpart(file.as_raw_fd()) }?;
    Ok(())
}
