//! `phalanx scale`: how many workers a job takes.

use clap::Args;
use phalanx_protocol::spec::WorkersSpec;

use crate::{
    connect::Where,
    error::{CliError, Exit},
    show,
};

/// Change how many workers a job takes, while it waits or runs
///
/// Workers that are too many finish their step and go; idle ones join as soon as they have the
/// data. The result stays the same, to the bit.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  phalanx scale mnist-1 4 --coordinator http://host:7700
  phalanx scale mnist-1 8 --min 2")]
pub(crate) struct Scale {
    /// The job
    id: String,

    /// The most workers that it takes from now on; never more than it has lanes
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    workers: u32,

    /// The fewest workers that it trains with; as before where it is not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    min: Option<u32>,

    /// Print the job as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    at: Where,
}

impl Scale {
    /// Scales it.
    pub(crate) async fn run(self) -> Result<Exit, CliError> {
        let workers = self.workers;
        if let Some(min) = self.min.filter(|min| *min > workers) {
            return Err(CliError::usage(format!("--min {min} is more than the {workers} that it may take")));
        }
        let connection = self.at.connect().await?;
        let workers = WorkersSpec { min: self.min, max: Some(workers), ..WorkersSpec::default() };
        let job = connection.client().scale(&self.id, &workers).await?;
        if self.json {
            show::print_json(&job)?;
        } else {
            let said = job.messages.last().map_or("", |last| last.text.as_str());
            show::print(&format!("{} is {}: {said}\n", job.id, job.state.as_str()))?;
        }
        connection.close().await;
        Ok(Exit::Done)
    }
}
