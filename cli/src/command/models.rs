//! `phalanx models`: all models of the registry.

use clap::Args;

use crate::{
    connect::Where,
    error::{CliError, Exit},
    show,
};

/// List the models of the registry
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  phalanx models
  phalanx models --json | jq '.[].name'")]
pub(crate) struct Models {
    /// Print them as JSON, with all versions
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    at: Where,
}

impl Models {
    /// Lists them.
    pub(crate) async fn run(self) -> Result<Exit, CliError> {
        let connection = self.at.connect().await?;
        let models = connection.client().models().await?;
        if self.json {
            show::print_json(&models)?;
        } else {
            show::print(&show::models(&models))?;
        }
        connection.close().await;
        Ok(Exit::Done)
    }
}
