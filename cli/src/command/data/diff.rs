//! `phalanx data diff`: how two dataset versions differ.

use clap::Args;

use super::{Named, store};
use crate::{
    connect::Where,
    error::{CliError, Exit},
    show,
};

/// Tell how two dataset versions differ: columns, rows, and how values are distributed
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  phalanx data diff 3f2a 91bc
  phalanx data diff january.toml february.toml
  phalanx data diff 3f2a 91bc --json | jq '.columns[] | select(.psi > 0.25) | .name'")]
pub(super) struct Diff {
    /// The version before: the beginning of its name, or a job file
    #[arg(value_name = "VERSION|JOB")]
    before: String,

    /// The version after
    #[arg(value_name = "VERSION|JOB")]
    after: String,

    /// Print it as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    at: Where,
}

impl Diff {
    /// Compares.
    pub(super) async fn run(self) -> Result<Exit, CliError> {
        let (before, after) = (Named::new(&self.before)?, Named::new(&self.after)?);
        let store = store(&self.at).await?;
        let diff = phalanx_data::diff(&before.manifest(&store).await?, &after.manifest(&store).await?);
        if self.json {
            show::print_json(&diff)?;
        } else {
            show::print(&show::diff(&diff))?;
        }
        Ok(Exit::Done)
    }
}
