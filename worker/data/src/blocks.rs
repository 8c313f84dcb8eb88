//! Shuffling a data set that is read front to back: the order of an epoch is a permutation of blocks, cut into windows of
//! some blocks, and of the rows of each window. Like [`Order`], a pure function of seed, epoch and position; how much
//! fits on a machine is none of its arguments.
//!
//! ```text
//! blocks            0 1 2 3 4 5 6 7
//! permuted          5 2 7 0 │ 3 6 1 4        two windows of four blocks
//! rows              those of 5, 2, 7 and 0 in any order, then those of 3, 6, 1 and 4
//! ```

use crate::Order;

/// The order of the rows of one epoch.
#[derive(Debug, Clone)]
pub enum EpochOrder {
    /// All rows with each other.
    Whole(Order),
    /// Window by window.
    Blocks(BlockOrder),
}

/// Rows in blocks, blocks in windows.
#[derive(Debug, Clone)]
pub struct BlockOrder {
    block_rows: u64,
    /// Blocks in their order; in the window that has the last block, which may be short, it stands last.
    blocks: Vec<u64>,
    window_blocks: usize,
    /// Of each window.
    windows: Vec<Window>,
}

#[derive(Debug, Clone)]
struct Window {
    /// The first position beyond it.
    end: u64,
    start: u64,
    order: Order,
}

impl EpochOrder {
    /// The row at `position`.
    ///
    /// # Panics
    ///
    /// If `position` is not below the number of rows: a bug of the caller.
    pub fn at(&self, position: u64) -> u64 {
        match self {
            Self::Whole(order) => order.at(position),
            Self::Blocks(blocks) => blocks.at(position),
        }
    }

    /// The window that a position is in, and how many there are; `None` where there are no windows.
    pub fn window(&self, position: u64) -> Option<(usize, usize)> {
        match self {
            Self::Whole(_) => None,
            Self::Blocks(blocks) => Some((blocks.window_of(position), blocks.windows.len())),
        }
    }

    /// The blocks, which are shards, of a window.
    pub fn blocks(&self, window: usize) -> impl Iterator<Item = usize> {
        let blocks = match self {
            Self::Whole(_) => &[],
            Self::Blocks(order) => order.blocks_of(window),
        };
        blocks.iter().map(|block| *block as usize)
    }
}

impl BlockOrder {
    /// The order of `len` rows in blocks of `block_rows`, shuffled within `window_blocks` of them.
    pub fn new(seed: u64, epoch: u64, len: u64, block_rows: u64, window_blocks: u32) -> Self {
        let block_rows = block_rows.max(1);
        let count = len.div_ceil(block_rows);
        let order = Order::keyed("phalanx order of the blocks of an epoch", seed, epoch, count);
        let mut blocks: Vec<u64> = (0..count).map(|position| order.at(position)).collect();
        let window_blocks = window_blocks.max(1) as usize;
        let mut windows = Vec::with_capacity(blocks.len().div_ceil(window_blocks));
        let mut start = 0;
        for (number, blocks) in blocks.chunks_mut(window_blocks).enumerate() {
            if let Some(place) = blocks.iter().position(|block| *block + 1 == count) {
                blocks.swap(place, blocks.len() - 1);
            }
            let rows: u64 = blocks.iter().map(|block| block_rows.min(len - block * block_rows)).sum();
            // Each window of each epoch has a number of its own.
            let number = (epoch << 32) ^ number as u64;
            let order = Order::keyed("phalanx order of the rows of a window", seed, number, rows);
            windows.push(Window { start, end: start + rows, order });
            start += rows;
        }
        Self { block_rows, blocks, window_blocks, windows }
    }

    fn at(&self, position: u64) -> u64 {
        let number = self.window_of(position);
        let window = &self.windows[number];
        let row = window.order.at(position - window.start);
        let block = self.blocks_of(number)[(row / self.block_rows) as usize];
        block * self.block_rows + row % self.block_rows
    }

    /// Blocks in a window; the last one may have fewer.
    pub(crate) fn window_blocks(&self) -> usize {
        self.window_blocks
    }

    fn window_of(&self, position: u64) -> usize {
        let number = self.windows.partition_point(|window| window.end <= position);
        assert!(number < self.windows.len(), "position {position} is beyond the last row");
        number
    }

    fn blocks_of(&self, window: usize) -> &[u64] {
        let start = (window * self.window_blocks).min(self.blocks.len());
        &self.blocks[start..(start + self.window_blocks).min(self.blocks.len())]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn rows(order: &BlockOrder, len: u64) -> Vec<u64> {
        (0..len).map(|position| order.at(position)).collect()
    }

    #[test]
    fn the_order_is_the_same_on_every_machine_and_in_every_version() {
        // These numbers are part of the promise of the same bits: they must never change.
        assert_eq!(rows(&BlockOrder::new(0, 0, 10, 2, 2), 10), [4, 5, 7, 6, 0, 2, 1, 3, 8, 9]);
    }

    proptest! {
        #[test]
        fn the_order_is_a_permutation_and_pure(
            seed: u64,
            epoch in 0_u64..1_000,
            len in 0_u64..2_000,
            block_rows in 1_u64..100,
            window_blocks in 1_u32..12,
        ) {
            let order = BlockOrder::new(seed, epoch, len, block_rows, window_blocks);
            let found = rows(&order, len);
            let distinct: BTreeSet<u64> = found.iter().copied().collect();
            prop_assert_eq!(distinct.len() as u64, len);
            prop_assert!(found.iter().all(|row| *row < len));
            prop_assert_eq!(&found, &rows(&BlockOrder::new(seed, epoch, len, block_rows, window_blocks), len));
            // Asked from the back, as any rank may ask for any position.
            let backwards: Vec<u64> = (0..len).rev().map(|position| order.at(position)).collect();
            prop_assert!(backwards.iter().rev().eq(found.iter()));
            // Each window's rows are those of its blocks.
            for (position, row) in (0..).zip(&found) {
                let blocks = order.blocks_of(order.window_of(position));
                prop_assert!(blocks.contains(&(row / block_rows)));
                prop_assert!(blocks.len() <= window_blocks as usize);
            }
        }

        #[test]
        fn another_epoch_or_seed_is_another_order(seed: u64, epoch in 0_u64..1_000, len in 200_u64..500) {
            let this = rows(&BlockOrder::new(seed, epoch, len, 20, 4), len);
            prop_assert_ne!(&this, &rows(&BlockOrder::new(seed, epoch + 1, len, 20, 4), len));
            prop_assert_ne!(&this, &rows(&BlockOrder::new(seed.wrapping_add(1), epoch, len, 20, 4), len));
        }
    }
}
