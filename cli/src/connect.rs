//! Which coordinator a command talks to: a remote one, the one that serves the
//! home at this moment, or one that lives in this process for the length of the
//! command. The command cannot tell which.

use std::path::PathBuf;

use clap::Args;

use crate::{
    client::Client,
    error::CliError,
    home::{Announcement, Home},
    local::Embedded,
};

/// Where the coordinator is.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Where")]
pub(crate) struct Where {
    /// HTTP address of the coordinator, as in http://host:7700, or of several with commas between;
    /// without it, the home is asked
    #[arg(long, env = "PHALANX_COORDINATOR", hide_env_values = true, value_name = "URL")]
    coordinator: Option<String>,

    /// Folder with the jobs and models of this machine
    #[arg(long, env = "PHALANX_HOME", hide_env_values = true, value_name = "DIR", default_value = Home::DEFAULT)]
    home: PathBuf,
}

/// A coordinator that answers.
#[derive(Debug)]
pub(crate) struct Connection {
    client: Client,
    embedded: Option<Embedded>,
}

impl Where {
    /// Finds the coordinator, or starts one over the home that has no workers.
    ///
    /// # Errors
    ///
    /// If the address is none, nobody answers, or there is no home.
    pub(crate) async fn connect(&self) -> Result<Connection, CliError> {
        if let Some(connection) = self.living().await? {
            return Ok(connection);
        }
        let home = self.existing_home()?;
        let embedded = Embedded::start_or_join(&home).await?;
        match embedded {
            Ok(embedded) => Ok(Connection { client: embedded.client().clone(), embedded: Some(embedded) }),
            Err(client) => Ok(Connection { client, embedded: None }),
        }
    }

    /// Finds a coordinator that may have workers: none in this process.
    pub(crate) async fn living(&self) -> Result<Option<Connection>, CliError> {
        if let Some(address) = &self.coordinator {
            let client = Client::new(address)?;
            client.cluster().await?;
            return Ok(Some(Connection { client, embedded: None }));
        }
        let client = who_serves(&self.home()).await;
        Ok(client.map(|(client, _)| Connection { client, embedded: None }))
    }

    /// The home, which may not exist.
    pub(crate) fn home(&self) -> Home {
        Home::at(&self.home)
    }

    /// The home, if jobs were ever run there.
    pub(crate) fn existing_home(&self) -> Result<Home, CliError> {
        let home = self.home();
        if home.exists() {
            return Ok(home);
        }
        let message = format!("there is no home at {}: no job was ever run there", self.home.display());
        Err(CliError::usage(message).hint(
            "`phalanx run JOB` makes one, --home DIR names another, --coordinator URL asks a coordinator elsewhere",
        ))
    }
}

impl Connection {
    /// A client of the coordinator.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Whether the coordinator ends with this command: jobs do not go on then.
    pub(crate) fn is_embedded(&self) -> bool {
        self.embedded.is_some()
    }

    /// Ends what was started for this command.
    pub(crate) async fn close(self) {
        if let Some(embedded) = self.embedded {
            embedded.stop().await;
        }
    }
}

/// The coordinator that serves `home` in another process, if one does.
pub(crate) async fn who_serves(home: &Home) -> Option<(Client, Announcement)> {
    let announcement = home.announcement()?;
    let client = Client::new(&announcement.http_addr.to_string()).ok()?;
    let cluster = client.cluster().await.ok()?;
    (cluster.store_url == announcement.store_url).then_some((client, announcement))
}
