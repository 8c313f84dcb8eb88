//! The memory of gradients: vectors on the heap, or where the other ranks of the host read
//! them. Which it is, is decided once for all ranks of a group.

use std::{
    ops::{Deref, DerefMut},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::pool::Mapped;

/// A vector of this rank's own.
#[derive(Debug, Default)]
pub struct Buffer(Memory);

#[derive(Debug)]
enum Memory {
    Heap(Vec<f32>),
    /// With a number that no other vector of the process has.
    Shared(Mapped, u64),
}

impl Default for Memory {
    fn default() -> Self {
        Self::Heap(Vec::new())
    }
}

impl Buffer {
    /// One that other ranks see. All of it lies in this rank's pool.
    pub(crate) fn shared(mut mapped: Mapped) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        assert_eq!(mapped.own_mut().len(), mapped.as_slice().len(), "invariant: it is this rank's alone");
        Self(Memory::Shared(mapped, NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// Which one it is of those that other ranks see.
    pub(crate) fn number(&self) -> Option<u64> {
        match &self.0 {
            Memory::Heap(_) => None,
            Memory::Shared(_, number) => Some(*number),
        }
    }
}

impl From<Vec<f32>> for Buffer {
    fn from(numbers: Vec<f32>) -> Self {
        Self(Memory::Heap(numbers))
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &self.0 {
            Memory::Heap(numbers) => numbers,
            Memory::Shared(mapped, _) => mapped.as_slice(),
        }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        match &mut self.0 {
            Memory::Heap(numbers) => numbers,
            Memory::Shared(mapped, _) => mapped.own_mut(),
        }
    }
}

impl AsRef<[f32]> for Buffer {
    fn as_ref(&self) -> &[f32] {
        self
    }
}

impl AsMut<[f32]> for Buffer {
    fn as_mut(&mut self) -> &mut [f32] {
        self
    }
}
