//! A stream of bytes from one rank to another through shared memory: a ring in the
//! writer's segment, with a counter of bytes written there and one of bytes read in the
//! reader's. Each memory is written to by its owner only. Nothing here waits.
//!
//! Invariants:
//!
//! 1. `tail <= head <= tail + capacity`. A peer's counter that says otherwise is an error.
//! 2. The writer writes bytes `head..tail + capacity` only, the reader reads
//!    `tail..head` only: never the same byte at once.
//! 3. Who sees a counter sees all that its owner did before it moved it (release, acquire).

#![expect(unsafe_code, reason = "memory that another process writes to is outside of what Rust can check")]

use std::{
    slice,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use crate::{caches::Caches, memory::Segment, wire::WireError};

/// From this length on it is chosen how bytes are written.
const CHOSEN_FROM_BYTES: usize = 4_096;

/// One end of the pair: whose segment, and which slot of it belongs to the other.
#[derive(Debug, Clone)]
pub(crate) struct End {
    pub(crate) segment: Arc<Segment>,
    pub(crate) slot: usize,
}

/// The end that is written to.
#[derive(Debug)]
pub(crate) struct Writer {
    own: End,
    peer: End,
    /// Bytes written, published or not.
    position: u64,
    /// Of those, bytes that the reader is known to have read.
    tail: u64,
    caches: Caches,
}

impl Writer {
    /// The writing end in the `own` segment, which no other writer may use.
    pub(crate) fn new(own: End, peer: End) -> Self {
        let caches = Caches::new(own.segment.layout().ring_bytes());
        Self { own, peer, position: 0, tail: 0, caches }
    }

    /// Bytes that can be written now. Asks the reader only where fewer than `wanted` are
    /// known to be free.
    pub(crate) fn room(&mut self, wanted: usize) -> Result<usize, WireError> {
        let capacity = self.capacity();
        if capacity - self.used() < wanted {
            let tail = self.peer.segment.tail(self.peer.slot).load(Ordering::Acquire);
            if tail < self.tail || tail > self.position {
                return Err(WireError::Field { field: "ring tail", value: tail });
            }
            self.tail = tail;
        }
        Ok(capacity - self.used())
    }

    /// Writes bytes for which there is room.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let capacity = self.capacity();
        assert!(bytes.len() <= capacity - self.used(), "invariant 2: only what is free is written to");
        let at = self.position as usize & (capacity - 1);
        let (first, rest) = bytes.split_at(bytes.len().min(capacity - at));
        let ring = self.own.segment.ring(self.own.slot).as_ptr();
        // SAFETY: both parts lie within the ring, since `at < capacity` and the assertion
        // above; they do not overlap, the reader keeps away from them by invariant 2, and
        // there is one writer.
        let (to_end, from_start) = unsafe {
            let to_end = slice::from_raw_parts_mut(ring.add(at), first.len());
            (to_end, slice::from_raw_parts_mut(ring, rest.len()))
        };
        if bytes.len() < CHOSEN_FROM_BYTES {
            to_end.copy_from_slice(first);
            from_start.copy_from_slice(rest);
        } else if self.caches.are_passed() {
            store_past_caches(to_end, first);
            store_past_caches(from_start, rest);
            self.caches.passed(bytes.len());
        } else {
            let begun = Instant::now();
            to_end.copy_from_slice(first);
            from_start.copy_from_slice(rest);
            self.caches.took(bytes.len(), begun.elapsed());
        }
        self.position += bytes.len() as u64;
    }

    /// Passes over bytes for which there is room; what they are means nothing.
    pub(crate) fn skip(&mut self, bytes: usize) {
        assert!(bytes <= self.capacity() - self.used(), "invariant 2: only what is free is passed over");
        self.position += bytes as u64;
    }

    /// Lets the reader see what was written.
    pub(crate) fn publish(&mut self) {
        // What went past the caches is not ordered by the release below.
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        // SAFETY: SSE is part of this architecture.
        unsafe {
            std::arch::x86_64::_mm_sfence();
        }
        self.own.segment.head(self.own.slot).store(self.position, Ordering::Release);
    }

    fn capacity(&self) -> usize {
        self.own.segment.layout().ring_bytes()
    }

    fn used(&self) -> usize {
        (self.position - self.tail) as usize
    }
}

/// The end that is read from.
#[derive(Debug)]
pub(crate) struct Reader {
    own: End,
    peer: End,
    /// Bytes read.
    position: u64,
    /// Bytes known to be written.
    head: u64,
}

impl Reader {
    /// The reading end of the ring in the `peer`'s segment.
    pub(crate) fn new(own: End, peer: End) -> Self {
        Self { own, peer, position: 0, head: 0 }
    }

    /// Bytes that can be read now. Asks the writer only where fewer than `wanted` are
    /// known to be there.
    pub(crate) fn available(&mut self, wanted: usize) -> Result<usize, WireError> {
        if ((self.head - self.position) as usize) < wanted {
            let head = self.peer.segment.head(self.peer.slot).load(Ordering::Acquire);
            if head < self.head || head - self.position > self.capacity() as u64 {
                return Err(WireError::Field { field: "ring head", value: head });
            }
            self.head = head;
        }
        Ok((self.head - self.position) as usize)
    }

