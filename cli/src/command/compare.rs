//! `phalanx compare`: which of two versions is better, and how sure that is.

use std::path::PathBuf;

use clap::Args;
use phalanx_agent::evaluation::predict_file;
use phalanx_assess::{Baseline, bootstrap, compare};
use phalanx_evaluate::Predictions;

use super::{model::ModelName, registered::Registered};
use crate::{
    connect::Where,
    error::{CliError, Exit},
    show,
};

/// Say which of two models is better and how sure that is
///
/// Both have predicted the same rows: those of the test split, kept with each version, or with --on
/// those of a file. Differences come with intervals from resamples that both share, and with tests
/// of the predictions themselves.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  phalanx compare adult@1 adult@2
  phalanx compare adult@champion adult --json
  phalanx compare adult@champion adult-wide --on july.csv")]
pub(crate) struct Compare {
    /// The first model, or one version of it by number or alias
    #[arg(value_name = "A")]
    a: ModelName,

    /// The second
    #[arg(value_name = "B")]
    b: ModelName,

    /// Compare them on the rows of this file, which has the truth
    #[arg(long, value_name = "FILE")]
    on: Option<PathBuf>,

    /// Print it as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    at: Where,
}

impl Compare {
    /// Compares them.
    pub(crate) async fn run(self) -> Result<Exit, CliError> {
        let connection = self.at.connect().await?;
        let client = connection.client();
        let found = async {
            Ok::<_, CliError>([
                Registered::find(client, &self.a).await?,
                Registered::find(client, &self.b).await?,
            ])
        };
        let found = found.await;
        connection.close().await;
        let [a, b] = found?;
        let [of_a, of_b] = match &self.on {
            Some(file) => {
                let (a, b) = (a.predictor().await?, b.predictor().await?);
                [predict_file(&a, file)?.predictions, predict_file(&b, file)?.predictions]
            }
            None => self.kept(&a, &b).await?,
        };
        let settings = bootstrap(&b.version.spec.evaluate.intervals, of_b.rows());
        let (a, b) =
            (Baseline { name: a.name(), predictions: of_a }, Baseline { name: b.name(), predictions: of_b });
        let comparison = compare(&a, &b, &[], &settings).map_err(CliError::usage)?;
        if self.json {
            show::print_json(&comparison)?
        } else {
            show::print(&show::comparison(&comparison))?
        }
        Ok(Exit::Done)
    }

    /// What both say of the test split that they share.
    async fn kept(&self, a: &Registered, b: &Registered) -> Result<[Predictions; 2], CliError> {
        let (of_a, of_b) = (a.predictions().await?, b.predictions().await?);
        if of_a.dataset == of_b.dataset {
            return Ok([of_a.predictions, of_b.predictions]);
        }
        let short = |version: &str| version.get(..12).unwrap_or(version).to_owned();
        let message = format!(
            "{} and {} were measured on other rows: data sets {} and {}",
            a.name(),
            b.name(),
            short(&of_a.dataset),
            short(&of_b.dataset)
        );
        Err(CliError::usage(message).hint("--on FILE predicts the rows of a file with both"))
    }
}
