//! Whether probabilities mean what they say: of all rows given 0.7, do 7 in 10 come true? Owns no
//! state.
//!
//! `curve` measures: reliability by bins, the errors that come from them, and the parts of the
//! Brier score. `scaling` and `isotonic` mend: a temperature, Platt's two numbers or a step function,
//! fitted on the validation split; [`Mended`] says what they do on the test split.
//!
//! One column serves every kind of target: of two classes, the probability of the positive one; of
//! more, the highest probability of the row and whether it is right ([`top_label`]).

mod curve;
mod isotonic;
mod mended;
mod scaling;

pub use curve::{
    BINS_MAX, Binning, BrierParts, Calibration, ReliabilityBin, brier_parts, calibration, top_label,
};
pub use isotonic::{Isotonic, fit_isotonic};
pub use mended::{Mended, ProbabilityScores, mended, mended_classes};
pub use scaling::{Platt, Temperature, fit_platt, fit_temperature};
