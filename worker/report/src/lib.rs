//! What a model is worth, where it came from, and how far to trust that, on one page.
//!
//! In reading order: everything that is known of one model version ([`Report`]), in parts: who it
//! is (`identity`), what it was made of (`dataset`), how it was trained (`training`), what its
//! predictions are worth (`measured`, `classes`, `numbers`), and to whom (`fairness`); then the file
//! that holds all of it, `report.json` (`json`). From it come the page for people ([`Report::to_html`]:
//! `page`, drawn with `plot`), and the model card ([`Report::to_model_card`]: `card`). A dataset version has a
//! page of its own ([`DatasetPage`]: `profile`).
//!
//! Architecture invariants: this crate is pure. It knows no tensors, no files, no workers and no
//! clock. It measures nothing: figures come from `phalanx-evaluate`, and every figure of the page is a
//! field of the JSON.

mod card;
mod classes;
mod dataset;
mod digits;
mod fairness;
mod identity;
mod json;
mod measured;
mod numbers;
mod page;
mod plot;
mod pointer;
mod profile;
mod report;
mod training;

pub use classes::{CalibrationPart, ClassCurves, ClassPart, Mending, MendingMethod, ThresholdPart};
pub use dataset::{Column, Dataset, Expectation, Funnel, Source, SplitRows, Step};
pub use fairness::{FairnessOf, FairnessPart, Mitigation};
pub use identity::{About, Command, Environment, Identity, Reproduction, Task};
pub use json::{REPORT_BYTES_MAX, ReportError};
pub use measured::{Measured, OnSplit, SplitMetrics};
pub use numbers::{Histogram, NumberPart, PREDICTED_MAX, Predicted};
pub use profile::{DatasetPage, Profile, ProfileOf};
pub use report::{FORMAT, Predictions, Report, TextPart};
pub use training::{StepValue, Training};
