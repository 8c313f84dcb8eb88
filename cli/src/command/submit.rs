//! `phalanx submit`: a job for a coordinator that has workers.

use clap::Args;
use phalanx_agent::TelemetryArgs;
use tracing::{Instrument as _, info_span};

use super::{follow::watch, job_file::JobFileArgs, telemetry};
use crate::{
    connect::Where,
    error::{CliError, Exit},
    show,
};

/// Hand a job to a coordinator; it queues until workers are free
///
/// The workers read the data, so the paths in the job file must mean the same to them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  phalanx submit examples/mnist.toml --coordinator http://host:7700
  phalanx submit examples/mnist.toml --follow --set train.seed=2")]
pub(crate) struct Submit {
    #[command(flatten)]
    job: JobFileArgs,

    /// Watch it until it is over
    #[arg(long)]
    follow: bool,

    /// Print the job as JSON: at once, or with --follow when it is over
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    at: Where,

    #[command(flatten, next_help_heading = "Telemetry")]
    telemetry: TelemetryArgs,
}

impl Submit {
    /// Hands it over.
    pub(crate) async fn run(self) -> Result<Exit, CliError> {
        let spec = self.job.read()?;
        let Some(connection) = self.at.living().await? else {
            return Err(CliError::usage("no coordinator is running here that could take the job").hint(
                "`phalanx run JOB` trains it on this machine; --coordinator URL names a coordinator elsewhere",
            ));
        };
        let client = connection.client();
        let _telemetry = telemetry::init(&self.telemetry, "phalanx-submit")?;
        let span = info_span!("submit", name = spec.name);
        let job = client.submit(spec).instrument(span).await?;
        if self.follow {
            return watch(client, job.id.as_str(), self.json).await;
        }
        if self.json {
            show::print_json(&job)?;
        } else {
            show::print(&format!("{} is {}\n", job.id, job.state.as_str()))?;
        }
        Ok(Exit::Done)
    }
}
