//! `phalanx bench step`: the samples a second that a job's workers train on.

use std::{process::Command, time::Duration};

use clap::Args;
use phalanx_agent::{LANES_MAX, MeasureError, StepBench, StepRate, StepScaling, measure_steps, serve_steps};
use phalanx_data::Schema;
use phalanx_protocol::spec::{JobSpec, ModelSpec, TrainSpec};
use phalanx_train::{ComputeDevice, DeviceName, Tasks};
use serde::Serialize;

use super::Carrier;
use crate::{
    command::job_file::JobFileArgs,
    error::{CliError, Exit},
    show,
    signal::StopSignals,
};

/// Measure the samples a second that workers with one thread each train on
///
/// A step is everything from gathering the rows to updated parameters. All rows are trained on, and
/// nothing is kept. Several workers are processes that share the lanes of every batch; they take turns
/// with one worker that trains on its share of them, and efficiency is the part of its speed that a
/// worker keeps (medians over the rounds). To leave each worker the samples that one has, multiply
/// train.batch_size by their number. scripts/bench-step.sh and scripts/bench-ddp.sh measure PyTorch
/// beside it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  phalanx bench step examples/mnist.toml
  phalanx bench step examples/mnist.toml --set train.lanes=1 --seconds 10 --json
  phalanx bench step examples/mnist.toml --workers 2 --set train.batch_size=256
  phalanx bench step examples/mnist.toml --workers 2 --transport tcp --seconds 20 --rounds 10")]
pub(super) struct Step {
    #[command(flatten)]
    job: JobFileArgs,

    /// How many workers; the job's lanes must be a multiple
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(LANES_MAX)))]
    workers: u32,

    /// What carries gradients between them
    #[arg(long, value_enum, default_value_t = Carrier::Auto)]
    transport: Carrier,

    /// Where each worker computes: `cpu`, or `cuda:N` for a GPU
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: DeviceName,

    /// How often one worker and all of them take turns
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,

    /// How long to measure; several workers in the turns of all rounds together
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = crate::command::seconds)]
    seconds: Duration,

    /// Print it as JSON, with what another implementation of the model must know
    #[arg(long)]
    json: bool,
}

/// Be one of several workers
#[derive(Debug, Args)]
pub(super) struct StepRank {
    /// The process that started this one, and ends it with its own end
    #[arg(long, value_name = "PID")]
    parent: u32,
    /// Where it computes
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: DeviceName,
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
    workers: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    scaling: Option<Scaling>,
    model: ModelSpec,
    train: TrainSpec,
    schema: Schema,
}

/// Several workers beside one. Numbers of samples are a second's, over all workers.
#[derive(Debug, Serialize)]
struct Scaling {
    transport: &'static str,
    /// What part of its speed alone a worker keeps.
    efficiency: f64,
    /// The same where the workers train at the same time and add nothing up.
    efficiency_apart: f64,
    one_worker: OneWorker,
    rounds: Vec<Round>,
}

#[derive(Debug, Serialize)]
struct OneWorker {
    batch_size: u32,
    lanes: u32,
    samples_per_second: f64,
}

#[derive(Debug, Serialize)]
struct Round {
    one_worker: f64,
    apart: f64,
    together: f64,
}

impl Step {
    /// Measures, unless a signal comes between.
    pub(super) async fn run(self) -> Result<Exit, CliError> {
        let spec = self.job.read()?;
        let mut signals = StopSignals::listen()?;
        let measured = tokio::select! {
            measured = self.measure(spec) => measured?,
            () = signals.next() => return Ok(Exit::Interrupted),
        };
        if self.json { show::print_json(&measured) } else { show::print(&measured.lines()) }?;
        Ok(Exit::Done)
    }

