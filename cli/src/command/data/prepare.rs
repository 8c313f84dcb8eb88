//! `phalanx data prepare`: makes the dataset version that a job trains on.

use clap::Args;
use serde::Serialize;

use super::{prepared, store};
use crate::{
    command::job_file::JobFileArgs,
    connect::Where,
    error::{CliError, Exit},
    show,
};

/// Make the dataset version that a job trains on, or find the one that was made before
///
/// The job finds it then and begins to train at once. `phalanx gc` deletes it if no job has trained on it meanwhile.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  phalanx data prepare examples/adult.toml
  phalanx data prepare examples/adult.toml --set data.split.seed=1
  phalanx data prepare examples/adult.toml --json | jq -r .version")]
pub(super) struct Prepare {
    #[command(flatten)]
    job: JobFileArgs,

    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    at: Where,
}

/// What was made, for programs.
#[derive(Debug, Serialize)]
struct Outcome<'a> {
    version: &'a str,
    found: bool,
    train_rows: u64,
    validation_rows: u64,
    test_rows: u64,
    summary: &'a str,
}

impl Prepare {
    /// Prepares.
    pub(super) async fn run(self) -> Result<Exit, CliError> {
        let spec = self.job.read()?;
        let store = store(&self.at).await?;
        let prepared = prepared(&spec.data, &store).await?;
        let dataset = &prepared.dataset;
        if self.json {
            show::print_json(&Outcome {
                version: &dataset.version,
                found: prepared.found,
                train_rows: dataset.train_rows,
                validation_rows: dataset.validation_rows,
                test_rows: dataset.test_rows,
                summary: &prepared.summary,
            })?;
        } else {
            let how = if prepared.found { "was there already" } else { "is made" };
            show::print(&format!("{}\n{} {how}\n", prepared.summary, dataset.version))?;
        }
        Ok(Exit::Done)
    }
}
