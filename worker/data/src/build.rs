//! Building a data set on a thread of its own: all passes over the source, from
//! its first byte to its last shard. Knows no store: what it makes leaves
//! through an outlet.

use std::path::Path;

use phalanx_protocol::spec::{CsvSpec, DataSpec, SourceSpec, SplitSpec, TextSpec};
use phalanx_storage::StorageError;
use tokio::sync::{mpsc, watch};

use crate::{
    Encoder, FeatureKind, PrepareError, Progress, Schema, Split, Stage, TargetKind,
    encoder::Rules,
    fit::{Fitted, fit},
    manifest::ColumnSummary,
    plan::{Plan, WIDTH_MAX},
    profile::{Profile, Target, profile},
    shard::Shard,
    source::{CsvTable, Dialect, ParquetTable, Table, TextFile},
    split::{Division, sizes},
    write::{windows, write_table, write_text},
};

/// Where what a build makes goes while it runs.
#[derive(Debug)]
pub(crate) struct Outlet {
    /// Shards to be stored. If the other end is gone, the build ends.
    pub(crate) shards: mpsc::Sender<Shard>,
    /// How far it has come; only the newest counts. If the other end is gone, the build ends.
    pub(crate) progress: watch::Sender<Progress>,
}

/// What a build knows at its end.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) schema: Schema,
    pub(crate) encoder: Encoder,
    pub(crate) columns: Vec<ColumnSummary>,
    /// Rows of the source; bytes, for text.
    pub(crate) rows: u64,
}

/// Reads the source that `spec` names and sends its shards to `outlet`.
pub(crate) fn build(spec: &DataSpec, outlet: &Outlet) -> Result<Built, PrepareError> {
    match source(spec)? {
        SourceSpec::Csv(csv) => {
            let dialect = dialect(csv);
            let table = Table::Csv(CsvTable::open(&csv.path, &dialect)?);
            build_table(&table, spec, &dialect, outlet)
        }
        SourceSpec::Parquet(parquet) => {
            let table = Table::Parquet(ParquetTable::open(&parquet.path)?);
            // How a CSV file is read that a model of this data set is given later.
            let dialect = Dialect { delimiter: ',', missing: vec![String::new()] };
            build_table(&table, spec, &dialect, outlet)
        }
        SourceSpec::Text(text) => build_text(text, &spec.split, outlet),
    }
}

/// The path of the source, if `spec` can be followed as far as that shows without it.
pub(crate) fn check_recipe(spec: &DataSpec) -> Result<&Path, PrepareError> {
    let refuse = |reason: String| Err(PrepareError::Recipe { reason });
    let fractions = Split::ALL.map(|split| split.fraction(&spec.split));
    let sum: f64 = fractions.iter().sum();
    if fractions.iter().any(|fraction| !(0.0..=1.0).contains(fraction)) || (sum - 1.0).abs() > 1e-6 {
        return refuse(format!(
            "the fractions of `split` must be of 0 to 1 and add up to 1, found {fractions:?}"
        ));
    }
    match source(spec)? {
        SourceSpec::Csv(csv) => Ok(&csv.path),
        SourceSpec::Parquet(parquet) => Ok(&parquet.path),
        SourceSpec::Text(text) if !(1..=WIDTH_MAX).contains(&text.context) => {
            refuse(format!("`context` must be of 1 to {WIDTH_MAX} bytes, found {}", text.context))
        }
        SourceSpec::Text(_) if spec.split.stratify => {
            refuse("`stratify` needs classes, which a text has none of".to_owned())
        }
        SourceSpec::Text(text) => Ok(&text.path),
    }
}

fn source(spec: &DataSpec) -> Result<SourceSpec<'_>, PrepareError> {
    spec.source().ok_or_else(|| PrepareError::Recipe {
        reason: "expected one of `csv`, `parquet` and `text`, found none or several".to_owned(),
    })
}

fn dialect(csv: &CsvSpec) -> Dialect {
    Dialect { delimiter: csv.delimiter, missing: csv.missing.clone() }
}

fn build_table(
    table: &Table,
    spec: &DataSpec,
    dialect: &Dialect,
    outlet: &Outlet,
) -> Result<Built, PrepareError> {
    let mut plan = Plan::new(table, spec)?;
    let profile = profile(table, &mut plan, outlet.tell(Stage::Profile))?;
    let division = divide(&profile, &plan, &spec.split)?;
    check_sizes(&spec.split, division.sizes(), division.sizes(), table.path(), "rows")?;
    let Fitted { schema, encoder, columns } =
        fit(table, &plan, &profile, &division, dialect, outlet.tell(Stage::Fit))?;
    let mut sink = |shard| outlet.send(shard);
    write_table(table, &plan, &profile, &division, &encoder, outlet.tell(Stage::Write), &mut sink)?;
    Ok(Built { schema, encoder, columns, rows: profile.rows })
}

fn divide(profile: &Profile, plan: &Plan, split: &SplitSpec) -> Result<Division, PrepareError> {
    match &profile.target {
        Target::Classes(classes) if split.stratify => Ok(Division::new(split, &classes.rows)),
        Target::Number if split.stratify => Err(PrepareError::Recipe {
            reason: format!("`stratify` needs classes, but `{}` holds numbers", plan.target.name),
        }),
        Target::Classes(_) | Target::Number => Ok(Division::new(split, &[profile.rows])),
    }
}

fn build_text(spec: &TextSpec, split: &SplitSpec, outlet: &Outlet) -> Result<Built, PrepareError> {
    let mut text = TextFile::open(&spec.path)?;
    let stretches = sizes(split, text.bytes());
    let windows = stretches.map(|bytes| windows(bytes, spec.context));
    check_sizes(split, windows, stretches, &spec.path, "bytes")?;
    let mut sink = |shard| outlet.send(shard);
    write_text(&mut text, spec.context, stretches, outlet.tell(Stage::Write), &mut sink)?;
    Ok(Built {
        schema: Schema {
            features: FeatureKind::Bytes { context: spec.context },
            target: TargetKind::NextByte,
        },
        encoder: Encoder { rules: Rules::Text { context: spec.context } },
        columns: Vec::new(),
        rows: text.bytes(),
    })
}

/// Fails if a split that was asked for has no rows.
fn check_sizes(
    spec: &SplitSpec,
    rows: [u64; 3],
    units: [u64; 3],
    path: &Path,
    unit: &'static str,
) -> Result<(), PrepareError> {
    for (split, rows) in Split::ALL.into_iter().zip(rows) {
        let fraction = split.fraction(spec);
        if rows == 0 && (fraction > 0.0 || split == Split::Train) {
            let rows = units.iter().sum();
            return Err(PrepareError::EmptySplit { path: path.to_owned(), split, fraction, rows, unit });
        }
    }
    Ok(())
}

impl Outlet {
    fn tell(&self, stage: Stage) -> impl FnMut(f32) -> Result<(), PrepareError> + '_ {
        move |fraction| self.progress.send(Progress { stage, fraction }).map_err(given_up)
    }

    fn send(&self, shard: Shard) -> Result<(), PrepareError> {
        self.shards.blocking_send(shard).map_err(given_up)
    }
}

/// The other end is gone if the store failed or preparing was given up: whoever did
/// so knows why, and nobody sees this error.
pub(crate) fn given_up<E>(_: E) -> PrepareError {
    StorageError::Other("preparing was given up".to_owned()).into()
}
