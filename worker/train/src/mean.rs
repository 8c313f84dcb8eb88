//! The mean over all lanes of what a step has reduced, read from where the sums lie: they
//! may lie in other ranks' memory, and nobody writes to them.

use crate::layout::{Layout, Place};

/// Sums over lanes, and what makes means of them.
#[derive(Debug, Clone)]
pub struct Mean<'a> {
    /// Bucket by bucket.
    sums: Vec<&'a [f32]>,
    lanes: f32,
    /// What gradients are scaled by, where they were too long.
    clip: Option<f32>,
}

impl<'a> Mean<'a> {
    /// The mean over `lanes` lanes.
    pub fn new(sums: Vec<&'a [f32]>, lanes: u32) -> Self {
        Self { sums, lanes: lanes as f32, clip: None }
    }

    /// What is at a place of the layout, unclipped.
    pub(crate) fn of(&self, place: &Place) -> impl Iterator<Item = f32> + '_ {
        let lanes = self.lanes;
        place.of(&self.sums).iter().map(move |sum| sum / lanes)
    }

    /// The gradient at a place of the layout.
    pub(crate) fn gradient(&self, place: &Place) -> Vec<f32> {
        match self.clip {
            None => self.of(place).collect(),
            Some(factor) => self.of(place).map(|mean| mean * factor).collect(),
        }
    }

    /// Whether every number is one.
    pub(crate) fn is_finite(&self) -> bool {
        // Without a way out in the midst of it, so that the loop is one of vectors.
        self.sums.iter().all(|sums| sums.iter().fold(true, |finite, sum| finite & sum.is_finite()))
    }

    /// Scales the gradients of all parameters together to a norm of at most `norm_max`.
    /// The squares are added in f64 in an order that the model alone decides.
    pub(crate) fn clip(&mut self, layout: &Layout, norm_max: f64) {
        let trained = layout.slots().iter().filter(|slot| slot.trained);
        let norm = trained.map(|slot| self.squares(&slot.place)).sum::<f64>().sqrt();
        self.clip = (norm > norm_max).then(|| (norm_max / norm) as f32);
    }

    /// The sum of squares, in an order that the length alone decides and that has no long chain.
    fn squares(&self, place: &Place) -> f64 {
        let mut squares = [0.0_f64; 8];
        for sums in place.of(&self.sums).chunks(squares.len()) {
            squares
                .iter_mut()
                .zip(sums)
                .for_each(|(square, sum)| *square += f64::from(sum / self.lanes).powi(2));
        }
        squares.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use burn::{nn::LinearConfig, tensor::Device};

    use super::*;
    use crate::layout::{self, TAIL};

    #[test]
    fn a_gradient_is_clipped_to_the_norm_of_all_its_numbers_together() {
        let device = Device::flex().autodiff();
        let layer = layout::with_ids(LinearConfig::new(1, 1).init(&device));
        let layout = Layout::of(&layer, 4, false).expect("it is of f32");
        // The bias, the weight, and the tail, which is no gradient; over two lanes.
        let (bias, weight, tail) = ([6.0], [8.0], [200.0; TAIL]);
        let clipped = |norm_max: f64| {
            let mut mean = Mean::new(vec![&bias, &weight, &tail], 2);
            mean.clip(&layout, norm_max);
            let gradients: Vec<_> =
                layout.slots().iter().flat_map(|slot| mean.gradient(&slot.place)).collect();
            assert_eq!(mean.of(layout.tail()).collect::<Vec<_>>(), [100.0; TAIL]);
            gradients
        };
        for (actual, expected) in clipped(1.0).into_iter().zip([0.8, 0.6]) {
            assert!((actual - expected).abs() < 1e-6);
        }
        assert_eq!(clipped(5.0), [4.0, 3.0], "a shorter one stays as it is");
    }

    #[test]
    fn one_number_that_is_none_is_found() {
        let numbers = [1.0, f32::MAX, 0.0];
        assert!(Mean::new(vec![&numbers], 1).is_finite());
        assert!(!Mean::new(vec![&numbers, &[f32::INFINITY]], 1).is_finite());
        assert!(!Mean::new(vec![&[f32::NAN], &numbers], 1).is_finite());
    }
}
