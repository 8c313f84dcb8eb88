//! `phalanx drain`: a worker leaves in order.

use clap::Args;
use phalanx_protocol::id::WorkerId;

use crate::{
    connect::Where,
    error::{CliError, Exit},
    show,
};

/// Let a worker finish its step, hand its work over, and end
///
/// The job goes on with the others, which hold its state; the last worker of a job saves it first.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  phalanx workers --coordinator http://host:7700
  phalanx drain 3 --coordinator http://host:7700")]
pub(crate) struct Drain {
    /// The worker's number, as `workers` lists it
    worker: u64,

    /// Print the worker as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    at: Where,
}

impl Drain {
    /// Drains it.
    pub(crate) async fn run(self) -> Result<Exit, CliError> {
        let connection = self.at.connect().await?;
        let worker = connection.client().drain(WorkerId::new(self.worker)).await?;
        if self.json {
            show::print_json(&worker)?;
        } else {
            let serves = worker.job.map_or(String::new(), |job| format!(", once its step of {job} is done"));
            show::print(&format!("worker {} leaves{serves}\n", worker.id))?;
        }
        connection.close().await;
        Ok(Exit::Done)
    }
}
