//! `phalanx predict`: a model of the registry, applied to a file. Computes in
//! this process, with the models that are built in.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use phalanx_data::{PrepareError, TargetKind, read_features};
use phalanx_train::{Predictor, Rows};

use super::{model::ModelName, registered::Registered};
use crate::{
    connect::Where,
    error::{CliError, Exit},
    output::write_whole,
    show,
};

/// Apply a model to a CSV, Parquet or text file, and write predictions as CSV
///
/// The file needs the columns that the model was trained on; others, and the target, are not
/// read. Classes come with the probability of each; of text, the bits per byte of each window.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  phalanx predict mnist digits.parquet
  phalanx predict adult@champion people.csv --output incomes.csv")]
pub(crate) struct Predict {
    /// The model, or one version of it by number or alias; the newest by default
    #[arg(value_name = "NAME[@VERSION|@ALIAS]")]
    model: ModelName,

    /// What to predict
    file: PathBuf,

    /// Write to this file; to standard output by default
    #[arg(long, value_name = "FILE.csv")]
    output: Option<PathBuf>,

    #[command(flatten)]
    at: Where,
}

/// Why a file was not predicted to its end.
#[derive(Debug, thiserror::Error)]
enum PredictError {
    /// The file cannot be read, or is not what the model needs.
    #[error(transparent)]
    Input(#[from] PrepareError),
    /// The predictions cannot be written.
    #[error("the predictions cannot be written: {0}")]
    Write(#[from] io::Error),
}

impl Predict {
    /// Predicts.
    pub(crate) async fn run(self) -> Result<Exit, CliError> {
        let connection = self.at.connect().await?;
        let found = Registered::find(connection.client(), &self.model).await;
        connection.close().await;
        let predictor = found?.predictor().await?;
        match &self.output {
            None => match self.predict(&predictor, &mut io::stdout().lock()) {
                // `| head` has seen enough.
                Err(PredictError::Write(e)) if e.kind() == io::ErrorKind::BrokenPipe => {}
                predicted => drop(predicted?),
            },
            Some(output) => {
                let rows = self.write(&predictor, output)?;
                anstream::eprintln!("{}: {} rows", output.display(), show::count(rows));
            }
        }
        Ok(Exit::Done)
    }

    /// Writes the predictions to a file, whole or not at all.
    fn write(&self, predictor: &Predictor, output: &Path) -> Result<u64, CliError> {
        let cannot = |e: io::Error| CliError::failed(format!("{} cannot be written: {e}", output.display()));
        let same = |a: &Path, b: &Path| Some(fs::canonicalize(a).ok()? == fs::canonicalize(b).ok()?);
        if same(output, &self.file) == Some(true) {
            return Err(CliError::usage("--output is the file that is to be predicted: it would be lost"));
        }
        write_whole(output, |file| self.predict(predictor, file)).map_err(|error| match error {
            PredictError::Write(error) => cannot(error),
            PredictError::Input(_) => error.into(),
        })
    }

    /// Predicts all rows of the file; returns how many there were.
    fn predict(&self, predictor: &Predictor, out: &mut dyn Write) -> Result<u64, PredictError> {
        let target = &predictor.schema().target;
        let batches = read_features(predictor.encoder(), &self.file)?;
        let mut table = csv::Writer::from_writer(out);
        table.write_record(head(target))?;
        let mut rows = 0;
        for batch in batches {
            let batch = batch?;
            rows += batch.rows as u64;
            for record in records(target, predictor.predict(&batch)) {
                table.write_record(record)?;
            }
        }
        table.flush().map_err(PredictError::Write)?;
        Ok(rows)
    }
}

impl From<csv::Error> for PredictError {
    fn from(error: csv::Error) -> Self {
        match error.into_kind() {
            csv::ErrorKind::Io(error) => Self::Write(error),
            other => Self::Write(io::Error::other(format!("{other:?}"))),
        }
    }
}

impl From<PredictError> for CliError {
    fn from(error: PredictError) -> Self {
        match error {
            PredictError::Input(error) => Self::usage(error),
            PredictError::Write(_) => Self::failed(error),
        }
    }
}

fn head(target: &TargetKind) -> Vec<String> {
    match target {
        TargetKind::Classes(classes) => {
            let probabilities = classes.iter().map(|class| format!("probability[{class}]"));
            std::iter::once("prediction".to_owned()).chain(probabilities).collect()
        }
        TargetKind::Number { .. } => vec!["prediction".to_owned()],
        TargetKind::NextByte | TargetKind::NextToken { .. } => vec!["bits_per_byte".to_owned()],
    }
}

fn records(target: &TargetKind, rows: Rows) -> Vec<Vec<String>> {
    match (rows, target) {
        (Rows::Classes { decisions, probabilities }, TargetKind::Classes(classes)) => {
            let rows = decisions.iter().zip(probabilities.chunks_exact(classes.len().max(1)));
            let record = |(index, row): (&usize, &[f32])| {
                let class = classes.get(*index).cloned().unwrap_or_default();
                std::iter::once(class).chain(row.iter().map(ToString::to_string)).collect()
            };
            rows.map(record).collect()
        }
        (
            Rows::Classes { decisions, .. },
            TargetKind::Number { .. } | TargetKind::NextByte | TargetKind::NextToken { .. },
        ) => decisions.iter().map(|index| vec![index.to_string()]).collect(),
        (Rows::Numbers(numbers) | Rows::BitsPerByte(numbers), _) => {
            numbers.iter().map(|number| vec![number.to_string()]).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_written_by_name_with_their_probabilities() {
        let target = TargetKind::Classes(vec!["no".to_owned(), "yes".to_owned()]);
        let rows = Rows::Classes { decisions: vec![1, 0], probabilities: vec![0.25, 0.75, 0.5, 0.5] };
        assert_eq!(head(&target), ["prediction", "probability[no]", "probability[yes]"]);
        assert_eq!(records(&target, rows), [["yes", "0.25", "0.75"], ["no", "0.5", "0.5"]]);
    }

    #[test]
    fn numbers_are_written_as_they_are() {
        let target = TargetKind::Number { mean: 1.0, deviation: 2.0 };
        assert_eq!(records(&target, Rows::Numbers(vec![0.1, -3.5])), [["0.1"], ["-3.5"]]);
    }
}
