//! `phalanx resume`: a job that has stopped goes on, at a coordinator that has
//! workers, or on this machine.

use clap::Args;

use super::{follow::watch, run::LocalArgs};
use crate::{
    connect::{Connection, Where},
    error::{CliError, Exit},
    local::Begin,
    show,
};

/// Let a job go on that was stopped, failed, or lost its machine
///
/// It goes on from its newest whole checkpoint and ends in the same bits as if nothing had
/// happened, with any number of workers. If a coordinator serves the home or is named, the job is
/// handed to it; else it runs here until it ends, as `run` does.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  phalanx resume mnist-1
  phalanx resume mnist-1 --workers 4
  phalanx resume mnist-1 --follow --coordinator http://host:7700")]
pub(crate) struct Resume {
    /// The job
    id: String,

    /// At a coordinator: watch it until it is over
    #[arg(long)]
    follow: bool,

    #[command(flatten)]
    at: Where,

    #[command(flatten)]
    local: LocalArgs,
}

impl Resume {
    /// Lets the job go on.
    pub(crate) async fn run(self) -> Result<Exit, CliError> {
        if let Some(connection) = self.at.living().await? {
            return self.at_coordinator(connection).await;
        }
        self.local.check_devices()?;
        let home = self.at.existing_home()?;
        let begin = Begin::Resume { id: self.id, workers: self.local.workers };
        self.local.train(home, begin).await
    }

    async fn at_coordinator(self, connection: Connection) -> Result<Exit, CliError> {
        let client = connection.client();
        let job = client.resume(&self.id, self.local.workers).await?;
        if self.follow {
            return watch(client, &self.id, self.local.json).await;
        }
        if self.local.json {
            show::print_json(&job)?;
        } else {
            show::print(&format!("{} is {}\n", job.id, job.state.as_str()))?;
        }
        Ok(Exit::Done)
    }
}
