//! Compressed streams as kernels and distributions make them: initramfs archives, modules.
//!
//! A decoder takes one stream and leaves what comes after it alone. Its memory is bounded here; how much comes out of it
//! is for the caller to bound.

use std::io::{self, BufRead, Read};

use liblzma::stream::Stream;

/// Window of zstd that is accepted, as a power of two: 8 MiB, what `zstd -19` uses.
const ZSTD_WINDOW_LOG: u32 = 23;
/// Memory that an xz or lzma decoder may take: enough for a dictionary of 8 MiB, what `xz -6` uses.
const LZMA_MEMORY_BYTES: u64 = 12 << 20;
/// Bytes that a block of lz4's legacy form holds at most.
const LZ4_BLOCK_BYTES: usize = 8 << 20;
/// The most that such a block takes when it is packed: lz4 adds a byte to 255 of what cannot be packed, and 16.
const LZ4_PACKED_BYTES: usize = LZ4_BLOCK_BYTES + LZ4_BLOCK_BYTES / 255 + 16;
/// First four bytes of lz4's legacy form.
const LZ4_LEGACY: u32 = 0x184c_2102;

/// Bytes that tell any compression from the others.
pub(super) const MAGIC_BYTES: usize = 6;

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Xz,
    Zstd,
    Lz4Legacy,
    Bzip2,
    Lzma,
    Lzo,
    Lz4Frame,
}

impl Compression {
    /// What a stream that begins with these bytes is compressed with; none if that is not known.
    pub(super) fn of(begin: &[u8]) -> Option<Self> {
        match begin {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            [0x02, 0x21, 0x4c, 0x18, ..] => Some(Self::Lz4Legacy),
            [0x04, 0x22, 0x4d, 0x18, ..] => Some(Self::Lz4Frame),
            [b'B', b'Z', b'h', ..] => Some(Self::Bzip2),
            [0x5d, 0, 0, ..] => Some(Self::Lzma),
            [0x89, b'L', b'Z', b'O', ..] => Some(Self::Lzo),
            _ => None,
        }
    }

    /// The same, of what a stream gives next. Streams are at their begin, with room for the magic bytes in their buffer.
    pub(super) fn peek(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        Ok(Self::of(from.fill_buf()?))
    }

    /// What is in one stream of this kind.
    pub(super) fn decoder<'a, R: BufRead>(self, packed: &'a mut R) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::Gzip => Box::new(flate2::bufread::GzDecoder::new(packed)),
            Self::Xz => {
                let stream = Stream::new_stream_decoder(LZMA_MEMORY_BYTES, 0)?;
                Box::new(liblzma::bufread::XzDecoder::new_stream(packed, stream))
            }
            Self::Lzma => {
                let stream = Stream::new_lzma_decoder(LZMA_MEMORY_BYTES)?;
                Box::new(liblzma::bufread::XzDecoder::new_stream(packed, stream))
            }
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?.single_frame();
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Box::new(decoder)
            }
            Self::Bzip2 => Box::new(bzip2::bufread::BzDecoder::new(packed)),
            Self::Lz4Legacy => Box::new(Lz4Legacy::new(packed)?),
            // The kernel reads lz4's legacy form alone; and nobody makes lzo any more.
            Self::Lzo => return Err(unsupported("lzo compression is not supported")),
            Self::Lz4Frame => return Err(unsupported("lz4 compression other than its legacy form is not supported")),
        })
    }
}

fn unsupported(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, what)
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The legacy form of lz4: a magic number, then blocks, each with the length that it has when packed. It ends where the
/// file ends, or with a block of no bytes.
struct Lz4Legacy<'a, R> {
    from: &'a mut R,
    packed: Vec<u8>,
    block: Vec<u8>,
    /// What is in the block, and how much of it was given.
    filled: usize,
    given: usize,
}

impl<'a, R: BufRead> Lz4Legacy<'a, R> {
    fn new(from: &'a mut R) -> io::Result<Self> {
        from.read_exact(&mut [0; 4])?;
        Ok(Self { from, packed: Vec::new(), block: vec![0; LZ4_BLOCK_BYTES], filled: 0, given: 0 })
    }

    /// Unpacks the next block; whether there is one.
    fn advance(&mut self) -> io::Result<bool> {
        let mut len = LZ4_LEGACY.to_le_bytes();
        // Streams may be joined to each other, each with its magic number.
        while len == LZ4_LEGACY.to_le_bytes() {
            if self.from.fill_buf()?.is_empty() {
                return Ok(false);
            }
            self.from.read_exact(&mut len)?;
        }
        let len = usize::try_from(u32::from_le_bytes(len)).unwrap_or(usize::MAX);
        if len > LZ4_PACKED_BYTES {
            return Err(invalid("an lz4 block is longer than any can be"));
        }
        self.packed.resize(len, 0);
        self.from.read_exact(&mut self.packed)?;
        if len > 0 {
            let unpacked = lz4_flex::block::decompress_into(&self.packed, &mut self.block);
            self.filled = unpacked.map_err(io::Error::other)?;
            self.given = 0;
        }
        Ok(len > 0)
    }
}

