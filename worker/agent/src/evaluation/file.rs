//! What a finished model is worth on the rows of a file: the same as at the end of its job, but for what
//! needs another version or the model's own gradients.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use phalanx_assess::{Assessment, Exam, NoTable, Table, assess};
use phalanx_data::{PrepareError, RawColumn, RawRows, TargetKind, read_features, read_rows};
use phalanx_evaluate::{ClassScores, EvaluateError, NextBytes, Numbers, Predictions, decision::Decision};
use phalanx_protocol::spec::{Bound, EvaluateSpec};
use phalanx_train::{Predictor, Rows};

use super::{RawTable, deviation};

/// A file that a model cannot be evaluated on.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read, or lacks what the model needs.
    #[error(transparent)]
    Read(#[from] PrepareError),
    /// It does not say what is true.
    #[error(
        "{path}: there is no column `{target}`, which the model predicts: without it there is nothing to compare with"
    )]
    NoTarget {
        /// The file.
        path: PathBuf,
        /// The column.
        target: String,
    },
    /// A row's truth is none.
    #[error("{path}: row {row}: `{target}` is {found}, expected {expected}")]
    Truth {
        /// The file.
        path: PathBuf,
        /// The row, from 1, header lines left out.
        row: usize,
        /// The column.
        target: String,
        /// What stands there.
        found: String,
        /// What should.
        expected: String,
    },
    /// The rows cannot be measured.
    #[error("{path}: {error}")]
    Evaluate {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: EvaluateError,
    },
}

/// What the model says of a file's rows.
pub struct FilePredictions {
    /// It, as the model is served.
    pub predictions: Predictions,
    /// The file's columns; none of a text.
    pub columns: Option<RawTable>,
}

/// Predicts all rows of `file`, which has their truth.
///
/// # Errors
///
/// What is wrong with the file, and where.
pub fn predict_file(predictor: &Predictor, file: &Path) -> Result<FilePredictions, FileError> {
    let schema = predictor.schema();
    if let TargetKind::NextByte | TargetKind::NextToken { .. } = schema.target {
        let predictions = Predictions::NextBytes(text(predictor, file)?);
        return Ok(FilePredictions { predictions, columns: None });
    }
    let (mut probabilities, mut predictions, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    for read in read_rows(predictor.encoder(), file)? {
        let (batch, columns) = read?;
        plain.push(columns);
        match predictor.predict(&batch) {
            Rows::Classes { probabilities: more, .. } => probabilities.extend(more),
            Rows::Numbers(more) => predictions.extend(more),
            Rows::BitsPerByte(_) => {}
        }
    }
    let rows = RawRows::of_file(plain);
    let target = predictor.spec().data.target().unwrap_or_default().to_owned();
    let path = || file.to_owned();
    let truth =
        rows.column(&target).map_err(|_| FileError::NoTarget { path: path(), target: target.clone() })?;
    let wrong = |(row, found, expected): Wrong| FileError::Truth {
        path: path(),
        row: row + 1,
        target: target.clone(),
        found,
        expected,
    };
    let predictions = match &schema.target {
        TargetKind::Classes(classes) => Predictions::Classes(ClassScores {
            truths: class_truths(&truth, classes).map_err(wrong)?,
            classes: classes.clone(),
            probabilities,
            threshold: predictor.decision().least_probability(),
        }),
        TargetKind::Number { .. } | TargetKind::NextByte | TargetKind::NextToken { .. } => {
            Predictions::Numbers(Numbers { predictions, truths: number_truths(&truth).map_err(wrong)? })
        }
    };
    Ok(FilePredictions { predictions, columns: Some(RawTable(rows)) })
}

/// What is found out about a file's predictions. Gates against other versions are left out.
///
/// # Errors
///
/// Where there are no rows, or a prediction is none.
pub fn assess_file(
    predictor: &Predictor,
    file: &Path,
    predicted: &FilePredictions,
) -> Result<Assessment, FileError> {
    let spec = &predictor.spec().evaluate;
    let absolute = spec.gates.iter().filter(|gate| matches!(gate.bound, Bound::Number(_)));
    let spec = EvaluateSpec { gates: absolute.cloned().collect(), ..spec.clone() };
    let table: &dyn Table = match &predicted.columns {
        Some(columns) => columns,
        None => &NoTable,
    };
    let threshold = predictor.decision().threshold;
    let exam = Exam {
        spec: &spec,
        split: &file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
        predictions: &predicted.predictions,
        table,
        // They were mended when they were made.
        decision: Decision { temperature: None, threshold },
        validation: None,
        also: &[],
        deviation: deviation(&predictor.schema().target),
        rivals: &BTreeMap::new(),
        name: "this model",
    };
    assess(&exam).map_err(|error| FileError::Evaluate { path: file.to_owned(), error })
}

/// A truth that is none: its row, what stands there, and what should.
type Wrong = (usize, String, String);

fn class_truths(truth: &RawColumn, classes: &[String]) -> Result<Vec<u32>, Wrong> {
    let class = |(row, name): (usize, Option<String>)| {
        let found = name.as_ref().and_then(|name| classes.iter().position(|class| class == name));
        found.map(|class| class as u32).ok_or_else(|| {
            let found = name.map_or("missing".to_owned(), |name| format!("`{name}`"));
            (row, found, format!("one of the model's classes, {}", classes.join(", ")))
        })
    };
    match truth {
        RawColumn::Texts(texts) => texts.iter().cloned().enumerate().map(class).collect(),
        RawColumn::Numbers(numbers) => {
            let name = |number: &f64| (!number.is_nan()).then(|| number.to_string());
            numbers.iter().map(name).enumerate().map(class).collect()
        }
    }
}

fn number_truths(truth: &RawColumn) -> Result<Vec<f64>, Wrong> {
    let expected = || "a number".to_owned();
    match truth {
        RawColumn::Numbers(numbers) => match numbers.iter().position(|number| number.is_nan()) {
            Some(row) => Err((row, "missing".to_owned(), expected())),
            // As in training, where targets end as 32 bits.
            None => Ok(numbers.iter().map(|number| f64::from(*number as f32)).collect()),
        },
        RawColumn::Texts(texts) => {
            let is_none = |text: &Option<String>| {
                text.as_ref().is_none_or(|text| text.parse::<f64>().is_ok_and(f64::is_finite))
            };
            let row = texts.iter().position(|text| text.is_none() || !is_none(text)).unwrap_or_default();
            let found = texts.get(row).cloned().flatten();
            Err((row, found.map_or("missing".to_owned(), |text| format!("`{text}`")), expected()))
        }
    }
}

fn text(predictor: &Predictor, file: &Path) -> Result<NextBytes, FileError> {
    let mut text = NextBytes { loss_nats: Vec::new(), bytes: Vec::new() };
    for batch in read_features(predictor.encoder(), file)? {
        for (nats, bytes) in predictor.surprise(&batch?) {
            text.loss_nats.push(nats);
            text.bytes.push(bytes);
        }
    }
    Ok(text)
}
