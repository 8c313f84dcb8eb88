//! The evaluation of a finished model: from what all ranks have found out together to the figures that
//! the coordinator decides by, and to the report. One rank's work, after its trainer has ended.
//!
//! `kept` holds predictions as they are kept beside the model, so that a later version can be compared row by row,
//! and `folds` those of a cross-validation; `rivals` knows what the versions say that gates name; `table` has the
//! rows' columns; `report` is what is known beside figures. `file` does as much for a finished model and the rows of
//! a file. What is measured, and how, is `phalanx-assess`'s.

mod file;
mod folds;
mod kept;
mod report;
mod rivals;
mod table;

use std::sync::Arc;

use phalanx_assess::{Assessment, Exam, NoTable, Table, Validation, assess};
use phalanx_data::{Dataset, Split, TargetKind};
use phalanx_evaluate::Predictions;
use phalanx_protocol::message::Assignment;
use phalanx_report::{Mitigation, OnSplit, Report};
use phalanx_train::{Examined, Outcome, Tasks};
use rayon::ThreadPoolBuilder;

pub use file::{FileError, FilePredictions, assess_file, predict_file};
pub use folds::{FoldPredictions, write_folds};
pub use kept::{KeptPredictions, NotKept, read_predictions, write_predictions};
pub use report::about_file;
pub use rivals::predict_kept;
pub(crate) use rivals::{Incumbents, fetch};
pub use table::RawTable;

use crate::failure::TrainerFailed;

/// What is evaluated.
pub(crate) struct Evaluation {
    pub(crate) assignment: Assignment,
    pub(crate) dataset: Arc<Dataset>,
    pub(crate) outcome: Box<Outcome>,
    /// The models that this worker knows.
    pub(crate) tasks: Arc<Tasks>,
    pub(crate) incumbents: Incumbents,
    /// The columns of the test split and of the validation split, where they are needed and kept.
    pub(crate) tables: [Option<RawTable>; 2],
    /// The kind of this machine, and where it computes.
    pub(crate) machine: String,
    pub(crate) device: String,
}

/// What came out.
pub(crate) struct Evaluated {
    pub(crate) outcome: Box<Outcome>,
    /// Nothing where the test split is empty.
    pub(crate) assessment: Option<Assessment>,
    /// What is kept of the test split's predictions.
    pub(crate) kept: Option<KeptPredictions>,
    pub(crate) report: Report,
}

impl Evaluation {
    /// Finds everything out, on `threads` threads of its own. Blocks the thread it is called on.
    ///
    /// # Errors
    ///
    /// Where predictions are none, or there are no threads.
    pub(crate) fn run(self, threads: usize) -> Result<Evaluated, TrainerFailed> {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(|error| TrainerFailed::Thread(error.to_string()))?;
        pool.install(|| self.evaluate())
    }

    fn evaluate(self) -> Result<Evaluated, TrainerFailed> {
        let assessment = match &self.outcome.examined.test {
            None => None,
            Some(predictions) => Some(self.assess(predictions)?),
        };
        let mut report = self.about();
        self.examined(&mut report);
        if let Some(assessment) = assessment.clone() {
            assessment.fill(&mut report);
        }
        if let (Some(fairness), Some(weights)) = (&mut report.fairness, &self.dataset.manifest().weights) {
            fairness.found.mitigations.insert(0, Mitigation::Reweighing(weights.of.clone()));
        }
        for split in report.splits.iter_mut().take(1) {
            split.undefined.extend(self.outcome.examined.without.clone());
        }
        self.text(&mut report);
        let kept = self.kept();
        Ok(Evaluated { outcome: self.outcome, assessment, kept, report })
    }

    fn assess(&self, predictions: &Predictions) -> Result<Assessment, TrainerFailed> {
        fn table(kept: &Option<RawTable>) -> &dyn Table {
            kept.as_ref().map_or(&NoTable, |kept| kept as &dyn Table)
        }
        let Examined { validation, decision, .. } = &self.outcome.examined;
        let [test_table, validation_table] = &self.tables;
        let rivals = self.incumbents.rivals(&self.tasks, test_table.as_ref(), predictions);
        let exam = Exam {
            spec: &self.assignment.spec.evaluate,
            split: Split::Test.as_str(),
            predictions,
            table: table(test_table),
            decision: *decision,
            validation: validation.as_ref().map(|predictions| Validation {
                split: Split::Validation.as_str(),
                predictions,
                table: table(validation_table),
            }),
            also: &self.outcome.watched,
            deviation: deviation(&self.dataset.schema().target),
            rivals: &rivals,
            name: "this model",
        };
        assess(&exam).map_err(|error| TrainerFailed::Train(error.into()))
    }

    /// What the ranks have found out together.
    fn examined(&self, report: &mut Report) {
        fn on<T: Clone>((rows, found): &(u64, T)) -> OnSplit<T> {
            OnSplit { split: Split::Test.as_str().to_owned(), rows: *rows, found: found.clone() }
        }
        let Examined { importance, gradients, robustness, .. } = &self.outcome.examined;
        report.importance = importance.iter().map(on).collect();
        report.robustness = robustness.iter().map(on).collect();
        report.gradients = gradients.iter().map(|(class, found)| (class.clone(), on(found))).collect();
    }

    /// Text that the model wrote.
    fn text(&self, report: &mut Report) {
        if let Some(OnSplit { found: phalanx_report::Predictions::Text(text), .. }) = &mut report.predictions
        {
            text.sample.clone_from(&self.outcome.sample);
        }
    }

    fn kept(&self) -> Option<KeptPredictions> {
        let Examined { test, decision, .. } = &self.outcome.examined;
        Some(KeptPredictions {
            dataset: self.assignment.dataset.version.clone(),
            split: Split::Test.as_str().to_owned(),
            predictions: decision.apply(test.as_ref()?),
        })
    }
}

/// What training divides a target of numbers by.
fn deviation(target: &TargetKind) -> f64 {
    match target {
        TargetKind::Number { deviation, .. } => *deviation,
        TargetKind::Classes(_) | TargetKind::NextByte | TargetKind::NextToken { .. } => 1.0,
    }
}
