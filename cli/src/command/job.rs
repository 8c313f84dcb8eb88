//! `phalanx job`: one job in full, and its loss as a picture.

use clap::Args;

use crate::{
    connect::Where,
    ending,
    error::{CliError, Exit},
    plot::{PictureFile, plot},
    show,
};

/// Show a job: its state, its loss, its metrics, and what it left behind
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  phalanx job mnist-1
  phalanx job mnist-1 --plot loss.svg
  phalanx job mnist-1 --json | jq -r .state_hash")]
pub(crate) struct Job {
    /// The job
    id: String,

    /// Draw the loss curve into this file, as .svg or .png by its name
    #[arg(long, value_name = "FILE")]
    plot: Option<PictureFile>,

    /// Print it as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    at: Where,
}

impl Job {
    /// Shows it.
    pub(crate) async fn run(self) -> Result<Exit, CliError> {
        let connection = self.at.connect().await?;
        let client = connection.client();
        let job = client.job(&self.id).await?;
        if self.json {
            show::print_json(&job)?;
        } else {
            show::print(&ending::report(client, &job).await?)?;
        }
        if let Some(file) = &self.plot {
            let curve = client.curve(&self.id).await?;
            plot(&curve, job.id.as_str(), file).map_err(CliError::failed)?;
            anstream::eprintln!("{} is written", file.path().display());
        }
        connection.close().await;
        Ok(Exit::Done)
    }
}
