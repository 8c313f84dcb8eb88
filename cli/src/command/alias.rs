//! `phalanx alias`: an alias is moved.

use clap::Args;

use crate::{
    connect::Where,
    error::{CliError, Exit},
    show,
};

/// Let an alias of a model name a version; every change is kept
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  phalanx alias mnist champion 2
  phalanx predict mnist@champion digits.parquet")]
pub(crate) struct Alias {
    /// The model
    name: String,

    /// The alias, made if it is not there
    alias: String,

    /// The version that it shall name
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    version: u64,

    /// Print the model as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    at: Where,
}

impl Alias {
    /// Moves it.
    pub(crate) async fn run(self) -> Result<Exit, CliError> {
        let connection = self.at.connect().await?;
        let model = connection.client().set_alias(&self.name, &self.alias, self.version).await?;
        if self.json {
            show::print_json(&model)?;
        } else {
            show::print(&format!("{}@{} is version {}\n", model.name, self.alias, self.version))?;
        }
        connection.close().await;
        Ok(Exit::Done)
    }
}
