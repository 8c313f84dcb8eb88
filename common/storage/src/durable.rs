//! Writing a file that is to survive a power cut. A large one goes around the page cache: it is
//! read again by another machine or never, pages for it would be taken from the data set and from whoever
//! computes here, and copying into fresh ones can take longer than the disk does.
//!
//! Whoever fills a chunk hashes it while a processor has it at hand; the chunk before is on its way
//! to the disk meanwhile, by another thread.

use std::{
    fs::File,
    io::{self, Write as _},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use crate::{Content, calls::Call};

/// What is written in one go: enough to keep a disk busy, and it fits into a processor's cache.
const CHUNK_BYTES: usize = 8 << 20;

/// Files from this size on go around the page cache.
const DIRECT_BYTES_MIN: usize = 4 * CHUNK_BYTES;

/// One is filled, one is written, and one waits between the two.
const CHUNKS: usize = 3;

/// Around the page cache, addresses in memory, places in the file and lengths are multiples of a disk's
/// block, and no disk has larger ones.
const ALIGNMENT: usize = 4096;

/// Writes `content` and waits until it is durable.
///
/// # Errors
///
/// Those of the file system.
pub(crate) fn write(file: &mut File, content: &Content, call: &Call) -> io::Result<blake3::Hash> {
    if content.len() < DIRECT_BYTES_MIN {
        content.pieces().iter().try_for_each(|piece| file.write_all(piece))?;
        file.sync_all()?;
        return Ok(content.hash());
    }
    let (filled, to_write) = sync_channel(CHUNKS);
    let (written, to_fill) = sync_channel(CHUNKS);
    for _ in 0..CHUNKS {
        // Never refused: the other end is here.
        let _ = written.send(Chunk::new());
    }
    thread::scope(|scope| {
        let writing = scope.spawn(move || write_chunks(file, &to_write, &written, call));
        let hash = fill_chunks(content, &to_fill, &filled);
        drop(filled);
        writing.join().unwrap_or_else(|_| Err(io::Error::other("the thread that writes has panicked")))?;
        Ok(hash)
    })
}

/// Hands `content` over in chunks; ends early where the disk fails who takes them.
fn fill_chunks(content: &Content, to_fill: &Receiver<Chunk>, filled: &SyncSender<Chunk>) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    let mut pieces = content.pieces().iter().map(|piece| &piece[..]);
    let mut rest: &[u8] = &[];
    for mut chunk in to_fill {
        while !chunk.is_full() {
            if rest.is_empty() {
                match pieces.next() {
                    Some(piece) => rest = piece,
                    None => break,
                }
            }
            rest = chunk.take(rest);
        }
        hasher.update(chunk.bytes());
        if chunk.bytes().is_empty() || filled.send(chunk).is_err() {
            break;
        }
    }
    hasher.finalize()
}

/// Writes chunks until there are no more. Where the file system has no way around its cache the disk is
/// given each chunk at once, so that little is left to wait for in the end.
fn write_chunks(
    file: &mut File,
    to_write: &Receiver<Chunk>,
    written: &SyncSender<Chunk>,
    call: &Call,
) -> io::Result<()> {
    let mut is_direct = set_direct(file, true).is_ok();
    for mut chunk in to_write {
        if is_direct && !chunk.is_full() {
            // The end of the file is no multiple of a block.
            set_direct(file, false)?;
            is_direct = false;
        }
        match file.write_all(chunk.bytes()) {
            Err(error) if is_direct && error.kind() == io::ErrorKind::InvalidInput => {
                // Some file systems refuse only now. Nothing of the chunk is written.
                set_direct(file, false)?;
                is_direct = false;
                file.write_all(chunk.bytes())?;
            }
            result => result?,
        }
        if !is_direct {
            file.sync_data()?;
        }
        call.moves();
        chunk.empty();
        // All is handed over where nobody takes it.
        let _ = written.send(chunk);
    }
    file.sync_all()
}

/// Whether what is written to the file goes around the page cache.
fn set_direct(file: &File, is_direct: bool) -> io::Result<()> {
    let mut flags = fcntl_getfl(file)?;
    flags.set(OFlags::DIRECT, is_direct);
    Ok(fcntl_setfl(file, flags)?)
}

/// A part of a file, in memory that the disk may read itself.
struct Chunk {
    memory: Vec<u8>,
    begin: usize,
    len: usize,
}

impl Chunk {
    fn new() -> Self {
        let memory = vec![0; CHUNK_BYTES + ALIGNMENT];
        let begin = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self { memory, begin, len: 0 }
    }

    fn bytes(&self) -> &[u8] {
        &self.memory[self.begin..self.begin + self.len]
    }

    fn is_full(&self) -> bool {
        self.len == CHUNK_BYTES
    }

    fn empty(&mut self) {
        self.len = 0;
    }

    /// Takes as much of `bytes` as there is room for; the rest is left.
    fn take<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (mine, rest) = bytes.split_at(bytes.len().min(CHUNK_BYTES - self.len));
        let begin = self.begin + self.len;
        self.memory[begin..begin + mine.len()].copy_from_slice(mine);
        self.len += mine.len();
        rest
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::Arc};

    use bytes::Bytes;

    use super::*;
    use crate::calls::Calls;

    /// Numbers that repeat in no power of two.
    fn content(len: usize) -> Content {
        let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        let whole = Bytes::from(bytes);
        let [a, b] = [len / 3, (len / 3 + 1).min(len)];
        Content::from(vec![whole.slice(..a), whole.slice(a..b), whole.slice(b..)])
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let calls = Arc::new(Calls::default());
        // Below the limit; whole chunks; an end that is no multiple of a block; the last chunk full.
        for len in
            [0, 5, DIRECT_BYTES_MIN - 1, DIRECT_BYTES_MIN, DIRECT_BYTES_MIN + 1, 5 * CHUNK_BYTES + 4097]
        {
            let (content, call) = (content(len), calls.begin());
            let mut file = tempfile::NamedTempFile::new().expect("a file");
            let hash = write(file.as_file_mut(), &content, &call).expect("it is written");
            assert_eq!(hash, content.hash(), "{len} bytes");
            assert!(fs::read(file.path()).expect("a file") == content.into_bytes(), "{len} bytes");
        }
    }

    #[test]
    fn a_file_system_that_fails_ends_the_writing() {
        let calls = Arc::new(Calls::default());
        let mut full = File::options().write(true).open("/dev/full").expect("a device");
        let error = write(&mut full, &content(DIRECT_BYTES_MIN * 2), &calls.begin()).expect_err("full");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
    }
}