impl<R: BufRead> Read for Lz4Legacy<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.given == self.filled && !out.is_empty() {
            if !self.advance()? {
                return Ok(0);
            }
        }
        let count = (&self.block[self.given..self.filled]).read(out)?;
        self.given += count;
        Ok(count)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::{Read as _, Write as _};

    use super::{Compression, LZ4_BLOCK_BYTES, LZ4_LEGACY};

    pub(in super::super) const ALL: [Compression; 6] = [
        Compression::Gzip,
        Compression::Xz,
        Compression::Zstd,
        Compression::Lz4Legacy,
        Compression::Bzip2,
        Compression::Lzma,
    ];

    /// One stream, as the tools make it.
    pub(in super::super) fn pack(compression: Compression, plain: &[u8]) -> Vec<u8> {
        match compression {
            Compression::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(plain).expect("memory");
                encoder.finish().expect("memory")
            }
            Compression::Xz => liblzma::encode_all(plain, 0).expect("memory"),
            Compression::Lzma => {
                let options = liblzma::stream::LzmaOptions::new_preset(0).expect("preset");
                let stream = liblzma::stream::Stream::new_lzma_encoder(&options).expect("encoder");
                let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
                encoder.write_all(plain).expect("memory");
                encoder.finish().expect("memory")
            }
            Compression::Zstd => zstd::encode_all(plain, 1).expect("memory"),
            Compression::Bzip2 => {
                let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
                encoder.write_all(plain).expect("memory");
                encoder.finish().expect("memory")
            }
            Compression::Lz4Legacy => {
                let mut packed = LZ4_LEGACY.to_le_bytes().to_vec();
                for block in plain.chunks(LZ4_BLOCK_BYTES) {
                    let block = lz4_flex::block::compress(block);
                    packed.extend(u32::try_from(block.len()).expect("small").to_le_bytes());
                    packed.extend(block);
                }
                packed
            }
            Compression::Lzo | Compression::Lz4Frame => panic!("no encoder"),
        }
    }

    fn unpack(mut packed: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        let compression = Compression::of(packed).expect("known magic");
        compression.decoder(&mut packed)?.read_to_end(&mut plain)?;
        Ok(plain)
    }

    #[test]
    fn each_compression_gives_back_what_was_packed() {
        let plain: Vec<u8> = (0..300_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        for compression in ALL {
            let packed = pack(compression, &plain);
            assert_eq!(Compression::of(&packed), Some(compression));
            assert_eq!(unpack(&packed).expect("unpacks"), plain, "{compression:?}");
        }
    }

    #[test]
    fn lz4_of_several_blocks_and_joined_streams_is_read_to_its_end() {
        let plain: Vec<u8> = (0..(LZ4_BLOCK_BYTES / 2 + 5)).flat_map(|n| [n.to_le_bytes()[0], 7, 9]).collect();
        let packed = pack(Compression::Lz4Legacy, &plain);
        assert_eq!(unpack(&packed).expect("unpacks"), plain);
        let twice = [packed.as_slice(), &packed, &[0; 4]].concat();
        assert_eq!(unpack(&twice).expect("unpacks"), [plain.as_slice(), &plain].concat());
    }

    #[test]
    fn lz4_of_the_lz4_tool_is_read() {
        // printf 'module module module module module' | lz4 -l -c
        let packed = b"\x02\x21\x4c\x18\x11\x00\x00\x00\x7fmodule \x07\x00\x03\x50odule";
        assert_eq!(unpack(packed).expect("unpacks"), b"module module module module module");
    }

    #[test]
    fn what_would_take_too_much_memory_is_refused() {
        let plain = vec![0; 1 << 20];
        let huge_window = {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("encoder");
            encoder.window_log(27).expect("window");
            encoder.write_all(&plain).expect("memory");
            encoder.finish().expect("memory")
        };
        unpack(&huge_window).expect_err("a window of 128 MiB");
        unpack(&liblzma::encode_all(&plain[..], 9).expect("memory")).expect_err("a dictionary of 64 MiB");
        unpack(&[&LZ4_LEGACY.to_le_bytes()[..], &[0xff; 9]].concat()).expect_err("a block of 4 GiB");
    }

    #[test]
    fn a_decoder_leaves_what_comes_after_its_stream() {
        for compression in ALL {
            let mut bytes = pack(compression, b"first");
            if compression == Compression::Lz4Legacy {
                bytes.extend([0; 4]);
            }
            bytes.extend(b"second");
            let mut rest = bytes.as_slice();
            let mut plain = Vec::new();
            let read = compression.decoder(&mut rest).expect("decoder").read_to_end(&mut plain);
            read.expect("unpacks");
            assert_eq!((plain.as_slice(), rest), (&b"first"[..], &b"second"[..]), "{compression:?}");
        }
    }
}
