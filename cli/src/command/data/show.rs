//! `phalanx data show`: what a dataset version is, and how it came about.

use clap::Args;

use super::{Named, store};
use crate::{
    connect::Where,
    error::{CliError, Exit},
    show,
};

/// Show a dataset version: what it was made of, what each step did, its columns and splits
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  phalanx data show examples/adult.toml
  phalanx data show 3f2a
  phalanx data show 3f2a --json | jq '.lineage.funnel'")]
pub(super) struct Show {
    /// The beginning of a version's name, or a job file
    #[arg(value_name = "VERSION|JOB")]
    data: String,

    /// Print its manifest, which has all of it, as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    at: Where,
}

impl Show {
    /// Shows it.
    pub(super) async fn run(self) -> Result<Exit, CliError> {
        let named = Named::new(&self.data)?;
        let store = store(&self.at).await?;
        let manifest = named.manifest(&store).await?;
        if self.json {
            show::print_json(&manifest)?;
        } else {
            show::print(&show::dataset(&manifest))?;
        }
        Ok(Exit::Done)
    }
}
