//! Files as the bytes that they mean: what gzip, Zstandard or bzip2 has packed is
//! unpacked on the way, told by its first bytes and not by its name.
//!
//! A few bytes can unpack to more than any disk holds. What unpacks to more than
//! [`RATIO_MAX`] times its size is taken for that and refused.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::SourceFile;
use crate::{
    PrepareError,
    source::{open, unreadable},
};

/// The most that a packed file may grow by. Text of one repeated line packs 1,000 times smaller; real tables
/// 3 to 30 times.
pub(crate) const RATIO_MAX: u64 = 200;

/// What a packed file may grow to in any case.
const UNPACKED_MIN: u64 = 64 << 20;

/// Bytes that are read from a file at once.
const BUFFER_BYTES: usize = 256 << 10;

/// Opens a file for its unpacked bytes.
pub(crate) fn open_plain(file: &SourceFile) -> Result<Box<dyn Read + Send>, PrepareError> {
    let taken = Arc::new(AtomicU64::new(0));
    let counted = Counted { file: open(&file.path)?, taken: taken.clone() };
    let mut packed = BufReader::with_capacity(BUFFER_BYTES, counted);
    let start = packed.fill_buf().map_err(|error| unreadable(&file.name, error))?;
    let unpacked: Box<dyn Read + Send> = match packing(start) {
        None => return Ok(Box::new(packed)),
        Some(Packing::Gzip) => Box::new(flate2::bufread::MultiGzDecoder::new(packed)),
        Some(Packing::Bzip2) => Box::new(bzip2::bufread::MultiBzDecoder::new(packed)),
        Some(Packing::Zstandard) => {
            let decoder = zstd::stream::read::Decoder::with_buffer(packed);
            Box::new(decoder.map_err(|error| unreadable(&file.name, error))?)
        }
    };
    Ok(Box::new(Unpacked { inner: unpacked, taken, given: 0 }))
}

/// Appends a file's unpacked bytes to `to`.
pub(crate) fn copy_plain(file: &SourceFile, to: &mut File) -> Result<(), PrepareError> {
    let mut plain = open_plain(file)?;
    io::copy(&mut plain, to).map(drop).map_err(|error| match is_bomb(&error) {
        true => PrepareError::Bomb { path: file.name.clone() },
        false => unreadable(&file.name, error),
    })
}

/// Whether a file is packed. One that cannot be read is not; whoever reads it will say so.
pub(crate) fn is_packed(file: &SourceFile) -> bool {
    let mut start = [0; 6];
    let read = File::open(&file.path).and_then(|mut file| file.read(&mut start)).unwrap_or(0);
    packing(&start[..read]).is_some()
}

/// How a file is packed.
enum Packing {
    Gzip,
    Zstandard,
    Bzip2,
}

fn packing(start: &[u8]) -> Option<Packing> {
    match start {
        [0x1f, 0x8b, ..] => Some(Packing::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Packing::Zstandard),
        [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, ..] => Some(Packing::Bzip2),
        _ => None,
    }
}

/// Whether an error of reading is that of a file that unpacks to too much.
pub(crate) fn is_bomb(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Bomb>())
}

/// A file that unpacks to too much.
#[derive(Debug, thiserror::Error)]
#[error("it unpacks to more than {RATIO_MAX} times its size")]
struct Bomb;

/// Counts what is taken from a file.
struct Counted {
    file: File,
    taken: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.taken.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// Watches how much comes of what was taken.
struct Unpacked {
    inner: Box<dyn Read + Send>,
    taken: Arc<AtomicU64>,
    given: u64,
}

impl Read for Unpacked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.given += read as u64;
        let most = self.taken.load(Ordering::Relaxed).saturating_mul(RATIO_MAX).max(UNPACKED_MIN);
        if self.given > most { Err(io::Error::other(Bomb)) } else { Ok(read) }
    }
}
