//! Memory that two processes share: an anonymous file of a sealed size, which its owner
//! alone can write to and its peers map for reading. It has no name anywhere: when the
//! last process that holds it ends, however it ends, the memory is gone.
//!
//! ```text
//! line 0        sleeping: not zero while the owner waits to be woken
//! line 1 + 2 s  head of slot s: bytes that the owner has written to its ring
//! line 2 + 2 s  tail of slot s: bytes that the owner has read from the peer's ring
//! then, from the next page on, the rings, one per slot
//! ```
//!
//! This file, `pool.rs`, `ring.rs` and, with the feature `nccl`, `nccl.rs` are the only
//! ones with `unsafe` code.

#![expect(unsafe_code, reason = "memory that another process writes to is outside of what Rust can check")]

use std::{
    fmt, io,
    os::fd::{AsFd, OwnedFd},
    ptr::{self, NonNull},
    sync::atomic::{AtomicU32, AtomicU64},
};

use crate::pool::PAGE_BYTES;
use rustix::{
    fs::{
        MemfdFlags, SealFlags, fallocate, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create,
    },
    mm::{MapFlags, ProtFlags, mmap, munmap},
};

/// Words that different ranks write to lie this far apart: two cache lines, since
/// processors fetch them in pairs.
const LINE_BYTES: usize = 128;

/// The smallest ring.
pub(crate) const RING_BYTES_MIN: usize = 1 << 16;

/// The ring of a rank with one peer. It is larger than the second-level caches: a line
/// that has left them by the time it is written again need not be taken back from the
/// core that read it.
pub(crate) const RING_BYTES_MAX: usize = 1 << 22;

/// What the rings of a rank with more peers take together, unless the smallest ones need
/// more: they stay in the cache of a core that several ranks take turns on.
const RINGS_BYTES: usize = 1 << 20;

/// The most slots of a segment.
pub(crate) const SLOTS_MAX: usize = crate::share::LANES_MAX as usize - 1;

/// Where things lie in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    slots: usize,
    ring_bytes: usize,
}

impl Layout {
    /// For this many peers, one at least.
    pub(crate) fn for_peers(peers: usize) -> Self {
        let each = match peers {
            0 | 1 => RING_BYTES_MAX,
            _ => (RINGS_BYTES / peers).max(RING_BYTES_MIN),
        };
        Self { slots: peers, ring_bytes: 1 << each.ilog2() }
    }

    /// What a peer says it has made, if that can be.
    pub(crate) fn announced(slots: u32, ring_bytes: u64) -> Option<Self> {
        let (slots, ring_bytes) = (slots as usize, usize::try_from(ring_bytes).ok()?);
        let fits = (1..=SLOTS_MAX).contains(&slots)
            && ring_bytes.is_power_of_two()
            && (RING_BYTES_MIN..=RING_BYTES_MAX).contains(&ring_bytes);
        fits.then_some(Self { slots, ring_bytes })
    }

    pub(crate) fn slots(self) -> usize {
        self.slots
    }

    pub(crate) fn ring_bytes(self) -> usize {
        self.ring_bytes
    }

    fn control_bytes(self) -> usize {
        (LINE_BYTES * (1 + 2 * self.slots)).next_multiple_of(PAGE_BYTES)
    }

    fn bytes(self) -> usize {
        self.control_bytes() + self.slots * self.ring_bytes
    }
}

/// A mapped segment.
pub(crate) struct Segment {
    base: NonNull<u8>,
    layout: Layout,
    release: fn(NonNull<u8>, usize),
}

// SAFETY: the memory belongs to the process, not to a thread; all access to it is
// through atomics and through the rings' ends, which keep to their protocol.
unsafe impl Send for Segment {}
// SAFETY: as above.
unsafe impl Sync for Segment {}

impl Segment {
    /// A segment of this process' own, all zero, and the file to be handed to its peers.
    pub(crate) fn create(layout: Layout) -> io::Result<(Self, OwnedFd)> {
        let file = memfd_create("collective", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        let bytes = layout.bytes() as u64;
        ftruncate(&file, bytes)?;
        // A page that the system has no memory for is an error here, not a signal later.
        fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes)?;
        let segment = Self::map(&file, layout, ProtFlags::READ | ProtFlags::WRITE)?;
        fcntl_add_seals(&file, Self::seals() | SealFlags::FUTURE_WRITE)?;
        Ok((segment, file))
    }

    /// The segment of a peer. That its size is sealed is checked: no page can vanish.
    pub(crate) fn open(file: &OwnedFd, layout: Layout) -> io::Result<Self> {
        let size = u64::try_from(fstat(file)?.st_size).unwrap_or(0);
        if !fcntl_get_seals(file)?.contains(Self::seals()) || size != layout.bytes() as u64 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Self::map(file, layout, ProtFlags::READ)
    }

    fn seals() -> SealFlags {
        SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL
    }

