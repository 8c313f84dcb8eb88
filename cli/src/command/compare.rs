//! `phalanx compare`: which of two versions is better, and how sure that is.

use std::path::PathBuf;

use clap::Args;
use phalanx_agent::evaluation::{predict_file, predict_kept};
use phalanx_assess::{Baseline, bootstrap, compare};
use phalanx_data::{DatasetManifest, Split};
use phalanx_evaluate::Predictions;

use super::{model::ModelName, registered::Registered};
use crate::{
    connect::Where,
    error::{CliError, Exit},
    show,
};

/// Say which of two models is better and how sure that is
///
/// Both have predicted the same rows: those of the test split, kept with each version (or, where they
/// were measured on others, those of the second), or with --on those of a file. Differences come with intervals from resamples that both share, and with tests
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
            show::print_json(&comparison)?;
        } else {
            show::print(&show::comparison(&comparison))?;
        }
        Ok(Exit::Done)
    }

    /// What both say of the test split that they share; where they were measured on others, of that of the second.
    async fn kept(&self, a: &Registered, b: &Registered) -> Result<[Predictions; 2], CliError> {
        let (of_a, of_b) = (a.predictions().await?, b.predictions().await?);
        if of_a.dataset == of_b.dataset {
            return Ok([of_a.predictions, of_b.predictions]);
        }
        let (made_of_a, made_of_b) = (a.dataset().await?, b.dataset().await?);
        let rows = b.rows(&made_of_b, Split::Test).await?;
        let of_a = predict_kept(&a.predictor().await?, &rows, &of_b.predictions).map_err(|reason| {
            let (a, b) = (a.name(), b.name());
            CliError::usage(format!("{a} cannot be applied to the test split of {b}: {reason}"))
                .hint("--on FILE predicts the rows of a file with both")
        })?;
        if !are_divided_alike(&made_of_a, &made_of_b) {
            let (a, b) = (a.name(), b.name());
            anstream::eprintln!(
                "{a} is made of other rows than {b}: if those that {b} is tested on are among them, it looks better \
                 than it is"
            );
        }
        Ok([of_a, of_b.predictions])
    }
}

/// Whether the same rows are in the same splits of both, however they were encoded and weighed.
fn are_divided_alike(a: &DatasetManifest, b: &DatasetManifest) -> bool {
    let sources = |of: &DatasetManifest| -> Vec<String> {
        of.lineage.sources.iter().map(|source| source.blake3.clone()).collect()
    };
    let (of_a, of_b) = (&a.lineage.recipe, &b.lineage.recipe);
    sources(a) == sources(b) && of_a.split == of_b.split && of_a.clean == of_b.clean
}
