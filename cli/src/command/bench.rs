//! `phalanx bench`: how fast one worker trains, and how fast several add up their
//! gradients, without a coordinator.

use std::{num::ParseIntError, process::Command, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use phalanx_agent::{
    AllReduceBench, AllReduceTimes, BenchError, LANES_MAX, MeasureError, StepRate, Transport,
    serve_all_reduce,
};
use phalanx_data::Schema;
use phalanx_protocol::spec::{JobSpec, ModelSpec, TrainSpec};
use phalanx_train::{ComputeDevice, DeviceName, Tasks};
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
  phalanx bench allreduce --ranks 2 --transport tcp")]
pub(crate) struct Bench {
    #[command(subcommand)]
    what: What,
}

/// What is measured.
#[derive(Debug, Subcommand)]
enum What {
    Step(Step),
    Allreduce(AllReduce),
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

    /// Where to compute: `cpu`, or `cuda:N` for a GPU
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: DeviceName,

    /// Print it as JSON, with what another implementation of the model must know
    #[arg(long)]
    json: bool,
}

/// Measure how long workers take to add up a vector, bit for bit
///
/// Starts processes on this machine, each with one lane. Times are medians of many rounds, with the
/// tenth percentile; bandwidths are those of nccl-tests. scripts/bench-allreduce.sh measures Gloo and
/// MPI beside it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  phalanx bench allreduce
  phalanx bench allreduce --ranks 4 --transport shm --bytes 1KiB,4MiB --json")]
struct AllReduce {
    /// How many processes
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=i64::from(LANES_MAX)))]
    ranks: u32,

    /// What carries the numbers
    #[arg(long, value_enum, default_value_t = Carrier::Auto)]
    transport: Carrier,

    /// Sizes of the vector
    #[arg(long, value_name = "SIZE,…", value_delimiter = ',', value_parser = size, default_value = "1KiB,64KiB,1MiB,4MiB,16MiB,64MiB")]
    bytes: Vec<usize>,

    /// How long to measure each size
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = super::seconds)]
    seconds: Duration,

    /// Print one line of JSON a size
    #[arg(long)]
    json: bool,

    /// Be one of the processes
    #[arg(long, hide = true)]
    rank: bool,
}

/// The longest vector that is measured.
const BENCH_BYTES_MAX: u64 = 4 << 30;

/// What carries numbers between two processes.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Carrier {
    /// Shared memory, and TCP between machines
    Auto,
    /// Shared memory
    Shm,
    /// TCP
    Tcp,
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
        match self.what {
            What::Step(step) => step.run().await?,
            What::Allreduce(reduce) => reduce.run()?,
        }
        Ok(Exit::Done)
    }
}

impl Step {
    async fn run(self) -> Result<(), CliError> {
        let spec = self.job.read()?;
        let folder = tempfile::tempdir().map_err(CliError::failed)?;
        let tasks = Tasks::new().on(ComputeDevice::open(self.device).map_err(CliError::usage)?);
        let rate = phalanx_agent::measure_steps(spec.clone(), tasks, 1, self.seconds, folder.path())
            .await
            .map_err(not_measured)?;
        let measured = Measured::new(spec, rate);
        if self.json { show::print_json(&measured) } else { show::print(&measured.line()) }
    }
}

impl AllReduce {
    fn run(self) -> Result<(), CliError> {
        let failed = |error: BenchError| match error {
            BenchError::Argument { .. } => CliError::usage(error),
            BenchError::Process { .. } | BenchError::Answer { .. } | BenchError::Group(_) => {
                CliError::failed(error)
            }
        };
        if self.rank {
            return serve_all_reduce().map_err(failed);
        }
        let transport = match self.transport {
            Carrier::Auto => Transport::Auto,
            Carrier::Shm => Transport::SharedMemory,
            Carrier::Tcp => Transport::Tcp,
        };
        let own = std::env::current_exe().map_err(CliError::failed)?;
        let bench = AllReduceBench { ranks: self.ranks, transport, bytes: self.bytes, time: self.seconds };
        let rank = || {
            let mut command = Command::new(&own);
            command.args(["bench", "allreduce", "--rank"]);
            command
        };
        let times = bench.run(rank).map_err(failed)?;
        if self.json {
            return show::print(&times.iter().map(|times| times.to_json() + "\n").collect::<String>());
        }
        show::print(&table(&times))
    }
}

/// A line for each size.
fn table(times: &[AllReduceTimes]) -> String {
    let micros = |time: Duration| format!("{:.1} µs", time.as_secs_f64() * 1e6);
    let rate = |bytes: f64| format!("{:.2} GB/s", bytes / 1e9);
    let head = ["bytes", "median", "10th percentile", "algorithm", "bus", "CPU a rank"];
    let rows = times.iter().map(|times| {
        let cpu = times.cpu.iter().sum::<Duration>() / u32::try_from(times.cpu.len().max(1)).unwrap_or(1);
        let size = show::count(times.bytes as u64);
        let [median, tenth, cpu] = [times.median, times.percentile_10, cpu].map(micros);
        [size, median, tenth, rate(times.algorithm_bandwidth()), rate(times.bus_bandwidth()), cpu]
    });
    let line = |cells: [String; 6]| {
        let [size, rest @ ..] = cells;
        format!("{size:>12}{}\n", rest.map(|cell| format!("{cell:>17}")).concat())
    };
    std::iter::once(head.map(str::to_owned)).chain(rows).map(line).collect()
}

/// Bytes, as in `64KiB`.
fn size(text: &str) -> Result<usize, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let shift = match unit {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return Err(format!("`{unit}` is no unit: expected B, KiB, MiB or GiB")),
    };
    let number: u64 = number.parse().map_err(|error: ParseIntError| error.to_string())?;
    let bytes = number.checked_mul(1 << shift).filter(|bytes| (4..=BENCH_BYTES_MAX).contains(bytes));
    let bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok()).filter(|bytes| bytes.is_multiple_of(4));
    bytes.ok_or_else(|| "expected a multiple of 4 bytes, from 4B to 4GiB".to_owned())
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
