//! `phalanx data validate`: whether the data of a job can be read and is as expected.

use clap::Args;

use super::{Told, wrong};
use crate::{
    command::job_file::JobFileArgs,
    error::{CliError, Exit},
    show,
};

/// Read and clean the data of a job, and tell whether it is as expected
///
/// Nothing is stored. Ends with 2 if the data cannot be read, or an expectation that must hold does not.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  phalanx data validate examples/adult.toml
  phalanx data validate examples/adult.toml --json | jq '.outcomes[] | select(.met | not)'")]
pub(super) struct Validate {
    #[command(flatten)]
    job: JobFileArgs,

    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
}

impl Validate {
    /// Looks.
    pub(super) async fn run(self) -> Result<Exit, CliError> {
        let spec = self.job.read()?;
        let told = Told::begin();
        let validation = phalanx_data::validate(&spec.data, &mut |progress| told.show(progress)).await;
        told.end();
        let validation = validation.map_err(wrong)?;
        if self.json {
            show::print_json(&validation)?;
        } else {
            show::print(&show::validation(&validation))?;
        }
        Ok(if validation.is_met() { Exit::Done } else { Exit::Usage })
    }
}
