//! The two checksums of file systems: CRC-32C (ext4, XFS, btrfs) and CRC-16 (older ext4 group descriptors).

/// The bits of the CRC-32C polynomial, least significant first.
const CASTAGNOLI: u32 = 0x82f6_3b78;
/// The bits of the CRC-16 polynomial (x^16 + x^15 + x^2 + 1), least significant first.
const ANSI: u16 = 0xa001;

/// CRC-32C by the byte.
static TABLE: [u32; 256] = table();

#[expect(clippy::cast_possible_truncation, reason = "the index is below 256, and `try_from` is not const")]
const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < table.len() {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ CASTAGNOLI } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

/// Goes on with a CRC-32C whose state is `state`; neither begin nor end is inverted.
pub(super) fn crc32c_update(state: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(state, |crc, byte| {
        let [low, ..] = crc.to_le_bytes();
        (crc >> 8) ^ TABLE[usize::from(low ^ byte)]
    })
}

/// The CRC-32C of some pieces that follow each other, as everybody else computes it.
pub(super) fn crc32c(pieces: &[&[u8]]) -> u32 {
    !pieces.iter().fold(u32::MAX, |state, piece| crc32c_update(state, piece))
}

/// Goes on with a CRC-16 whose state is `state`.
pub(super) fn crc16_update(state: u16, bytes: &[u8]) -> u16 {
    bytes.iter().fold(state, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ ANSI } else { crc >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::{crc16_update, crc32c};

    #[test]
    fn give_the_check_values_of_their_catalogue() {
        assert_eq!(crc32c(&[b"123456789"]), 0xe306_9283);
        assert_eq!(crc32c(&[b"1234", b"", b"56789"]), 0xe306_9283);
        assert_eq!(crc16_update(0, b"123456789"), 0xbb3d);
        assert_eq!(crc16_update(0xffff, b"123456789"), 0x4b37);
    }
}
