//! The measures of each kind of target.
//!
//! In reading order: classes are counted (`confusion`, `counted`), summed (`probable`)
//! and ranked (`curve`, `plots`, `ranked`), all behind [`classes`]; numbers are summed
//! (`deviances`, `moments`) and ordered (`ordered`) behind [`numbers`]; then [`labels`],
//! [`ranking`], language ([`tokens`], [`translation`]) and [`clusters`].
//!
//! Each is an accumulator: `update` takes in a batch, `merge` another part, `finish` says
//! what all rows come to. Every sum is exact and every count whole, so a value is a function of
//! the rows alone: neither their order nor their parts change a bit. Metrics of order (areas,
//! curves, medians, ranks) are exact as well and keep the rows for that; there are no sketches.

pub mod classes;
pub mod clusters;
pub mod confusion;
pub(crate) mod counted;
pub mod curve;
pub(crate) mod deviances;
pub mod labels;
mod moments;
pub mod numbers;
mod ordered;
pub mod plots;
pub(crate) mod probable;
mod ranked;
pub mod ranking;
pub mod tokens;
pub mod translation;

pub use ordered::Residuals;
pub use probable::HingeLoss;
