//! One lane's gradient in buckets that stay where they were computed: what GPUs reduce
//! without a way through the processor's memory. The numbers are those that
//! [`Learner::gradient`](crate::Learner::gradient) writes, at the same places.

use burn::tensor::{Device, Tensor, TensorData};

use crate::layout::{Layout, TAIL};

/// Puts the buckets together. `slots` has what belongs to each tensor of the model, in
/// walking order; what is absent is zeros.
pub(crate) fn buckets(
    layout: &Layout,
    slots: Vec<Option<Tensor<1>>>,
    tail: [f32; TAIL],
    device: &Device,
) -> Vec<Tensor<1>> {
    let mut parts: Vec<Vec<(usize, Tensor<1>)>> = layout.bucket_lens().iter().map(|_| Vec::new()).collect();
    let tail = Tensor::from_data(TensorData::new(tail.to_vec(), [TAIL]), device);
    parts[layout.tail().bucket].push((layout.tail().range.start, tail));
    for (slot, numbers) in layout.slots().iter().zip(slots) {
        let (place, len) = (&slot.place, slot.place.range.len());
        if len > 0 {
            let numbers = numbers.unwrap_or_else(|| Tensor::zeros([len], device));
            parts[place.bucket].push((place.range.start, numbers));
        }
    }
    let joined = |mut parts: Vec<(usize, Tensor<1>)>| {
        parts.sort_by_key(|(start, _)| *start);
        Tensor::cat(parts.into_iter().map(|(_, numbers)| numbers).collect(), 0)
    };
    parts.into_iter().map(joined).collect()
}
