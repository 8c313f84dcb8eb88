//! `phalanx cancel`: a job is given up.

use clap::Args;

use crate::{
    connect::Where,
    error::{CliError, Exit},
    show,
};

/// Stop a job; its state is saved, so that `resume` can let it go on
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  phalanx cancel mnist-1")]
pub(crate) struct Cancel {
    /// The job
    id: String,

    /// Print the job as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    at: Where,
}

impl Cancel {
    /// Cancels it.
    pub(crate) async fn run(self) -> Result<Exit, CliError> {
        let connection = self.at.connect().await?;
        let job = connection.client().cancel(&self.id).await?;
        if self.json {
            show::print_json(&job)?;
        } else {
            show::print(&format!("{} is {}\n", job.id, job.state.as_str()))?;
        }
        connection.close().await;
        Ok(Exit::Done)
    }
}
