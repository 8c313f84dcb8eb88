//! `phalanx data`: data sets without a job. Everything is done in this process;
//! a coordinator is asked only where its object store is.

mod diff;
mod export;
mod prepare;
mod show;
mod validate;

use std::path::Path;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use phalanx_data::{DatasetManifest, FindError, PrepareError, Progress, Stage, find_version};
use phalanx_protocol::spec::DataSpec;
use phalanx_storage::Store;

use super::job_file::JobFileArgs;
use crate::{
    connect::Where,
    error::{CliError, Exit},
};

/// Prepare, look at, check, compare and export data sets
///
/// A dataset version is what a job trains on: rows that were cleaned, divided and encoded. It never changes, and its
/// name is a hash of what it was made of and how. The first letters of the name are enough.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  phalanx data validate examples/adult.toml
  phalanx data prepare examples/adult.toml
  phalanx data show examples/adult.toml
  phalanx data diff 3f2a 91bc
  phalanx data export examples/adult.toml --format parquet --output adult.parquet")]
pub(crate) struct Data {
    #[command(subcommand)]
    what: What,
}

/// What is done.
#[derive(Debug, Subcommand)]
enum What {
    Prepare(prepare::Prepare),
    Show(show::Show),
    Validate(validate::Validate),
    Diff(diff::Diff),
    Export(export::Export),
}

impl Data {
    /// Does it.
    pub(crate) async fn run(self) -> Result<Exit, CliError> {
        match self.what {
            What::Prepare(command) => command.run().await,
            What::Show(command) => command.run().await,
            What::Validate(command) => command.run().await,
            What::Diff(command) => command.run().await,
            What::Export(command) => command.run().await,
        }
    }
}

/// The object store that a coordinator has, or the home's.
async fn store(at: &Where) -> Result<Store, CliError> {
    let url = match at.living().await? {
        Some(connection) => {
            let url = connection.client().cluster().await?.store_url;
            connection.close().await;
            url
        }
        None => at.home().store().display().to_string(),
    };
    Store::open(&url).map_err(CliError::failed)
}

/// A data set as a user names it.
enum Named {
    /// By the name of its version, or the beginning of that.
    Version(String),
    /// By the job that trains on it.
    Job(Box<DataSpec>),
}

impl Named {
    fn new(text: &str) -> Result<Self, CliError> {
        let path = Path::new(text);
        if path.is_file() {
            return Ok(Self::Job(Box::new(JobFileArgs::of(path).read()?.data)));
        }
        if !text.is_empty() && text.chars().all(|letter| letter.is_ascii_hexdigit()) {
            return Ok(Self::Version(text.to_lowercase()));
        }
        let message = format!("`{text}` is neither a job file nor the name of a dataset version");
        Err(CliError::usage(message).hint("a version's name is of the digits 0 to 9 and the letters a to f"))
    }

    /// Its manifest. The data of a job is prepared if it was not before.
    async fn manifest(&self, store: &Store) -> Result<DatasetManifest, CliError> {
        match self {
            Self::Version(name) => found(find_version(name, store).await),
            Self::Job(spec) => {
                let version = prepared(spec, store).await?.dataset.version;
                found(find_version(&version, store).await)
            }
        }
    }
}

fn found(found: Result<DatasetManifest, FindError>) -> Result<DatasetManifest, CliError> {
    found.map_err(|error| match error {
        FindError::NotFound { .. } => CliError::usage(error).hint("`phalanx data prepare JOB` makes one"),
        FindError::Several { .. } => CliError::usage(error).hint("give more of its name"),
        FindError::Open(error) => CliError::failed(error),
    })
}

/// Prepares the data of a job, or finds what was prepared before.
async fn prepared(spec: &DataSpec, store: &Store) -> Result<phalanx_data::Prepared, CliError> {
    let told = Told::begin();
    let prepared = phalanx_data::prepare(spec, store, &mut |progress| told.show(progress)).await;
    told.end();
    prepared.map_err(wrong)
}

/// What preparing says, as an error of this program: the data's fault, if it is not the store's.
fn wrong(error: PrepareError) -> CliError {
    match error {
        PrepareError::Storage(error) => CliError::failed(error),
        PrepareError::Scratch { .. } | PrepareError::Fetch { .. } => CliError::failed(error),
        error => CliError::usage(error),
    }
}

/// A bar that tells how far preparing is.
struct Told {
    bar: ProgressBar,
}

impl Told {
    fn begin() -> Self {
        let style = ProgressStyle::with_template("{msg} {bar:40} {percent}%");
        let bar = ProgressBar::new(100);
        if let Ok(style) = style {
            bar.set_style(style);
        }
        Self { bar }
    }

    fn show(&self, Progress { stage, fraction }: Progress) {
        self.bar.set_message(match stage {
            Stage::Hash => "hashing  ",
            Stage::Profile => "reading  ",
            Stage::Fit => "measuring",
            Stage::Write => "encoding ",
        });
        self.bar.set_position((fraction.clamp(0.0, 1.0) * 100.0) as u64);
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}
