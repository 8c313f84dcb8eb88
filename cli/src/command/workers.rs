//! `phalanx workers`: all workers.

use clap::Args;

use crate::{
    connect::Where,
    error::{CliError, Exit},
    show,
};

/// List the workers that are attached, and the jobs that they serve
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  phalanx workers --coordinator http://host:7700")]
pub(crate) struct Workers {
    /// Print them as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    at: Where,
}

impl Workers {
    /// Lists them.
    pub(crate) async fn run(self) -> Result<Exit, CliError> {
        let connection = self.at.connect().await?;
        let workers = connection.client().workers().await?;
        if self.json {
            show::print_json(&workers)?;
        } else {
            show::print(&show::workers(&workers))?;
        }
        connection.close().await;
        Ok(Exit::Done)
    }
}
