//! `phalanx data export`: clean rows as a file for other programs.

use std::{
    fs,
    io::{self, BufWriter, Write},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use clap::{Args, ValueEnum};
use phalanx_data::{ExportFormat, Exporter, PrepareError, RawRows, Split, clean_rows, undivided_rows};
use phalanx_protocol::spec::Objective;

use super::{Named, Told, store, wrong};
use crate::{
    connect::Where,
    error::{CliError, Exit},
    show,
};

/// Write the clean rows of a data set, as they are before they are encoded
///
/// Of a job, all rows: its source is read and cleaned again. Of a version, the rows of the validation and the test
/// split, which are kept with it. A column `split` says where each row belongs; tasks for Label Studio have it only with
/// `--split`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  phalanx data export examples/adult.toml --format parquet --output adult.parquet
  phalanx data export 3f2a --format csv --split test > test.csv
  phalanx data export reviews.toml --format label-studio --output tasks.json")]
pub(super) struct Export {
    /// The beginning of a version's name, or a job file
    #[arg(value_name = "VERSION|JOB")]
    data: String,

    /// How rows are written
    #[arg(long, value_enum, default_value = "csv")]
    format: Format,

    /// Write the rows of one split alone
    #[arg(long, value_enum)]
    split: Option<Part>,

    /// Write to this file; to standard output by default
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,

    #[command(flatten)]
    at: Where,
}

/// How rows are written.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// CSV with a header line
    Csv,
    /// One Parquet file
    Parquet,
    /// A JSON object on each line
    Jsonl,
    /// Tasks for Label Studio, with the labels that are there as annotations
    LabelStudio,
}

/// Which rows.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Part {
    /// What is trained on
    Train,
    /// What is measured while training
    Validation,
    /// What is measured at the end
    Test,
}

/// What rows are written to.
type Sink = Box<dyn Write + Send>;

impl Export {
    /// Writes.
    pub(super) async fn run(self) -> Result<Exit, CliError> {
        let named = Named::new(&self.data)?;
        let format = self.format(&named).await?;
        let only = self.split.map(|part| match part {
            Part::Train => Split::Train,
            Part::Validation => Split::Validation,
            Part::Test => Split::Test,
        });
        if let (Named::Version(_), Some(Split::Train)) = (&named, only) {
            return Err(CliError::usage(
                "a version keeps the rows of the validation and the test split alone",
            )
            .hint("export the job: its source is cleaned again"));
        }
        let staged = self.output.as_deref().map(staged).transpose().map_err(|error| self.cannot(&error))?;
        let to: Sink = match &staged {
            Some(staged) => Box::new(BufWriter::new(staged.reopen().map_err(|error| self.cannot(&error))?)),
            None => Box::new(BufWriter::new(io::stdout())),
        };
        let rows = self.write(&named, Exporter::new(format, only, to)).await?;
        if let (Some(staged), Some(output)) = (staged, &self.output) {
            staged.persist(output).map_err(|error| self.cannot(&error.error))?;
            anstream::eprintln!("{}: {} rows", output.display(), show::count(rows));
        }
        Ok(Exit::Done)
    }

    async fn format(&self, named: &Named) -> Result<ExportFormat, CliError> {
        let recipe = match (self.format, named) {
            (Format::Csv, _) => return Ok(ExportFormat::Csv),
            (Format::Parquet, _) => return Ok(ExportFormat::Parquet),
            (Format::Jsonl, _) => return Ok(ExportFormat::JsonLines),
            (Format::LabelStudio, Named::Job(spec)) => spec.as_ref().clone(),
            (Format::LabelStudio, Named::Version(_)) => {
                named.manifest(&store(&self.at).await?).await?.lineage.recipe
            }
        };
        let target =
            recipe.target().ok_or_else(|| CliError::usage("a text has no rows that could be labelled"))?;
        let numbers = recipe.objective != Some(Objective::Classification);
        Ok(ExportFormat::LabelStudio { target: target.to_owned(), numbers })
    }

    async fn write(&self, named: &Named, mut exporter: Exporter<Sink>) -> Result<u64, CliError> {
        match named {
            Named::Version(_) => {
                let store = store(&self.at).await?;
                let manifest = named.manifest(&store).await?;
                for split in [Split::Validation, Split::Test] {
                    let rows = RawRows::read(&manifest, split, &store).await.map_err(CliError::failed)?;
                    for batch in rows.batches() {
                        let rows = if self.is_undivided() { 0 } else { batch.num_rows() };
                        let splits = vec![Some(split); rows];
                        exporter.write(batch, &splits).map_err(|error| self.cannot(&error))?;
                    }
                }
            }
            Named::Job(spec) => {
                let told = Told::begin();
                let shared = Arc::new(Mutex::new(exporter));
                let writing = shared.clone();
                let mut show = |progress| told.show(progress);
                let written = if self.is_undivided() {
                    undivided_rows(spec, &mut show, move |batch| {
                        shared_write(&writing, |to| to.write(batch, &[]))
                    })
                    .await
                } else {
                    let all = clean_rows(spec, &mut show, move |batch, splits| {
                        shared_write(&writing, |to| to.write(batch, splits))
                    });
                    all.await
                };
                told.end();
                written.map_err(wrong)?;
                let exporter = Arc::into_inner(shared).and_then(|shared| shared.into_inner().ok());
                let exporter = exporter.ok_or_else(|| CliError::failed("writing was given up"))?;
                return exporter.finish().map_err(|error| self.cannot(&error));
            }
        }
        exporter.finish().map_err(|error| self.cannot(&error))
    }

    /// What is to be labelled may have no label yet, and cannot be divided by it.
    fn is_undivided(&self) -> bool {
        matches!(self.format, Format::LabelStudio) && self.split.is_none()
    }

    fn cannot(&self, error: &io::Error) -> CliError {
        let to = self
            .output
            .as_deref()
            .map_or_else(|| "standard output".to_owned(), |path| path.display().to_string());
        CliError::failed(format!("{to} cannot be written: {error}"))
    }
}

/// Writes rows with an exporter that somebody else will take back.
fn shared_write(
    exporter: &Mutex<Exporter<Sink>>,
    write: impl FnOnce(&mut Exporter<Sink>) -> io::Result<()>,
) -> Result<(), PrepareError> {
    let mut exporter = exporter.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let path = PathBuf::from("the output");
    write(&mut exporter).map_err(|error| PrepareError::Unreadable { path, error })
}

/// A file beside `output` that takes its place when it is whole.
fn staged(output: &Path) -> io::Result<tempfile::NamedTempFile> {
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty());
    let permissions = fs::Permissions::from_mode(0o666);
    tempfile::Builder::new().permissions(permissions).tempfile_in(folder.unwrap_or(Path::new(".")))
}