    /// The next bytes, as they lie in the ring: all that are available, or up to its end.
    pub(crate) fn peek(&self) -> &[u8] {
        let at = self.position as usize & (self.capacity() - 1);
        let len = ((self.head - self.position) as usize).min(self.capacity() - at);
        let ring = self.peer.segment.ring(self.peer.slot).as_ptr();
        // SAFETY: the range lies within the ring. The writer, the same program in another
        // process, keeps away from it by invariant 2 until `advance` is called, which
        // needs this borrow to be over.
        unsafe { slice::from_raw_parts(ring.add(at), len) }
    }

    /// Gives bytes that were available back to the writer.
    pub(crate) fn advance(&mut self, bytes: usize) {
        assert!(bytes as u64 <= self.head - self.position, "invariant 2: only what is there is read");
        self.position += bytes as u64;
        self.own.segment.tail(self.own.slot).store(self.position, Ordering::Release);
    }

    fn capacity(&self) -> usize {
        self.peer.segment.layout().ring_bytes()
    }
}

/// `to` becomes `from`, which is as long. Ordered before what other cores see by the
/// fence in [`Writer::publish`].
#[cfg(all(target_arch = "x86_64", not(miri)))]
fn store_past_caches(to: &mut [u8], from: &[u8]) {
    use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_stream_si128};
    assert_eq!(to.len(), from.len(), "invariant: as many bytes as there is room for");
    let begin = to.as_ptr().align_offset(align_of::<__m128i>()).min(to.len());
    let vectors = (to.len() - begin) / size_of::<__m128i>();
    let end = begin + vectors * size_of::<__m128i>();
    to[..begin].copy_from_slice(&from[..begin]);
    let source = from[begin..end].as_ptr().cast::<__m128i>();
    let target = to[begin..end].as_mut_ptr().cast::<__m128i>();
    for vector in 0..vectors {
        // SAFETY: both slices are that many vectors long, and `target` is aligned. SSE2 is
        // part of this architecture.
        unsafe { _mm_stream_si128(target.add(vector), _mm_loadu_si128(source.add(vector))) }
    }
    to[end..].copy_from_slice(&from[end..]);
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
fn store_past_caches(to: &mut [u8], from: &[u8]) {
    to.copy_from_slice(from);
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::memory::Layout;

    /// Both ends of a ring between two segments of this process.
    fn pair() -> (Writer, Reader) {
        let layout = Layout::for_peers(1);
        let [own, peer] = [(); 2].map(|()| End { segment: Arc::new(Segment::private(layout)), slot: 0 });
        (Writer::new(own.clone(), peer.clone()), Reader::new(peer, own))
    }

    fn byte(place: usize) -> u8 {
        (place.wrapping_mul(0x9e37_79b9) >> 13) as u8
    }

    #[test]
    fn a_stream_longer_than_the_ring_arrives_whole_and_in_order() {
        let (mut writer, mut reader) = pair();
        let total = if cfg!(miri) { 150_000 } else { 5_000_000 };
        thread::scope(|scope| {
            scope.spawn(move || {
                let mut sent = 0;
                let mut size = 1;
                while sent < total {
                    size = (size * 7 + 3) % 40_009;
                    let room = writer.room(size).expect("the reader counts rightly");
                    let bytes: Vec<u8> = (sent..total.min(sent + room.min(size))).map(byte).collect();
                    writer.write(&bytes);
                    writer.publish();
                    sent += bytes.len();
                    if bytes.is_empty() {
                        thread::yield_now();
                    }
                }
            });
            let mut received = 0;
            while received < total {
                if reader.available(1).expect("the writer counts rightly") == 0 {
                    thread::yield_now();
                    continue;
                }
                let bytes = reader.peek();
                assert!(bytes.iter().enumerate().all(|(nth, found)| *found == byte(received + nth)));
                let len = bytes.len();
                received += len;
                reader.advance(len);
            }
        });
    }

    #[test]
    fn every_byte_is_stored_wherever_it_lies() {
        let from: Vec<u8> = (0..3 * CHOSEN_FROM_BYTES).map(byte).collect();
        for (begin, len) in [(0, 5_000), (1, 5_000), (15, 97), (16, 8_192), (3, 4_095), (5, 9), (0, 0)] {
            let mut to = vec![0; from.len()];
            store_past_caches(&mut to[begin..begin + len], &from[7..7 + len]);
            assert_eq!(to[begin..begin + len], from[7..7 + len]);
            assert!(to[..begin].iter().chain(&to[begin + len..]).all(|byte| *byte == 0));
        }
    }

    #[test]
    fn a_full_ring_has_no_room_until_it_is_read() {
        let (mut writer, mut reader) = pair();
        let capacity = writer.room(0).expect("nothing is wrong");
        writer.write(&vec![1; capacity]);
        writer.publish();
        assert_eq!(writer.room(1), Ok(0));
        assert_eq!(reader.available(1), Ok(capacity));
        reader.advance(10);
        assert_eq!(writer.room(1), Ok(10));
        writer.skip(10);
        assert_eq!(writer.room(1), Ok(0));
    }

    #[test]
    fn a_counter_that_cannot_be_is_an_error() {
        let (mut writer, mut reader) = pair();
        let capacity = writer.room(0).expect("nothing is wrong") as u64;
        reader.peer.segment.head(0).store(capacity + 1, Ordering::Release);
        let value = capacity + 1;
        assert_eq!(reader.available(1), Err(WireError::Field { field: "ring head", value }));
        writer.peer.segment.tail(0).store(1, Ordering::Release);
        assert_eq!(
            writer.room(capacity as usize + 1),
            Err(WireError::Field { field: "ring tail", value: 1 })
        );
    }
}
