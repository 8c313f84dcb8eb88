//! `phalanx submit`: a job for a coordinator that has workers.

use clap::Args;
use phalanx_agent::TelemetryArgs;
use phalanx_kubernetes::Cluster;
use tracing::{Instrument as _, info_span};

use super::{coordinator::no_kubernetes, follow::watch, job_file::JobFileArgs, telemetry};
use crate::{
    connect::Where,
    error::{CliError, Exit},
    show::{self, DIM},
};

/// Hand a job to a coordinator; it queues until workers are free
///
/// The workers read the data, so the paths in the job file must mean the same to them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  phalanx submit examples/mnist.toml --coordinator http://host:7700
  phalanx submit examples/mnist.toml --follow --set train.seed=2
  generate-job | phalanx submit - --coordinator http://host:7700
  phalanx submit examples/mnist.toml --kubernetes --namespace phalanx")]
pub(crate) struct Submit {
    #[command(flatten)]
    job: JobFileArgs,

    /// Watch it until it is over
    #[arg(long)]
    follow: bool,

    /// Print the job as JSON: at once, or with --follow when it is over
    #[arg(long)]
    json: bool,

    /// Apply it to Kubernetes as a TrainingJob of its name, as `kubectl apply` would, in the place of asking a coordinator
    #[arg(long, conflicts_with_all = ["follow", "json"])]
    kubernetes: bool,

    /// The namespace there; by default that of the kubeconfig
    #[arg(long, value_name = "NAME", requires = "kubernetes")]
    namespace: Option<String>,

    #[command(flatten)]
    at: Where,

    #[command(flatten, next_help_heading = "Telemetry")]
    telemetry: TelemetryArgs,
}

impl Submit {
    /// Hands it over.
    pub(crate) async fn run(self) -> Result<Exit, CliError> {
        if self.kubernetes {
            return self.apply().await;
        }
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

    /// Hands it to Kubernetes. The data are where the workers are, so they are not looked for here.
    async fn apply(self) -> Result<Exit, CliError> {
        let spec = self.job.read_for_elsewhere()?;
        let cluster = Cluster::connect(self.namespace).await.map_err(no_kubernetes)?;
        let resource = phalanx_kubernetes::submit(&cluster, &spec).await.map_err(CliError::failed)?;
        show::print(&format!("{resource} is applied in the namespace {}\n", cluster.namespace()))?;
        anstream::eprintln!(
            "{DIM}watch it with{DIM:#} kubectl --namespace {} get tj --watch",
            cluster.namespace()
        );
        Ok(Exit::Done)
    }
}
