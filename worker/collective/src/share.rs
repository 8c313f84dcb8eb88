//! Who owns what: contiguous shares, as equal as whole numbers allow. Lanes are
//! shared out among ranks this way, and so are the segments of a vector. Pure
//! arithmetic; nothing here knows of sockets.

use std::ops::Range;

/// The most lanes of a job, and so the most ranks of a group.
pub const LANES_MAX: u32 = 64;

/// The lanes that `rank` owns when `lanes` lanes are shared out among `world_size`
/// ranks: a contiguous run, in the order of the ranks; runs differ in length by one
/// at most, and the longer ones come first.
///
/// # Panics
///
/// Unless `rank < world_size`.
pub fn share(lanes: u32, world_size: u32, rank: u32) -> Range<u32> {
    let run = segment(lanes as usize, world_size as usize, rank as usize);
    let border = |lane: usize| u32::try_from(lane).expect("invariant: a border is no higher than `lanes`");
    border(run.start)..border(run.end)
}

/// The elements that `owner` owns of a vector of `len` elements shared out among `owners`.
pub(crate) fn segment(len: usize, owners: usize, owner: usize) -> Range<usize> {
    assert!(owner < owners, "share {owner} of {owners}");
    let (each, longer) = (len / owners, len % owners);
    let start = owner * each + owner.min(longer);
    start..start + each + usize::from(owner < longer)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `expected` are the ends of all ranks' shares.
    fn check(lanes: u32, world_size: u32, expected: &[u32]) {
        let ends: Vec<_> = (0..world_size).map(|rank| share(lanes, world_size, rank).end).collect();
        assert_eq!(ends, expected, "{lanes} lanes, {world_size} ranks");
    }

    #[test]
    fn shares_are_contiguous_and_the_longer_ones_come_first() {
        check(4, 1, &[4]);
        check(4, 2, &[2, 4]);
        check(4, 3, &[2, 3, 4]);
        check(8, 3, &[3, 6, 8]);
        check(3, 3, &[1, 2, 3]);
    }

    proptest! {
        #[test]
        fn shares_cover_everything_once_and_differ_by_one_at_most(len in 0_usize..100_000, owners in 1_usize..=64) {
            let shares: Vec<_> = (0..owners).map(|owner| segment(len, owners, owner)).collect();
            prop_assert_eq!(shares[0].start, 0);
            prop_assert_eq!(shares[owners - 1].end, len);
            prop_assert!(shares.windows(2).all(|pair| pair[0].end == pair[1].start));
            let longest = shares.iter().map(Range::len).max().unwrap_or(0);
            let shortest = shares.iter().map(Range::len).min().unwrap_or(0);
            prop_assert!(longest - shortest <= 1);
        }
    }
}
