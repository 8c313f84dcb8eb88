//! `phalanx report`: all that is known of a model version, as text, page, JSON or model card.

use std::path::PathBuf;

use clap::Args;
use phalanx_report::Report as ModelReport;

use super::{
    model::ModelName,
    registered::{Registered, open, read_report},
};
use crate::{
    client::Client,
    connect::Where,
    error::{CliError, Exit},
    output::write_text,
    show,
};

/// Show the report of a model version, or of a job that made none
///
/// It was written when the job ended: metrics with intervals, gates, curves, slices, fairness,
/// robustness, data and training. The HTML file needs no network.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  phalanx report adult                         the newest version, in short
  phalanx report adult@champion --html adult.html
  phalanx report adult@3 --json | jq .verdict
  phalanx report adult --card > README.md
  phalanx report adult-7                       a job whose gates failed has a report, too")]
pub(crate) struct Report {
    /// The model, one version of it by number or alias, or a job
    #[arg(value_name = "NAME[@VERSION|@ALIAS]|JOB")]
    name: ModelName,

    /// Write it to this file as a page that browsers show
    #[arg(long, value_name = "FILE.html")]
    html: Option<PathBuf>,

    /// Print it as JSON
    #[arg(long, conflicts_with = "card")]
    json: bool,

    /// Print the model card, as Hugging Face shows it
    #[arg(long)]
    card: bool,

    #[command(flatten)]
    at: Where,
}

impl Report {
    /// Shows it.
    pub(crate) async fn run(self) -> Result<Exit, CliError> {
        let connection = self.at.connect().await?;
        let report = self.find(connection.client()).await;
        connection.close().await;
        let report = report?;
        if let Some(file) = &self.html {
            write_text(file, &report.to_html())?;
        }
        if self.json {
            show::print(&(report.to_json().map_err(CliError::failed)? + "\n"))?;
        } else if self.card {
            show::print(&report.to_model_card())?;
        } else if self.html.is_none() {
            show::print(&show::assessment(&report))?;
        }
        Ok(Exit::Done)
    }

    async fn find(&self, client: &Client) -> Result<ModelReport, CliError> {
        let of_model = Registered::find(client, &self.name).await;
        let no_model = match of_model {
            Ok(registered) => return registered.report().await,
            Err(error) => error,
        };
        let Ok(job) = client.job(self.name.name()).await else { return Err(no_model) };
        let file = job.artifact.as_ref().and_then(|artifact| artifact.report.as_ref());
        let hint = "a job has a report when it has measured its test split";
        read_report(&open(client).await?, file, self.name.name()).await.map_err(|error| error.hint(hint))
    }
}
