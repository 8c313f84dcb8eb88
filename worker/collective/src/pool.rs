//! Memory for vectors that the other ranks of a host read where it lies: each rank has a
//! file without a name that can grow and never shrink, its *pool*, which it writes to and
//! the others map for reading. What a vector is for, and when it may be written or read,
//! is not known here.
//!
//! This file, `memory.rs`, `ring.rs` and, with the feature `nccl`, `nccl.rs` are the only
//! ones with `unsafe` code.

#![expect(unsafe_code, reason = "memory that another process writes to is outside of what Rust can check")]

use std::{
    fmt, io,
    ops::Range,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    ptr::{self, NonNull},
    slice,
};

use rustix::{
    fs::{
        FallocateFlags, MemfdFlags, Mode, OFlags, SealFlags, fallocate, fcntl_add_seals, fcntl_get_seals,
        fstat, ftruncate, memfd_create, open,
    },
    mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap},
    param::page_size,
};

/// Mappings begin at multiples of this.
pub(crate) const PAGE_BYTES: usize = 4_096;

/// Elements of a page.
pub(crate) const PAGE_ELEMENTS: usize = PAGE_BYTES / size_of::<f32>();

/// Bytes of the pages that hold this many elements.
pub(crate) fn paged_bytes(elements: usize) -> usize {
    elements.div_ceil(PAGE_ELEMENTS) * PAGE_BYTES
}

/// This rank's pool. The memory goes when no process has the file or a mapping of it.
#[derive(Debug)]
pub(crate) struct Pool {
    file: OwnedFd,
    /// Length of the file.
    size: usize,
}

