//! `phalanx cross-validate`: a job for each fold of the rows, side by side, and what they say together.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use phalanx_agent::evaluation::{FoldPredictions, read_predictions, write_folds};
use phalanx_evaluate::cross_validation::{CrossValidated, cross_validated};
use phalanx_protocol::{
    id::JOB_NAME_CHARS_MAX,
    spec::{Bound, FoldSpec, JobSpec},
    view::{JobState, JobView},
};
use serde::Serialize;

use super::{job_file::JobFileArgs, registered::open};
use crate::{
    client::{Client, ClientError},
    connect::Where,
    error::{CliError, Exit},
    show::{self, DIM},
    signal::StopSignals,
};

/// Train a job once for each fold of its rows, and say how far its metrics vary
///
/// The folds divide all rows, as `data.split` says (by chance, within classes, by group, by key); each
/// is the test split of one job, and the others are trained on. The jobs run side by side as far as
/// there are workers, and register nothing: gates are judged fold by fold.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  phalanx cross-validate examples/adult.toml --coordinator http://host:7700
  phalanx cross-validate examples/adult.toml --folds 10 --repeats 3 --json
  phalanx cross-validate examples/adult.toml --predictions folds.parquet")]
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
        let spec = of_one.read()?;
        let Some(connection) = self.at.living().await? else {
            return Err(CliError::usage("no coordinator is running here that could take the jobs").hint(
                "`phalanx coordinator` and `phalanx worker` make a cluster; --coordinator URL names one elsewhere",
            ));
        };
        let client = connection.client();
        let mut signals = StopSignals::listen()?;
        let mut ids = Vec::new();
        for spec in self.specs(&spec) {
            let job = client.submit(spec).await?;
            ids.push(job.id.as_str().to_owned());
        }
        let ended = tokio::select! {
            ended = all(client, &ids) => Some(ended),
            () = signals.next() => None,
        };
        if !matches!(ended, Some(Ok(_))) {
            cancel(client, &ids).await;
        }
        let Some(jobs) = ended.transpose()? else {
            anstream::eprintln!("the folds are cancelled");
            return Ok(Exit::Interrupted);
        };
        if let Some(file) = &self.predictions {
            self.write(client, &jobs, file).await?;
        }
        let folds = self.sum_up(&spec, &jobs)?;
        if self.json {
            show::print_json(&folds)?;
        } else {
            show::print(&show::folds(&folds.metrics, folds.jobs.len(), folds.gates_hold))?;
        }
        Ok(Exit::Done)
    }

    /// A job for each fold of each repeat. Versions are compared on the test split that they share, which folds do not.
    fn specs(&self, spec: &JobSpec) -> Vec<JobSpec> {
        let count = self.folds * self.repeats;
        let of_fold = |index: u32| {
            let mut spec = spec.clone();
            let suffix = format!("-fold-{}", index + 1);
            spec.name.truncate(JOB_NAME_CHARS_MAX - suffix.len());
            spec.name.push_str(&suffix);
            spec.data.split.seed = spec.data.split.seed.wrapping_add(u64::from(index / self.folds));
            spec.data.split.fold = Some(FoldSpec { number: index % self.folds + 1, of: self.folds });
            spec.register = None;
            spec.evaluate.gates.retain(|gate| match gate.bound {
                Bound::Number(_) => true,
                Bound::Version { .. } => false,
            });
            spec
        };
        (0..count).map(of_fold).collect()
    }

    fn sum_up(&self, spec: &JobSpec, jobs: &[JobView]) -> Result<Folds, CliError> {
        let test_share = 1.0 / f64::from(self.folds);
        let [train, ..] = spec.data.split.fractions();
        let level = spec.evaluate.intervals.level;
        let mut metrics = Vec::new();
        for name in jobs.iter().take(1).flat_map(|job| job.metrics.keys()) {
            let values: Option<Vec<f64>> = jobs.iter().map(|job| job.metrics.get(name).copied()).collect();
            let Some(values) = values.filter(|values| values.iter().all(|value| value.is_finite())) else {
                continue;
            };
            metrics
                .push(cross_validated(name, &values, test_share / train, level).map_err(CliError::failed)?);
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

/// Waits until all jobs have measured their folds.
async fn all(client: &Client, ids: &[String]) -> Result<Vec<JobView>, CliError> {
    let mut jobs = Vec::new();
    for id in ids {
        let mut follow = client.follow(id);
        let job = loop {
            let job = follow.next().await?;
            if job.state.is_over() {
                break job;
            }
        };
        // A job whose gates do not hold has failed, too, and has measured its fold.
        if job.artifact.is_none() {
            let why = job.reason.unwrap_or_else(|| "for a reason that is not known".to_owned());
            let message = format!("{id} is {}, and the other folds are cancelled: {why}", job.state.as_str());
            return Err(CliError::failed(message));
        }
        anstream::eprintln!("{DIM}{} of {}{DIM:#} {id}", jobs.len() + 1, ids.len());
        jobs.push(job);
    }
    Ok(jobs)
}

/// Cancels what is not over yet.
async fn cancel(client: &Client, ids: &[String]) {
    for id in ids {
        match client.cancel(id).await {
            Ok(_) | Err(ClientError::Refused { .. }) => {}
            Err(error) => anstream::eprintln!("{id} could not be cancelled: {error}"),
        }
    }
}
