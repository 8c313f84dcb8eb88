//! Batches: some rows of a data set, as plain vectors.

/// One batch of rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// How many rows.
    pub rows: usize,
    /// Their features.
    pub features: Features,
    /// Their targets.
    pub targets: Targets,
    /// How much each counts in training, 1 on average over the training split; `None` where all count the same.
    pub weights: Option<Vec<f32>>,
}

impl Batch {
    /// Rows that all count the same.
    pub fn new(rows: usize, features: Features, targets: Targets) -> Self {
        Self { rows, features, targets, weights: None }
    }
}

/// Features, row after row.
#[derive(Debug, Clone, PartialEq)]
pub enum Features {
    /// `rows × width` numbers, encoded and standardised.
    Floats(Vec<f32>),
    /// `rows × (c·h·w)` raw pixels, or `rows × context` bytes of text.
    Bytes(Vec<u8>),
    /// `rows × context` tokens.
    Tokens(Vec<u16>),
}

/// Targets, row after row.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// Indices into the classes of the schema.
    Classes(Vec<u32>),
    /// Numbers in their own units.
    Numbers(Vec<f32>),
    /// `rows × context`: the byte after each byte of the features.
    Bytes(Vec<u8>),
    /// `rows × context`: the token after each token of the features.
    Tokens(Vec<u16>),
    /// None: the rows are to be predicted.
    None,
}
