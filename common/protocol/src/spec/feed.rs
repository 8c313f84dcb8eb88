//! What `[train]` says of the way from the data set to the model: the order of samples, and how images are changed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the samples of an epoch are shuffled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Shuffle {
    /// All with all.
    Whole,
    /// Data shards with each other, and samples within a window of `shuffle_window` shards: the data set is read front to
    /// back, window by window, and need not fit on the worker's disk.
    Blocks,
}

/// Random changes to training images, drawn anew for each sample in each epoch: at most one of `shift` and `crop`, and
/// `flip`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AugmentSpec {
    /// Mirror half of them, left to right.
    pub flip: bool,
    /// Move by up to so many pixels up or down and left or right; what comes in at the border is 0, in images of floats the
    /// channel's mean.
    pub shift: u32,
    /// Move likewise, but what comes in at the border is the image mirrored there: a crop of the image with so many pixels
    /// of padding.
    pub crop: u32,
}
