//! `phalanx bench`: how fast one worker trains, without a coordinator.

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
  phalanx bench step examples/mnist.toml
  phalanx bench step examples/kjv.toml --seconds 10 --json")]
pub(crate) struct Bench {
    #[command(subcommand)]
    what: What,
}

/// What is measured.
#[derive(Debug, Subcommand)]
enum What {
    Step(Step),
}

/// Measure the samples a second that one worker with one thread trains on
///
/// A step is everything from gathering the rows to updated parameters. All rows are trained on, and
/// nothing is kept. scripts/bench-step.sh measures PyTorch beside it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  phalanx bench step examples/mnist.toml
  phalanx bench step examples/mnist.toml --set train.lanes=1 --seconds 10 --json")]
struct Step {
    #[command(flatten)]
    job: JobFileArgs,

    /// How long to measure
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = super::seconds)]
    seconds: Duration,

    /// Print it as JSON, with what another implementation of the model must know
    #[arg(long)]
    json: bool,
}

/// What was measured, and of what.
#[derive(Debug, Serialize)]
struct Measured {
    name: String,
    samples_per_second: f64,
    steps: u64,
    seconds: f64,
    /// Numbers that training changes.
    parameters: usize,
    model: ModelSpec,
    train: TrainSpec,
    schema: Schema,
}

impl Bench {
    /// Measures.
    pub(crate) async fn run(self) -> Result<Exit, CliError> {
        let What::Step(step) = self.what;
        let spec = step.job.read()?;
        let folder = tempfile::tempdir().map_err(CliError::failed)?;
        let rate = phalanx_agent::measure_steps(spec.clone(), Tasks::new(), 1, step.seconds, folder.path())
            .await
            .map_err(not_measured)?;
        let measured = Measured::new(spec, rate);
        if step.json {
            show::print_json(&measured)?;
        } else {
            show::print(&measured.line())?;
        }
        Ok(Exit::Done)
    }
}

fn not_measured(error: MeasureError) -> CliError {
    match error {
        MeasureError::Prepare(_) | MeasureError::Build(_) => CliError::usage(error),
        MeasureError::Open(_)
        | MeasureError::Storage(_)
        | MeasureError::Train(_)
        | MeasureError::Collective(_)
        | MeasureError::Part { .. } => CliError::failed(error),
    }
}

impl Measured {
    fn new(spec: JobSpec, rate: StepRate) -> Self {
        let JobSpec { name, model, train, .. } = spec;
        let StepRate { schema, parameters, steps, elapsed } = rate;
        let (seconds, samples) = (elapsed.as_secs_f64(), steps as f64 * f64::from(train.batch_size));
        Self { name, samples_per_second: samples / seconds, steps, seconds, parameters, model, train, schema }
    }

    fn line(&self) -> String {
        let Self { name, samples_per_second, steps, seconds, parameters, .. } = self;
        let [rate, parameters] = [*samples_per_second as u64, *parameters as u64].map(show::count);
        format!(
            "{name}: {rate} samples/s ({steps} steps in {seconds:.1} s, {parameters} parameters, 1 thread)\n"
        )
    }
}