    async fn measure(&self, spec: JobSpec) -> Result<Measured, CliError> {
        let folder = tempfile::tempdir().map_err(CliError::failed)?;
        let tasks = Tasks::new().on(ComputeDevice::open(self.device).map_err(CliError::usage)?);
        if self.workers == 1 {
            let rate = Box::pin(measure_steps(spec.clone(), tasks, self.seconds, folder.path())).await;
            return Ok(Measured::one(spec, rate.map_err(not_measured)?));
        }
        let own = std::env::current_exe().map_err(CliError::failed)?;
        let rank = || {
            let mut command = Command::new(&own);
            let (parent, device) = (std::process::id().to_string(), self.device.to_string());
            command.args(["bench", "step-rank", "--parent", &parent, "--device", &device]);
            command
        };
        let bench = StepBench {
            spec: spec.clone(),
            workers: self.workers,
            transport: self.transport.into(),
            rounds: self.rounds,
            turn: self.seconds / self.rounds,
        };
        let scaling = Box::pin(bench.run(&tasks, folder.path(), rank)).await.map_err(not_measured)?;
        Ok(Measured::several(spec, self.transport, scaling))
    }
}

impl StepRank {
    /// Does what the parent says.
    pub(super) async fn run(self) -> Result<(), CliError> {
        let tasks = Tasks::new().on(ComputeDevice::open(self.device).map_err(CliError::usage)?);
        serve_steps(self.parent, tasks).await.map_err(not_measured)
    }
}

fn not_measured(error: MeasureError) -> CliError {
    match error {
        MeasureError::Prepare(_) | MeasureError::Build(_) => CliError::usage(error),
        MeasureError::Share { .. } => CliError::usage(error)
            .hint("--set train.lanes=N gives it other lanes; their number must divide the batch size"),
        MeasureError::Open(_)
        | MeasureError::Storage(_)
        | MeasureError::Train(_)
        | MeasureError::Collective(_)
        | MeasureError::Part { .. }
        | MeasureError::Start { .. }
        | MeasureError::Ended { .. }
        | MeasureError::Rank { .. } => CliError::failed(error),
    }
}

impl Measured {
    fn one(spec: JobSpec, rate: StepRate) -> Self {
        let JobSpec { name, model, train, .. } = spec;
        let StepRate { schema, parameters, steps, elapsed } = rate;
        let (seconds, samples) = (elapsed.as_secs_f64(), steps as f64 * f64::from(train.batch_size));
        let samples_per_second = samples / seconds;
        let (workers, scaling) = (1, None);
        Self { name, samples_per_second, steps, seconds, parameters, workers, scaling, model, train, schema }
    }

    fn several(spec: JobSpec, carrier: Carrier, measured: StepScaling) -> Self {
        let workers = measured.workers;
        let scaling = Scaling {
            transport: match carrier {
                Carrier::Auto => "auto",
                Carrier::Shm => "shm",
                Carrier::Tcp => "tcp",
            },
            efficiency: measured.efficiency(),
            efficiency_apart: measured.efficiency_apart(),
            one_worker: OneWorker {
                batch_size: spec.train.batch_size / workers,
                lanes: spec.train.lanes / workers,
                samples_per_second: measured.median(|round| round.alone),
            },
            rounds: measured
                .rounds
                .iter()
                .map(|round| Round { one_worker: round.alone, apart: round.apart, together: round.together })
                .collect(),
        };
        let together = measured.median(|round| round.together);
        let StepScaling { schema, parameters, steps, elapsed, .. } = measured;
        let one = Self::one(spec, StepRate { schema, parameters, steps, elapsed });
        Self { workers, samples_per_second: together, scaling: Some(scaling), ..one }
    }

    /// What people see.
    fn lines(&self) -> String {
        let Self { name, samples_per_second, steps, seconds, parameters, workers, .. } = self;
        let [rate, parameters] = [*samples_per_second as u64, *parameters as u64].map(show::count);
        let threads = if *workers == 1 { "1 thread".to_owned() } else { format!("{workers} workers") };
        let first = format!(
            "{name}: {rate} samples/s ({steps} steps in {seconds:.1} s, {parameters} parameters, {threads})\n"
        );
        let Some(Scaling { efficiency, efficiency_apart, one_worker, rounds, .. }) = &self.scaling else {
            return first;
        };
        let OneWorker { batch_size, lanes, samples_per_second } = one_worker;
        let alone = show::count(*samples_per_second as u64);
        let lanes = if *lanes == 1 { "1 lane".to_owned() } else { format!("{lanes} lanes") };
        let rounds = rounds.len();
        format!(
            "{first}one worker: {alone} samples/s (steps of {batch_size} samples, {lanes})\n\
             efficiency: {efficiency:.3}, {efficiency_apart:.3} without adding up gradients (medians of {rounds} rounds)\n"
        )
    }
}
