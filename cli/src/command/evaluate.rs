//! `phalanx evaluate`: what a registered version is worth on other data.

use std::path::PathBuf;

use clap::Args;
use phalanx_agent::evaluation::{FileError, about_file, assess_file, predict_file};

use super::{model::ModelName, registered::Registered};
use crate::{
    connect::Where,
    error::{CliError, Exit},
    output::write_text,
    show,
};

/// Measure a model on other data: a CSV, Parquet or text file with the truth
///
/// The file needs the columns that the model was trained on, and the one that it predicts. What is
/// looked at is what `[evaluate]` of the model's job asks for: metrics, intervals, slices, groups, and
/// gates that compare with a number.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  phalanx evaluate adult july.csv
  phalanx evaluate adult@champion july.csv --html july.html
  phalanx evaluate adult@3 july.csv --json | jq '.splits[0].metrics.roc_auc'")]
pub(crate) struct Evaluate {
    /// The model, or one version of it by number or alias; the newest by default
    #[arg(value_name = "NAME[@VERSION|@ALIAS]")]
    model: ModelName,

    /// What to measure it on
    #[arg(value_name = "FILE")]
    data: PathBuf,

    /// Write the report to this file as a page that browsers show
    #[arg(long, value_name = "FILE.html")]
    html: Option<PathBuf>,

    /// Print the report as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    at: Where,
}

impl Evaluate {
    /// Measures it.
    pub(crate) async fn run(self) -> Result<Exit, CliError> {
        let connection = self.at.connect().await?;
        let registered = Registered::find(connection.client(), &self.model).await;
        connection.close().await;
        let registered = registered?;
        let predictor = registered.predictor().await?;
        let predicted = predict_file(&predictor, &self.data)?;
        let assessment = assess_file(&predictor, &self.data, &predicted)?;
        let mut report = about_file(&registered.version, &predictor, &self.data);
        assessment.fill(&mut report);
        if let Some(file) = &self.html {
            write_text(file, &report.to_html())?;
        }
        if self.json {
            show::print(&(report.to_json().map_err(CliError::failed)? + "\n"))?;
        } else {
            show::print(&show::assessment(&report))?;
        }
        Ok(Exit::Done)
    }
}

impl From<FileError> for CliError {
    fn from(error: FileError) -> Self {
        Self::usage(error)
    }
}
