//! Whether to write shared memory through the caches or past them. A line that another
//! core has read must be taken from it before it can be written, which between cores that
//! share no cache takes longer than the way through memory: measured, 64 KiB there and
//! back take 33 µs through the caches and 5 µs past them, and between cores that do share
//! one 4 µs and 7 µs. Ranks move from core to core, so it is found out again and again,
//! by how long writing takes. Decides only; the bits written are the same.
//!
//! A *cycle* is one way around the ring. The first cycle through the caches after others
//! does not count: its lines come from memory.

use std::time::Duration;

/// What writing may take through the caches: 10 GB/s, slower than memory.
const NANOS_PER_KIB_MAX: u128 = 100;

/// Cycles past the caches before the way through them is tried again, for two.
const CYCLES_PAST: u64 = 256;

/// The choice for one ring.
#[derive(Debug)]
pub(crate) struct Caches {
    ring_bytes: u64,
    /// Bytes to be written past the caches from now on.
    past_bytes: u64,
    /// Bytes written through the caches in this cycle, and how long that took.
    bytes: u64,
    time: Duration,
    /// The lines of the ring were in the caches when this cycle began.
    counts: bool,
}

impl Caches {
    /// For a ring of this size.
    pub(crate) fn new(ring_bytes: usize) -> Self {
        Self { ring_bytes: ring_bytes as u64, past_bytes: 0, bytes: 0, time: Duration::ZERO, counts: false }
    }

    /// Whether the next bytes are to be written past the caches.
    pub(crate) fn are_passed(&self) -> bool {
        self.past_bytes > 0
    }

    /// Bytes were written past them.
    pub(crate) fn passed(&mut self, bytes: usize) {
        self.past_bytes = self.past_bytes.saturating_sub(bytes as u64);
    }

    /// Bytes were written through them.
    pub(crate) fn took(&mut self, bytes: usize, time: Duration) {
        self.bytes += bytes as u64;
        self.time += time;
        if self.bytes < self.ring_bytes {
            return;
        }
        let slow = self.time.as_nanos() * 1_024 > NANOS_PER_KIB_MAX * u128::from(self.bytes);
        if self.counts && slow {
            self.past_bytes = CYCLES_PAST * self.ring_bytes;
        }
        self.counts = !self.are_passed();
        self.bytes = 0;
        self.time = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RING: usize = 1 << 16;

    #[test]
    fn caches_are_passed_when_a_second_cycle_is_slow_and_tried_again_later() {
        let mut caches = Caches::new(RING);
        let slow = Duration::from_micros(RING as u64 / 1_024);
        caches.took(RING, slow);
        assert!(!caches.are_passed(), "the first cycle does not count");
        caches.took(RING / 2, slow);
        assert!(!caches.are_passed(), "the cycle is not over");
        caches.took(RING / 2, slow);
        assert!(caches.are_passed());
        for _ in 0..CYCLES_PAST {
            assert!(caches.are_passed());
            caches.passed(RING);
        }
        assert!(!caches.are_passed());
        caches.took(RING, slow);
        assert!(!caches.are_passed(), "the first cycle after others does not count");
    }

    #[test]
    fn fast_caches_are_used() {
        let mut caches = Caches::new(RING);
        for _ in 0..10 {
            caches.took(RING, Duration::from_nanos(RING as u64 / 100));
            assert!(!caches.are_passed());
        }
    }
}
