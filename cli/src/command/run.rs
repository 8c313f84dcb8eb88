//! `phalanx run`: a job on this machine, from the job file to the model.

use std::{fs, path::PathBuf, thread::available_parallelism};

use clap::Args;
use phalanx_agent::TelemetryArgs;
use phalanx_protocol::spec::{JobSpec, ModelSpec, WorkersSpec};
use phalanx_train::{ComputeDevice, DeviceName};

use super::{job_file::JobFileArgs, telemetry};
use crate::{
    client::Client,
    ending,
    error::{CliError, Exit},
    home::Home,
    local::{self, Begin, Ended, Options, WorkerOptions},
    show::{self, DIM, STRONG},
};

/// Train a job on this machine: a coordinator and workers, until the job ends
///
/// Ctrl-C saves the state and says how to go on; a second Ctrl-C stops at once. The result does
/// not depend on the number of workers, which share the lanes of every batch.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  phalanx run examples/mnist.toml
  phalanx run examples/mnist.toml --workers 4 --set train.epochs=3
  phalanx run examples/mnist.toml --set train.epochs= --set train.steps=100 --home /tmp/try")]
pub(crate) struct Run {
    #[command(flatten)]
    job: JobFileArgs,

    /// Folder with the jobs and models of this machine; made if it is not there
    #[arg(long, env = "PHALANX_HOME", hide_env_values = true, value_name = "DIR", default_value = Home::DEFAULT)]
    home: PathBuf,

    #[command(flatten)]
    local: LocalArgs,
}

/// How a job runs on this machine; shared with `resume`.
#[derive(Debug, Args)]
#[command(next_help_heading = "On this machine")]
pub(super) struct LocalArgs {
    /// How many workers; by default as many as the job has lanes and this machine has cores, or as
    /// devices are named
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) workers: Option<u32>,

    /// Start this program as worker: one with a model of your own
    #[arg(long, value_name = "PATH")]
    worker_binary: Option<PathBuf>,

    /// Where the workers compute, in turn: `cpu`, or `cuda:0,cuda:1` for two GPUs
    #[arg(long, value_name = "DEVICE,…", value_delimiter = ',', default_value = "cpu")]
    device: Vec<DeviceName>,

    /// Print the job as JSON when it is over
    #[arg(long)]
    pub(super) json: bool,

    #[command(flatten, next_help_heading = "Telemetry")]
    telemetry: TelemetryArgs,
}

impl Run {
    /// Trains the job.
    pub(crate) async fn run(self) -> Result<Exit, CliError> {
        let mut spec = self.job.read()?;
        self.local.check_binary(&spec)?;
        self.local.check_devices()?;
        let workers = self.local.count(&spec)?;
        let min = spec.workers.min.map(|min| min.min(workers));
        spec.workers = WorkersSpec { min, start: Some(workers), max: Some(workers), ..spec.workers };
        announce(&self.job.name(), &spec);
        self.local.train(Home::at(&self.home), Begin::Submit { spec: Box::new(spec), workers }).await
    }
}

impl LocalArgs {
    /// A model of the user's own needs the user's own binary: a job would wait for it for ever.
    fn check_binary(&self, spec: &JobSpec) -> Result<(), CliError> {
        match &spec.model {
            ModelSpec::Custom(custom) if self.worker_binary.is_none() => {
                let message =
                    format!("the task `{}` is not known to this program's own workers", custom.task);
                Err(CliError::usage(message).hint("--worker-binary PATH names the program that has it"))
            }
            _ => Ok(()),
        }
    }

    /// This program's own workers would end at once where a device is not there.
    pub(super) fn check_devices(&self) -> Result<(), CliError> {
        if self.worker_binary.is_none() {
            for name in &self.device {
                ComputeDevice::open(*name).map_err(CliError::usage)?;
            }
        }
        Ok(())
    }

    /// How many workers there should be at most unless more are asked for.
    fn places(&self) -> u32 {
        match self.device.iter().any(|device| *device != DeviceName::Cpu) {
            true => u32::try_from(self.device.len()).unwrap_or(u32::MAX),
            false => cores(),
        }
    }

    /// How many workers to start for a new job.
    fn count(&self, spec: &JobSpec) -> Result<u32, CliError> {
        let most = spec.workers.max.unwrap_or(u32::MAX);
        local::worker_count(self.workers, spec.train.lanes, self.places().min(most))
    }

    /// Trains a job over `home` and tells how it ended.
    pub(super) async fn train(self, home: Home, begin: Begin) -> Result<Exit, CliError> {
        home.create()?;
        let log = home.logs().join("coordinator.log");
        let _telemetry = telemetry::init_to_file(&self.telemetry, "phalanx-coordinator", &log)?;
        let cores = self.places();
        let (binary, devices) = (self.worker_binary, self.device);
        let worker =
            WorkerOptions { binary: binary.clone(), devices: devices.clone(), telemetry: self.telemetry };
        let options = Options { home: home.clone(), cores, worker };
        let tell = async |client: &Client, ended: Ended| match ended {
            Ended::Over { job, interrupted } => {
                let resume = home.resume_command(job.id.as_str(), binary.as_deref(), &devices);
                ending::tell(client, &job, self.json, interrupted, &resume).await
            }
            Ended::AtOnce(Some(id)) => {
                let resume = home.resume_command(&id, binary.as_deref(), &devices);
                anstream::eprintln!(
                    "stopped at once; to go on from the newest checkpoint: {STRONG}{resume}{STRONG:#}"
                );
                Ok(Exit::Interrupted)
            }
            Ended::AtOnce(None) => Ok(Exit::Interrupted),
        };
        local::run(&options, begin, tell).await
    }
}

/// Processors of this machine.
fn cores() -> u32 {
    available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX))
}

/// Says what is about to be read.
fn announce(file: &str, spec: &JobSpec) {
    anstream::eprintln!("{DIM}job        {DIM:#} {} from {file}", spec.name);
    let Some(source) = spec.data.source() else { return };
    let what = source.path().map_or_else(|| source.kind().to_owned(), |path| show::path(path).to_string());
    // Only of a file here is it known at once.
    let size = source.path().and_then(|path| fs::metadata(path).ok()).filter(fs::Metadata::is_file);
    let size = size.map_or(String::new(), |seen| format!(" ({})", show::bytes(seen.len())));
    anstream::eprintln!("{DIM}reads      {DIM:#} {what}{size}");
}
