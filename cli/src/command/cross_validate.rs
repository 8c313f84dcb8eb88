//! `phalanx cross-validate`: a job for each fold of the rows, side by side, and what they say together.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use phalanx_agent::evaluation::{FoldPredictions, read_predictions, write_folds};
use phalanx_evaluate::cross_validation::{CrossValidated, cross_validated};
use phalanx_protocol::{
    spec::{FoldSpec, JobSpec, SplitBy},
    view::{JobState, JobView},
};
use phalanx_report::Report;
use serde::Serialize;

use super::{
    job_file::JobFileArgs,
    registered::open,
    side_by_side::{self, one_of_several, report_of_several},
};
use crate::{
    client::Client,
    connect::Where,
    error::{CliError, Exit},
    output::write_text,
    show::{self, DIM},
};

/// Train a job once for each fold of its rows, and say how far its metrics vary
///
/// The folds divide all rows, as `data.split` says (by chance, within classes, by group, by key); each
/// is the test split of one job, and the others are trained on. Divided by time, a fold is a stretch of
/// it, and what comes before is trained on. The jobs run side by side as far as there are workers, and
/// register nothing: gates are judged fold by fold.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  phalanx cross-validate examples/adult.toml --coordinator http://host:7700
  phalanx cross-validate examples/adult.toml --folds 10 --repeats 3 --json
  phalanx cross-validate examples/adult.toml --predictions folds.parquet --html folds.html")]
pub(crate) struct CrossValidate {
    #[command(flatten)]
    job: JobFileArgs,

    /// How many folds
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(2..=100))]
    folds: u32,

    /// Divide the rows so many times, each time with the next seed
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    repeats: u32,

    /// Write what each job says of the rows that it has not seen to this Parquet file
    #[arg(long, value_name = "FILE")]
    predictions: Option<PathBuf>,

    /// Write it to this file as a page that browsers show
    #[arg(long, value_name = "FILE.html")]
    html: Option<PathBuf>,

    /// Print it as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    at: Where,
}

/// What the folds say together.
#[derive(Debug, Serialize)]
struct Folds {
    /// How many folds each repeat has.
    folds: u32,
    /// How often the rows were divided.
    repeats: u32,
    /// The jobs, repeat after repeat, fold after fold.
    jobs: Vec<String>,
    /// Jobs whose gates hold, all of them.
    gates_hold: usize,
    /// The metrics that every fold has.
    metrics: Vec<CrossValidated>,
}

impl CrossValidate {
    /// Trains the folds.
    pub(crate) async fn run(self) -> Result<Exit, CliError> {
        // With a fold, the rules of the job file say whether its rows can be divided so.
        let of_one =
            self.job.clone().with("data.split.fold.number", 1).with("data.split.fold.of", self.folds);
        let mut spec = of_one.read()?;
        spec.data.split.fold = None;
        if spec.data.split.by == SplitBy::Time && self.repeats > 1 {
            return Err(CliError::usage("--repeats must be 1: folds of time are the same with every seed"));
        }
        let connection = side_by_side::connect(&self.at).await?;
        let specs = self.specs(&spec);
        let Some(jobs) = side_by_side::train(&connection, specs.clone()).await? else {
            return Ok(Exit::Interrupted);
        };
        let client = connection.client();
        if let Some(file) = &self.predictions {
            self.write(client, &jobs, file).await?;
        }
        let folds = self.sum_up(&specs, &jobs)?;
        if let Some(file) = &self.html {
            let report = report_of_several(client, &spec, &jobs).await?;
            write_text(file, &Report { cross_validation: folds.metrics.clone(), ..report }.to_html())?;
        }
        if self.json {
            show::print_json(&folds)?;
        } else {
            show::print(&show::folds(&folds.metrics, folds.jobs.len(), folds.gates_hold))?;
        }
        Ok(Exit::Done)
    }

    /// A job for each fold of each repeat.
    fn specs(&self, spec: &JobSpec) -> Vec<JobSpec> {
        let of_fold = |index: u32| {
            let mut spec = one_of_several(spec, &format!("-fold-{}", index + 1));
            spec.data.split.seed = spec.data.split.seed.wrapping_add(u64::from(index / self.folds));
            spec.data.split.fold = Some(FoldSpec { number: index % self.folds + 1, of: self.folds });
            spec
        };
        (0..self.folds * self.repeats).map(of_fold).collect()
    }

    fn sum_up(&self, specs: &[JobSpec], jobs: &[JobView]) -> Result<Folds, CliError> {
        let tested = |spec: &JobSpec| {
            let [train, _, test] = spec.data.split.fractions();
            test / train
        };
        let test_share = specs.iter().map(tested).sum::<f64>() / specs.len() as f64;
        let level = specs.first().map_or(0.95, |spec| spec.evaluate.intervals.level);
        let mut metrics = Vec::new();
        for name in jobs.iter().take(1).flat_map(|job| job.metrics.keys()) {
            let values: Option<Vec<f64>> = jobs.iter().map(|job| job.metrics.get(name).copied()).collect();
            let Some(values) = values.filter(|values| values.iter().all(|value| value.is_finite())) else {
                continue;
            };
            metrics.push(cross_validated(name, &values, test_share, level).map_err(CliError::failed)?);
        }
        Ok(Folds {
            folds: self.folds,
            repeats: self.repeats,
            jobs: jobs.iter().map(|job| job.id.as_str().to_owned()).collect(),
            gates_hold: jobs.iter().filter(|job| job.state == JobState::Done).count(),
            metrics,
        })
    }

    /// Puts what the jobs have predicted together.
    async fn write(&self, client: &Client, jobs: &[JobView], file: &Path) -> Result<(), CliError> {
        let store = open(client).await?;
        let mut folds = Vec::new();
        for (index, job) in (0..).zip(jobs) {
            let predictions = job.artifact.as_ref().and_then(|artifact| artifact.predictions.as_ref());
            let Some(predictions) = predictions else { continue };
            let content = store.read(predictions).await.map_err(CliError::failed)?;
            let kept = read_predictions(content).map_err(CliError::failed)?;
            folds.push(FoldPredictions {
                repeat: index / self.folds + 1,
                fold: index % self.folds + 1,
                kept,
            });
        }
        let content = write_folds(&folds).map_err(CliError::failed)?;
        fs::write(file, content).map_err(|error| CliError::usage(format!("{}: {error}", file.display())))?;
        anstream::eprintln!("{DIM}written{DIM:#} {}", file.display());
        Ok(())
    }
}
