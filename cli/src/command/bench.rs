//! `phalanx bench`: how fast this machine trains.

use std::time::Duration;

use clap::{Args, Subcommand};
use phalanx_agent::{MeasureError, StepRate};
use phalanx_data::Schema;
use phalanx_protocol::spec::{JobSpec, ModelSpec, TrainSpec};
use phalanx_train::Tasks;
use serde::Serialize;

use super::job_file::JobFileArgs;
use crate::{
    error::{CliError, Exit},
    show,
};

/// Measure how fast this machine trains
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  phalanx bench step examples/mnist.toml")]
pub(crate) struct Bench {
    #[command(subcommand)]
    what: What,
}

/// What is measured.
#[derive(Debug, Subcommand)]
enum What {
    Step(Step),
}

/// Measure a job's training steps on one worker
///
/// Prepares the data in a folder that is removed again, and makes steps as a worker does, from
/// gathering the rows to the update, for some seconds. scripts/bench-step.sh does so beside PyTorch.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  phalanx bench step examples/mnist.toml
  phalanx bench step examples/kjv.toml --seconds 10 --set train.lanes=1")]
struct Step {
    #[command(flatten)]
    job: JobFileArgs,

    /// How long to measure
    #[arg(long, value_name = "S", default_value = "3", value_parser = seconds)]
    seconds: Duration,

    /// Threads that compute
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,

    /// Print the result as JSON, with the job and what its model is told of the data
    #[arg(long)]
    json: bool,
}

impl Bench {
    /// Measures and prints.
    pub(crate) async fn run(self) -> Result<Exit, CliError> {
        match self.what {
            What::Step(step) => step.run().await,
        }
    }
}

impl Step {
    async fn run(self) -> Result<Exit, CliError> {
        let spec = self.job.read()?;
        let folder = tempfile::tempdir().map_err(|e| CliError::failed(format!("no folder for the data: {e}")))?;
        let threads = usize::from(self.threads);
        let rate =
            phalanx_agent::measure_steps(spec.clone(), Tasks::new(), threads, self.seconds, folder.path())
                .await
                .map_err(|error| match error {
                    MeasureError::Prepare(_) | MeasureError::Build(_) => CliError::usage(error),
                    _ => CliError::failed(error),
                })?;
        let measured = Measured::new(spec, rate);
        if self.json { show::print_json(&measured)? } else { show::print(&measured.line())? }
        Ok(Exit::Done)
    }
}

/// What was measured of what.
#[derive(Debug, Serialize)]
struct Measured {
    name: String,
    model: ModelSpec,
    train: TrainSpec,
    schema: Schema,
    parameters: usize,
    steps: u64,
    seconds: f64,
    samples_per_second: f64,
}

impl Measured {
    fn new(spec: JobSpec, rate: StepRate) -> Self {
        let seconds = rate.elapsed.as_secs_f64();
        let samples = rate.steps as f64 * f64::from(spec.train.batch_size);
        Self {
            name: spec.name,
            model: spec.model,
            train: spec.train,
            schema: rate.schema,
            parameters: rate.parameters,
            steps: rate.steps,
            seconds,
            samples_per_second: samples / seconds.max(f64::MIN_POSITIVE),
        }
    }

    fn line(&self) -> String {
        let Self { name, steps, seconds, samples_per_second, .. } = self;
        let (model, batch) = (self.model.kind(), self.train.batch_size);
        format!(
            "{name} ({model}): {samples_per_second:.0} samples/s, {steps} steps of {batch} in {seconds:.2} s\n"
        )
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let expected = "expected seconds, of 0.01 to 3600";
    let seconds: f64 = text.parse().map_err(|_| expected)?;
    if (0.01..=3600.0).contains(&seconds) { Ok(Duration::from_secs_f64(seconds)) } else { Err(expected.to_owned()) }
}
