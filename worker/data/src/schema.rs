//! What a model must know of a data set, and nothing more: the form of its
//! input and the form of its answer. Plain values, stored with the model.

use serde::{Deserialize, Serialize};

/// What a model must know of a data set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schema {
    /// The form of a row's features.
    pub features: FeatureKind,
    /// The form of a row's target.
    pub target: TargetKind,
}

/// The form of a row's features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FeatureKind {
    /// A vector of numbers, encoded and standardised ([`Features::Floats`](crate::Features::Floats)).
    Dense {
        /// Numbers in a row.
        width: usize,
    },
    /// An image. A source of integers gives raw pixels ([`Features::Bytes`](crate::Features::Bytes)),
    /// to be scaled by 1/255 and then standardised; a source of floats gives
    /// numbers that are standardised already ([`Features::Floats`](crate::Features::Floats)).
    Image {
        /// Channels, height, width; a row lists them in this order.
        shape: [usize; 3],
        /// Mean of the training split's pixels, after scaling; of each channel.
        mean: Vec<f32>,
        /// Deviation of the training split's pixels, after scaling; of each channel, above zero.
        deviation: Vec<f32>,
    },
    /// A stretch of text ([`Features::Bytes`](crate::Features::Bytes)).
    Bytes {
        /// Bytes in a row.
        context: usize,
    },
    /// A stretch of text, cut into tokens ([`Features::Tokens`](crate::Features::Tokens)).
    Tokens {
        /// Tokens in a row.
        context: usize,
    },
}

/// The form of a row's target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TargetKind {
    /// One of these classes, by index; sorted, as numbers if all are integers.
    Classes(Vec<String>),
    /// A number in its own units.
    Number {
        /// Mean over the training split.
        mean: f64,
        /// Deviation over the training split; above zero.
        deviation: f64,
    },
    /// For each byte of the features, the byte that follows it.
    NextByte,
    /// For each token of the features, the token that follows it.
    NextToken {
        /// Bytes of each token; as many as there are tokens. By them what a model says of tokens is told of bytes.
        lengths: Vec<u32>,
    },
}
