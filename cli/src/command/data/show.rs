//! `phalanx data show`: what a dataset version is, and how it came about.

use std::{io, path::PathBuf};

use clap::Args;

use super::{Named, store};
use crate::{
    connect::Where,
    error::{CliError, Exit},
    output::write_whole,
    show,
};

/// Show a dataset version: what it was made of, what each step did, its columns and splits
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  phalanx data show examples/adult.toml
  phalanx data show 3f2a
  phalanx data show 3f2a --html adult.html
  phalanx data show 3f2a --json | jq '.lineage.funnel'")]
pub(super) struct Show {
    /// The beginning of a version's name, or a job file
    #[arg(value_name = "VERSION|JOB")]
    data: String,

    /// Print its manifest, which has all of it, as JSON
    #[arg(long)]
    json: bool,

    /// Write it to this file as a page that browsers show, with a plot of each column
    #[arg(long, value_name = "FILE.html")]
    html: Option<PathBuf>,

    #[command(flatten)]
    at: Where,
}

impl Show {
    /// Shows it.
    pub(super) async fn run(self) -> Result<Exit, CliError> {
        let named = Named::new(&self.data)?;
        let store = store(&self.at).await?;
        let manifest = named.manifest(&store).await?;
        if let Some(file) = &self.html {
            let page = show::dataset_page(&manifest).to_html();
            write_whole(file, |to| to.write_all(page.as_bytes())).map_err(|error: io::Error| {
                CliError::failed(format!("{} cannot be written: {error}", file.display()))
            })?;
        }
        if self.json {
            show::print_json(&manifest)?;
        } else if self.html.is_none() {
            show::print(&show::dataset(&manifest))?;
        }
        Ok(Exit::Done)
    }
}