impl Pool {
    /// An empty pool, and its file as it is handed to the others: a descriptor for reading.
    ///
    /// # Errors
    ///
    /// Where the system has no `/proc`, larger pages, or no descriptors left.
    pub(crate) fn create() -> io::Result<(Self, OwnedFd)> {
        if page_size() != PAGE_BYTES {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let file = memfd_create("vectors", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        fcntl_add_seals(&file, Self::seals())?;
        let again = format!("/proc/self/fd/{}", file.as_raw_fd());
        let reading = open(again, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        Ok((Self { file, size: 0 }, reading))
    }

    fn seals() -> SealFlags {
        SealFlags::SHRINK | SealFlags::SEAL
    }

    /// Makes room for whole pages from `begin` on.
    pub(crate) fn grow(&mut self, begin: usize, bytes: usize) -> io::Result<()> {
        let end = begin + bytes;
        if end > self.size {
            ftruncate(&self.file, end as u64)?;
            self.size = end;
        }
        // The pages are there from now on: nobody is killed for touching one that is not.
        if bytes > 0 {
            fallocate(&self.file, FallocateFlags::empty(), begin as u64, bytes as u64)?;
        }
        Ok(())
    }

    /// Gives the memory from `begin` on back.
    pub(crate) fn give_back(&mut self, begin: usize) {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let bytes = self.size.saturating_sub(begin);
        if bytes > 0
            && let Err(error) = fallocate(&self.file, flags, begin as u64, bytes as u64)
        {
            tracing::debug!(%error, "shared memory was not given back");
        }
    }
}

/// Another rank's pool.
#[derive(Debug)]
pub(crate) struct ForeignPool(OwnedFd);

impl ForeignPool {
    /// The file that a peer has handed over. That it cannot shrink is checked: no page
    /// can vanish.
    pub(crate) fn new(file: OwnedFd) -> io::Result<Self> {
        if fcntl_get_seals(&file)?.contains(Pool::seals()) {
            Ok(Self(file))
        } else {
            Err(io::ErrorKind::InvalidData.into())
        }
    }
}

/// Some pages of a pool.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source<'a> {
    Own(&'a Pool),
    Foreign(&'a ForeignPool),
}

impl Source<'_> {
    fn file(&self) -> &OwnedFd {
        match self {
            Self::Own(pool) => &pool.file,
            Self::Foreign(pool) => &pool.0,
        }
    }

    fn protection(&self) -> ProtFlags {
        match self {
            Self::Own(_) => ProtFlags::READ | ProtFlags::WRITE,
            Self::Foreign(_) => ProtFlags::READ,
        }
    }

    /// All of what is a rank's own is used, and a part of what is others'.
    fn flags(&self) -> MapFlags {
        match self {
            Self::Own(_) => MapFlags::POPULATE,
            Self::Foreign(_) => MapFlags::empty(),
        }
    }

    /// That the file has these bytes: who touches a page beyond its end is killed.
    fn check(&self, bytes: Range<usize>) -> io::Result<()> {
        let size = usize::try_from(fstat(self.file())?.st_size).unwrap_or(0);
        if bytes.end <= size { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

/// Some elements of a pool.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part<'a> {
    pub(crate) source: Source<'a>,
    /// Where they begin: a page.
    pub(crate) begin_bytes: usize,
    pub(crate) len: usize,
}

/// One vector, in pages of one pool or of several, one behind the other.
pub(crate) struct Mapped {
    base: NonNull<u8>,
    mapped_bytes: usize,
    len: usize,
    /// The elements that may be written.
    own: Range<usize>,
}

// SAFETY: the memory belongs to the process, not to a thread, and is accessed like a
// `Vec`'s: through `&self` for reading, through `&mut self` for writing.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// The vector of these parts, of which all but the last are whole pages.
    pub(crate) fn new(parts: &[Part<'_>]) -> io::Result<Self> {
        let len = parts.iter().map(|part| part.len).sum();
        let mapped_bytes = paged_bytes(len).max(PAGE_BYTES);
        // SAFETY: the system chooses where the mapping lies, so that it replaces nothing.
        let base =
            unsafe { mmap_anonymous(ptr::null_mut(), mapped_bytes, ProtFlags::empty(), MapFlags::PRIVATE)? };
        let base = NonNull::new(base.cast()).expect("invariant: a mapping does not begin at zero");
        let mut vector = Self { base, mapped_bytes, len, own: 0..0 };
        let mut at = 0;
        for Part { source, begin_bytes, len } in parts.iter().filter(|part| part.len > 0) {
            assert!(at % PAGE_ELEMENTS == 0, "invariant: all parts but the last are whole pages");
            let bytes = paged_bytes(*len);
            source.check(*begin_bytes..begin_bytes + bytes)?;
            let flags = MapFlags::SHARED | MapFlags::FIXED | source.flags();
            // SAFETY: the pages replaced are those reserved above: `at` elements lie before
            // them, and all parts together are `len` elements.
            unsafe {
                let place = vector.base.add(at * size_of::<f32>()).as_ptr().cast();
                mmap(place, bytes, source.protection(), flags, source.file().as_fd(), *begin_bytes as u64)?;
            }
            if matches!(source, Source::Own(_)) {
                vector.own = at..at + len;
            }
            at += len;
        }
        Ok(vector)
    }

    pub(crate) fn as_slice(&self) -> &[f32] {
        // SAFETY: that many elements are mapped for reading, any bits are a number, and the
        // borrow keeps writers with the same mapping away. Other ranks write to their own
        // pages only, and not while this one may read: see the invariants of `in_place`.
        unsafe { slice::from_raw_parts(self.base.as_ptr().cast(), self.len) }
    }

    /// The elements that lie in this rank's pool.
    pub(crate) fn own_mut(&mut self) -> &mut [f32] {
        // SAFETY: those are mapped for writing, and nobody else in this process has a
        // reference to them.
        unsafe {
            let first = self.base.cast::<f32>().add(self.own.start);
            slice::from_raw_parts_mut(first.as_ptr(), self.own.len())
        }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: all of it was mapped here, and nothing borrows from what is being dropped.
        if let Err(error) = unsafe { munmap(self.base.as_ptr().cast(), self.mapped_bytes) } {
            tracing::warn!(%error, "shared memory was not unmapped");
        }
    }
}

impl fmt::Debug for Mapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapped").field("len", &self.len).field("own", &self.own).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[cfg(not(miri))] // It has no memfd.
mod tests {
    use super::*;

    #[test]
    fn a_vector_is_put_together_from_the_pools_of_all_ranks() {
        let (mut near, near_file) = Pool::create().expect("there is memory");
        let (mut far, far_file) = Pool::create().expect("there is memory");
        near.grow(0, 2 * PAGE_BYTES).expect("there is memory");
        let begin = PAGE_BYTES;
        far.grow(0, 4 * PAGE_BYTES).expect("there is memory");
        let seen_near = ForeignPool::new(near_file).expect("it is sealed");
        let seen_far = ForeignPool::new(far_file).expect("it is sealed");
        let part = |source, begin_bytes, len| Part { source, begin_bytes, len };
        let near_parts = [
            part(Source::Own(&near), PAGE_BYTES, PAGE_ELEMENTS),
            part(Source::Foreign(&seen_far), begin + PAGE_BYTES, PAGE_ELEMENTS + 3),
        ];
        let far_parts = [
            part(Source::Foreign(&seen_near), PAGE_BYTES, PAGE_ELEMENTS),
            part(Source::Own(&far), begin + PAGE_BYTES, PAGE_ELEMENTS + 3),
        ];
        let mut near_vector = Mapped::new(&near_parts).expect("there is memory");
        let mut far_vector = Mapped::new(&far_parts).expect("there is memory");
        near_vector.own_mut().fill(1.0);
        far_vector.own_mut().fill(2.0);
        let expected = [[1.0; PAGE_ELEMENTS].as_slice(), &[2.0; PAGE_ELEMENTS + 3]].concat();
        assert_eq!(near_vector.as_slice(), expected);
        assert_eq!(far_vector.as_slice(), expected);
    }

    #[test]
    fn a_file_that_could_shrink_or_is_too_short_is_not_mapped() {
        let loose = memfd_create("loose", MemfdFlags::ALLOW_SEALING).expect("descriptors are left");
        assert!(ForeignPool::new(loose).is_err());
        let (mut pool, file) = Pool::create().expect("there is memory");
        pool.grow(0, PAGE_BYTES).expect("there is memory");
        let seen = ForeignPool::new(file).expect("it is sealed");
        let mapped =
            |begin_bytes, len| Mapped::new(&[Part { source: Source::Foreign(&seen), begin_bytes, len }]);
        assert!(mapped(0, PAGE_ELEMENTS).is_ok());
        assert!(mapped(0, PAGE_ELEMENTS + 1).is_err());
        assert!(mapped(PAGE_BYTES, 1).is_err());
    }

    #[test]
    fn what_is_given_back_can_be_had_again_and_is_zero() {
        let (mut pool, _file) = Pool::create().expect("there is memory");
        pool.grow(0, 4 * PAGE_BYTES).expect("there is memory");
        let all = |pool: &Pool| {
            Mapped::new(&[Part { source: Source::Own(pool), begin_bytes: 0, len: 4 * PAGE_ELEMENTS }])
        };
        all(&pool).expect("it is there").own_mut().fill(1.0);
        pool.give_back(PAGE_BYTES);
        pool.grow(PAGE_BYTES, PAGE_BYTES).expect("there is memory");
        let expected = [[1.0; PAGE_ELEMENTS].as_slice(), &[0.0; 3 * PAGE_ELEMENTS]].concat();
        assert_eq!(all(&pool).expect("a file never shrinks").as_slice(), expected);
    }

    #[test]
    fn what_is_handed_over_cannot_be_written_to() {
        let (mut pool, file) = Pool::create().expect("there is memory");
        pool.grow(0, PAGE_BYTES).expect("there is memory");
        let flags = MapFlags::SHARED;
        // SAFETY: the system chooses where the mapping lies.
        let mapped = unsafe { mmap(ptr::null_mut(), PAGE_BYTES, ProtFlags::WRITE, flags, &file, 0) };
        assert!(mapped.is_err());
        assert!(rustix::fs::ftruncate(&pool.file, 0).is_err(), "it never shrinks");
    }
}
