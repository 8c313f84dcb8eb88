//! Where a model does badly: a metric on parts of the rows, ranked. Owns no state.
//!
//! A slice is a name and its rows (`slice`): of any mask, of the values of a column, of bins of a
//! column of numbers, of two slices together. Names are SQL conditions, the same that a gate and
//! `[evaluate] slices` are written in. `measure` resamples the table once for all slices and corrects
//! for their number.

mod measure;
mod slice;

pub use measure::{SLICES_MAX, SliceResult, SliceSettings, Slices, measure_slices};
pub use slice::{Bins, Slice, column_slices, intersections, number_slices};
