//! Plots as SVG, drawn for one purpose: to stand in a page without a script, in its light and dark
//! colours, on paper, and a hand's width wide. All colours are the style sheet's (`series-1`, `grid`).
//!
//! A plot shows figures that stand in a table beside it; it owns none. Its numbers are those of its
//! axes alone, and whoever cannot see it hears its title.
//!
//! `scale` maps numbers, `chart` draws axes and marks, `row` the small drawings within the rows of
//! a table.

mod chart;
mod row;
mod scale;

pub(crate) use chart::{Axis, Chart, Mark, SERIES_MAX, Shape, colour};
pub(crate) use row::{RowScale, Tone};
pub(crate) use scale::Scale;
