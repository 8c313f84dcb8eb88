//! Augmentation: random changes to training images. What is drawn is a pure function of seed, epoch and row, so that a
//! sample looks the same whichever worker computes it.

use phalanx_protocol::spec::AugmentSpec;

use crate::{Features, order::mixed};

/// The changes of one epoch.
#[derive(Debug, Clone)]
pub struct Augment {
    spec: AugmentSpec,
    shape: [usize; 3],
    key: u64,
}

/// What happens to one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Change {
    mirrored: bool,
    /// Pixels down and to the right.
    moved: [isize; 2],
}

impl Augment {
    /// The changes that `spec` asks for in epoch `epoch` of a training with `seed`, to images of this shape (channels,
    /// height, width).
    pub fn new(spec: &AugmentSpec, shape: [usize; 3], seed: u64, epoch: u64) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"phalanx augmentation").update(&seed.to_le_bytes()).update(&epoch.to_le_bytes());
        let mut key = [0; 8];
        hasher.finalize_xof().fill(&mut key);
        Self { spec: spec.clone(), shape, key: u64::from_le_bytes(key) }
    }

    /// Changes the images of `rows`, one after the other, where they lie.
    pub fn apply(&self, features: &mut Features, rows: &[u64]) {
        match features {
            Features::Bytes(values) => self.change_all(values, rows),
            Features::Floats(values) => self.change_all(values, rows),
            // Tokens are no images.
            Features::Tokens(_) => {}
        }
    }

    fn change_all<T: Copy + Default>(&self, values: &mut [T], rows: &[u64]) {
        let width: usize = self.shape.iter().product();
        let mut before = Vec::with_capacity(width);
        for (image, row) in values.chunks_exact_mut(width.max(1)).zip(rows) {
            let change = self.drawn(*row);
            if change != (Change { mirrored: false, moved: [0, 0] }) {
                before.clear();
                before.extend_from_slice(image);
                self.change(change, &before, image);
            }
        }
    }

    /// What happens to the image of `row`.
    fn drawn(&self, row: u64) -> Change {
        let mut drawn = mixed(self.key ^ mixed(row));
        let mirrored = self.spec.flip && drawn & 1 == 1;
        let pixels = u64::from(self.spec.shift.max(self.spec.crop));
        let moved = [(); 2].map(|()| {
            drawn = mixed(drawn ^ self.key);
            // So many places that the remainder favours none that could be noticed.
            (drawn % (2 * pixels + 1)) as isize - pixels as isize
        });
        Change { mirrored, moved }
    }

    fn change<T: Copy + Default>(&self, change: Change, before: &[T], image: &mut [T]) {
        let [_, height, width] = self.shape;
        for (channel, source) in
            image.chunks_exact_mut(height * width).zip(before.chunks_exact(height * width))
        {
            for (y, line) in channel.chunks_exact_mut(width).enumerate() {
                let from_y = self.source(y as isize - change.moved[0], height);
                for (x, pixel) in line.iter_mut().enumerate() {
                    let x = if change.mirrored { width - 1 - x } else { x };
                    let from_x = self.source(x as isize - change.moved[1], width);
                    *pixel = match (from_y, from_x) {
                        (Some(y), Some(x)) => source[y * width + x],
                        (None, _) | (_, None) => T::default(),
                    };
                }
            }
        }
    }

    /// The place on a side of `length` pixels that shows at `place`, which may be beyond its ends.
    fn source(&self, place: isize, length: usize) -> Option<usize> {
        let last = length as isize - 1;
        if (0..=last).contains(&place) {
            return Some(place as usize);
        }
        // As many pixels as it is beyond the border, on this side of it.
        let mirrored = if place < 0 { -place } else { 2 * last - place };
        (self.spec.crop > 0).then_some(mirrored.clamp(0, last) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn augment(flip: bool, shift: u32, crop: u32) -> Augment {
        Augment::new(&AugmentSpec { flip, shift, crop }, [1, 2, 3], 7, 3)
    }

    fn changed(augment: &Augment, mirrored: bool, moved: [isize; 2]) -> Vec<u8> {
        let before = [1, 2, 3, 4, 5, 6];
        let mut image = before;
        augment.change(Change { mirrored, moved }, &before, &mut image);
        image.to_vec()
    }

    #[test]
    fn images_are_mirrored_and_moved() {
        let check = |augment: &Augment, mirrored, moved, expected: [u8; 6]| {
            assert_eq!(changed(augment, mirrored, moved), expected, "{mirrored} {moved:?}");
        };
        let shift = augment(true, 1, 0);
        check(&shift, true, [0, 0], [3, 2, 1, 6, 5, 4]);
        check(&shift, false, [1, 0], [0, 0, 0, 1, 2, 3]);
        check(&shift, false, [0, 1], [0, 1, 2, 0, 4, 5]);
        check(&shift, false, [-1, -1], [5, 6, 0, 0, 0, 0]);
        let crop = augment(true, 0, 1);
        check(&crop, false, [0, 1], [2, 1, 2, 5, 4, 5]);
        check(&crop, false, [1, 0], [4, 5, 6, 1, 2, 3]);
        check(&crop, false, [0, -1], [2, 3, 2, 5, 6, 5]);
    }

    #[test]
    fn what_happens_to_a_row_depends_on_seed_epoch_and_row_alone() {
        let spec = AugmentSpec { flip: true, shift: 2, crop: 0 };
        let drawn = |seed, epoch| {
            let augment = Augment::new(&spec, [1, 28, 28], seed, epoch);
            (0..500).map(|row| augment.drawn(row)).collect::<Vec<_>>()
        };
        assert_eq!(drawn(1, 1), drawn(1, 1));
        assert_ne!(drawn(1, 1), drawn(2, 1));
        assert_ne!(drawn(1, 1), drawn(1, 2));
        let mirrored = drawn(1, 1).iter().filter(|change| change.mirrored).count();
        assert!((200..300).contains(&mirrored), "{mirrored}");
        for pixels in -2..=2 {
            let moved = drawn(1, 1).iter().filter(|change| change.moved[0] == pixels).count();
            assert!((60..140).contains(&moved), "{moved} by {pixels}");
        }

        let augment = Augment::new(&spec, [1, 1, 2], 1, 1);
        let together = {
            let mut features = Features::Bytes((0..40).collect());
            augment.apply(&mut features, &(0..20).collect::<Vec<_>>());
            features
        };
        let apart = (0..20_u8).flat_map(|row| {
            let mut features = Features::Bytes(vec![2 * row, 2 * row + 1]);
            augment.apply(&mut features, &[row.into()]);
            let Features::Bytes(bytes) = features else { panic!("they are bytes") };
            bytes
        });
        assert_eq!(together, Features::Bytes(apart.collect()));
    }
}
