//! `phalanx jobs`: all jobs.

use clap::Args;

use crate::{
    connect::Where,
    error::{CliError, Exit},
    show,
};

/// List all jobs
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  phalanx jobs
  phalanx jobs --json | jq '.[] | select(.state == \"done\") | .id'")]
pub(crate) struct Jobs {
    /// Print them as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    at: Where,
}

impl Jobs {
    /// Lists them.
    pub(crate) async fn run(self) -> Result<Exit, CliError> {
        let connection = self.at.connect().await?;
        let jobs = connection.client().jobs().await?;
        if self.json {
            show::print_json(&jobs)?;
        } else {
            show::print(&show::jobs(&jobs))?;
        }
        connection.close().await;
        Ok(Exit::Done)
    }
}
