//! `phalanx follow`: a job as it changes, until it is over.

use clap::Args;

use crate::{
    client::Client,
    connect::Where,
    ending,
    error::{CliError, Exit},
    show::Screen,
    signal::StopSignals,
};

/// Watch a job until it is over
///
/// Ctrl-C ends the watching; the job goes on. The exit code is the job's.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  phalanx follow mnist-1
  phalanx follow mnist-1 --coordinator http://host:7700")]
pub(crate) struct Follow {
    /// The job
    id: String,

    /// Print the job as JSON when it is over
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    at: Where,
}

impl Follow {
    /// Watches it.
    pub(crate) async fn run(self) -> Result<Exit, CliError> {
        let connection = self.at.connect().await?;
        let job = connection.client().job(&self.id).await?;
        if connection.is_embedded() && !job.state.is_over() {
            return Err(CliError::usage(format!(
                "nobody runs {} now: no coordinator serves this home",
                job.id
            ))
            .hint(format!("`{}` lets it go on", self.at.home().resume_command(&self.id, None, &[]))));
        }
        let exit = watch(connection.client(), &self.id, self.json).await;
        connection.close().await;
        exit
    }
}

/// Watches a job that a coordinator elsewhere runs.
pub(super) async fn watch(client: &Client, id: &str, json: bool) -> Result<Exit, CliError> {
    let mut signals = StopSignals::listen()?;
    let mut screen = Screen::new();
    let mut follow = client.follow(id);
    let resume = format!("phalanx resume {id} --follow --coordinator {}", client.address());
    loop {
        let job = tokio::select! {
            job = follow.next() => job?,
            () = signals.next() => {
                screen.clear();
                anstream::eprintln!("{id} goes on");
                return Ok(Exit::Interrupted);
            }
        };
        screen.show(&job);
        if job.state.is_over() {
            screen.clear();
            return ending::tell(client, &job, json, false, &resume).await;
        }
    }
}