    fn map(file: &impl AsFd, layout: Layout, protection: ProtFlags) -> io::Result<Self> {
        // SAFETY: the system chooses where the mapping lies, so that it replaces nothing.
        let base = unsafe {
            mmap(ptr::null_mut(), layout.bytes(), protection, MapFlags::SHARED | MapFlags::POPULATE, file, 0)?
        };
        let base = NonNull::new(base.cast()).expect("invariant: a mapping does not begin at zero");
        let release = |base: NonNull<u8>, bytes| {
            // SAFETY: `base` and `bytes` are what was mapped, and nothing borrows from
            // a segment that is being dropped.
            if let Err(error) = unsafe { munmap(base.as_ptr().cast(), bytes) } {
                tracing::warn!(%error, "shared memory was not unmapped");
            }
        };
        Ok(Self { base, layout, release })
    }

    /// A segment that no other process sees, for tests that also run where no system
    /// calls can.
    #[cfg(test)]
    pub(crate) fn private(layout: Layout) -> Self {
        let shape = |bytes| std::alloc::Layout::from_size_align(bytes, PAGE_BYTES).expect("it is small");
        // SAFETY: the size is not zero.
        let base = unsafe { std::alloc::alloc_zeroed(shape(layout.bytes())) };
        let release = |base: NonNull<u8>, bytes| {
            let shape = std::alloc::Layout::from_size_align(bytes, PAGE_BYTES).expect("it was one");
            // SAFETY: it was allocated above with this very layout.
            unsafe { std::alloc::dealloc(base.as_ptr(), shape) }
        };
        Self { base: NonNull::new(base).expect("there is memory"), layout, release }
    }

    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// Not zero while the owner waits to be woken.
    pub(crate) fn sleeping(&self) -> &AtomicU32 {
        // SAFETY: line 0 is within the segment and aligned, and nobody has another
        // reference than this one to it.
        unsafe { AtomicU32::from_ptr(self.base.as_ptr().cast()) }
    }

    /// What the owner has written to the ring of `slot`, in bytes.
    pub(crate) fn head(&self, slot: usize) -> &AtomicU64 {
        self.counter(1 + 2 * slot)
    }

    /// What the owner has read from the ring of the peer at `slot`, in bytes.
    pub(crate) fn tail(&self, slot: usize) -> &AtomicU64 {
        self.counter(2 + 2 * slot)
    }

    /// Where the ring of `slot` begins; it is `ring_bytes` long.
    pub(crate) fn ring(&self, slot: usize) -> NonNull<u8> {
        assert!(slot < self.layout.slots, "invariant: a slot is one of the layout's");
        let offset = self.layout.control_bytes() + slot * self.layout.ring_bytes;
        // SAFETY: the ring lies within the segment.
        unsafe { self.base.add(offset) }
    }

    fn counter(&self, line: usize) -> &AtomicU64 {
        assert!(line <= 2 * self.layout.slots, "invariant: a slot is one of the layout's");
        // SAFETY: the line lies within the control area and is aligned; it is only ever
        // accessed as this atomic, and never written to through a mapping for reading.
        unsafe { AtomicU64::from_ptr(self.base.add(line * LINE_BYTES).as_ptr().cast()) }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        (self.release)(self.base, self.layout.bytes());
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment").field("layout", &self.layout).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_announces_is_checked() {
        let layout = Layout::for_peers(3);
        assert_eq!(Layout::announced(3, layout.ring_bytes() as u64), Some(layout));
        for (slots, ring_bytes) in
            [(0, 1 << 16), (64, 1 << 16), (1, 0), (1, 1 << 15), (1, 100_000), (1, 1 << 40)]
        {
            assert_eq!(Layout::announced(slots, ring_bytes), None, "{slots} slots of {ring_bytes} bytes");
        }
        let largest = Layout::for_peers(SLOTS_MAX);
        assert!(Layout::announced(SLOTS_MAX as u32, largest.ring_bytes() as u64).is_some());
    }

    #[test]
    #[cfg_attr(miri, ignore = "miri has no memfd")]
    fn a_file_of_another_size_or_without_seals_is_not_mapped() {
        let layout = Layout::for_peers(1);
        let (_segment, file) = Segment::create(layout).expect("there is memory");
        assert!(Segment::open(&file, layout).is_ok());
        assert!(Segment::open(&file, Layout::for_peers(2)).is_err(), "it is smaller than that");
        let loose = memfd_create("loose", MemfdFlags::ALLOW_SEALING).expect("descriptors are left");
        ftruncate(&loose, layout.bytes() as u64).expect("it can grow");
        assert!(Segment::open(&loose, layout).is_err(), "it could shrink");
    }

    #[test]
    #[cfg_attr(miri, ignore = "miri has no memfd")]
    fn a_peer_sees_what_the_owner_writes_and_cannot_write_itself() {
        let layout = Layout::for_peers(1);
        let (own, file) = Segment::create(layout).expect("there is memory");
        let seen = Segment::open(&file, layout).expect("it is sealed");
        own.head(0).store(7, std::sync::atomic::Ordering::Release);
        assert_eq!(seen.head(0).load(std::sync::atomic::Ordering::Acquire), 7);
        assert!(Segment::map(&file, layout, ProtFlags::READ | ProtFlags::WRITE).is_err());
    }
}
