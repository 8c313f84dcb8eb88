//! Many tensors of uneven sizes, reduced in a few pieces. A plan is a function of the
//! tensors' lengths and the size of a bucket alone; that all ranks have the same is
//! checked by its hash. Memory and sums are not known to it.

use std::ops::Range;

/// The size of a bucket where nothing else is set.
pub const BUCKET_BYTES_DEFAULT: usize = 25 << 20;

/// Which tensors are reduced together. Tensors keep their order, which is best the one in
/// which their gradients become ready; none is cut, so that one larger than a bucket has
/// a bucket of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketPlan {
    /// Where each tensor begins in the vector of them all, and where the last one ends.
    offsets: Vec<usize>,
    /// The tensors of each bucket.
    buckets: Vec<Range<usize>>,
}

impl BucketPlan {
    /// The plan for tensors of these lengths, in elements, and buckets of up to
    /// `bucket_bytes` ([`BUCKET_BYTES_DEFAULT`]).
    pub fn new(tensor_lens: &[usize], bucket_bytes: usize) -> Self {
        Self::of_groups(&[tensor_lens], bucket_bytes)
    }

    /// The plan for groups of tensors, one behind the other, of which no two share a bucket.
    pub fn of_groups(groups: &[&[usize]], bucket_bytes: usize) -> Self {
        let mut offsets = vec![0];
        let mut buckets: Vec<Range<usize>> = Vec::new();
        let mut end = 0;
        for group in groups {
            let first = buckets.len();
            for len in *group {
                let tensor = offsets.len() - 1;
                end += len;
                offsets.push(end);
                match buckets[first..].last_mut() {
                    Some(last) if (end - offsets[last.start]) * size_of::<f32>() <= bucket_bytes => {
                        last.end = tensor + 1;
                    }
                    Some(_) | None => buckets.push(tensor..tensor + 1),
                }
            }
        }
        Self { offsets, buckets }
    }

    /// How many buckets there are.
    pub fn len(&self) -> usize {
        self.buckets.len()
    }

    /// Whether there is no tensor.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// The tensors of a bucket.
    ///
    /// # Panics
    ///
    /// Where there is no such bucket.
    pub fn tensors(&self, bucket: usize) -> Range<usize> {
        self.buckets[bucket].clone()
    }

    /// The elements of a bucket in the vector of all tensors.
    ///
    /// # Panics
    ///
    /// Where there is no such bucket.
    pub fn elements(&self, bucket: usize) -> Range<usize> {
        let tensors = &self.buckets[bucket];
        self.offsets[tensors.start]..self.offsets[tensors.end]
    }

    /// The bucket of a tensor, and the tensor's elements in it.
    ///
    /// # Panics
    ///
    /// Where there is no such tensor.
    pub fn place(&self, tensor: usize) -> (usize, Range<usize>) {
        let bucket = self.buckets.partition_point(|tensors| tensors.end <= tensor);
        let first = self.offsets[self.buckets[bucket].start];
        (bucket, self.offsets[tensor] - first..self.offsets[tensor + 1] - first)
    }

    /// The same for equal plans, and hardly ever for others: 64-bit FNV-1a over lengths
    /// and borders, the same in every process.
    pub fn hash(&self) -> u64 {
        let borders = self.buckets.iter().map(|tensors| tensors.end);
        let words = [self.offsets.len()].into_iter().chain(self.offsets.iter().copied()).chain(borders);
        words
            .flat_map(|word| (word as u64).to_le_bytes())
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `expected` are the ends of all buckets.
    fn check(lens: &[usize], bucket_bytes: usize, expected: &[usize]) {
        let plan = BucketPlan::new(lens, bucket_bytes);
        let ends: Vec<_> = plan.buckets.iter().map(|tensors| tensors.end).collect();
        assert_eq!(ends, expected, "{lens:?}");
    }

    #[test]
    fn tensors_share_a_bucket_until_it_is_full() {
        check(&[], 16, &[]);
        check(&[1, 1, 2, 1], 16, &[3, 4]);
        check(&[9, 1, 9], 16, &[1, 2, 3]);
        check(&[0, 0, 4, 0], 16, &[4]);
        check(&[3], 0, &[1]);
    }

    #[test]
    fn groups_share_no_bucket() {
        let plan = BucketPlan::of_groups(&[&[1, 1], &[], &[1, 2, 9]], 16);
        assert_eq!(plan.buckets, [0..2, 2..4, 4..5]);
        assert_eq!(plan.place(3), (1, 1..3));
    }

    #[test]
    fn another_length_or_border_is_another_hash() {
        let hashes = [
            BucketPlan::new(&[4, 4], 16).hash(),
            BucketPlan::new(&[4, 4], 32).hash(),
            BucketPlan::new(&[8], 32).hash(),
            BucketPlan::new(&[4, 4, 0], 32).hash(),
            BucketPlan::new(&[], 32).hash(),
        ];
        for (nth, hash) in hashes.iter().enumerate() {
            assert!(!hashes[..nth].contains(hash));
        }
        assert_eq!(hashes[0], BucketPlan::new(&[4, 4], 20).hash());
    }

    proptest! {
        #[test]
        fn every_tensor_has_one_place(lens in prop::collection::vec(0_usize..50, 0..40), bucket_bytes in 0_usize..400) {
            let plan = BucketPlan::new(&lens, bucket_bytes);
            let mut next = (0, 0);
            for (tensor, len) in lens.iter().enumerate() {
                let (bucket, elements) = plan.place(tensor);
                prop_assert!(plan.tensors(bucket).contains(&tensor));
                prop_assert_eq!(elements.len(), *len);
                if bucket == next.0 + 1 {
                    next = (bucket, 0);
                }
                prop_assert_eq!((bucket, elements.start), next);
                next.1 = elements.end;
                prop_assert!(next.1 <= plan.elements(bucket).len());
            }
            for bucket in 0..plan.len() {
                let alone = plan.tensors(bucket).len() == 1;
                prop_assert!(alone || plan.elements(bucket).len() * 4 <= bucket_bytes);
            }
        }
    }
}
