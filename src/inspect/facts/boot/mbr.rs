//! Whether a disk has code that a BIOS would start.

use std::io;

use crate::inspect::reader::DiskReader;

/// Bytes of code at the begin of a disk. Behind them are the disk's number and the partition table, which any tool writes.
const CODE_BYTES: usize = 440;
/// Where the signature is without which no BIOS starts the code.
const SIGNATURE_OFFSET: u64 = 510;

/// Whether a disk begins with boot code: the first 440 bytes are not all zero, and the boot signature follows.
///
/// # Errors
/// If the disk cannot be read.
pub fn has_boot_code(disk: &dyn DiskReader) -> io::Result<bool> {
    if disk.len_bytes() < SIGNATURE_OFFSET + 2 {
        return Ok(false);
    }
    let mut code = [0; CODE_BYTES];
    let mut signature = [0; 2];
    disk.read_at(0, &mut code)?;
    disk.read_at(SIGNATURE_OFFSET, &mut signature)?;
    Ok(signature == [0x55, 0xaa] && code.iter().any(|&byte| byte != 0))
}

#[cfg(test)]
mod tests {
    use super::has_boot_code;

    #[test]
    fn code_needs_bytes_and_a_signature() {
        let disk = |code: u8, number: u8, signature: u8| {
            let mut disk = vec![0; 4096];
            disk[439] = code;
            disk[440..444].fill(number);
            disk[446 + 4] = 0x83;
            disk[510] = signature;
            disk[511] = 0xaa;
            has_boot_code(&disk).expect("readable")
        };
        assert!(disk(1, 0, 0x55));
        assert!(!disk(0, 7, 0x55), "a number is no code");
        assert!(!disk(1, 0, 0), "nobody starts code without the signature");
        assert!(!has_boot_code(&vec![1; 511]).expect("readable"), "a disk too short for one");
    }
}
