//! Building a data set on a thread of its own: all passes over the source, from
//! its first byte to its last shard. Knows no store: what it makes leaves
//! through an outlet.

use std::path::Path;

use bytes::Bytes;
use phalanx_protocol::spec::{CsvSpec, DataSpec, SourceSpec, SplitSpec, TextSpec};
use phalanx_storage::StorageError;
use tokio::sync::{mpsc, watch};

use crate::{
    ColumnProfile, Encoder, FeatureKind, Funnel, Outcome, PrepareError, Progress, Schema, Split, Stage,
    TargetKind,
    clean::{self, Batches, Cleaned},
    cleaner::Cleaner,
    encoder::Rules,
    fit::{Fitted, fit},
    intake::Input,
    kept,
    manifest::ColumnSummary,
    material::Material,
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
    /// What is to be stored. If the other end is gone, the build ends.
    pub(crate) parts: mpsc::Sender<Part>,
    /// How far it has come; only the newest counts. If the other end is gone, the build ends.
    pub(crate) progress: watch::Sender<Progress>,
}

/// What a build makes on its way.
#[derive(Debug)]
pub(crate) enum Part {
    /// A shard of encoded rows.
    Shard(Shard),
    /// Rows of a split before they were encoded, as a Parquet file.
    Raw { split: Split, number: usize, rows: u64, content: Bytes },
}

/// What a build knows at its end.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) schema: Schema,
    pub(crate) encoder: Encoder,
    pub(crate) columns: Vec<ColumnSummary>,
    /// All columns before they were encoded; none for text.
    pub(crate) profile: Vec<ColumnProfile>,
    /// Rows of the source; bytes, for text.
    pub(crate) rows: u64,
    pub(crate) funnel: Option<Funnel>,
    pub(crate) outcomes: Vec<Outcome>,
    /// Rows that were put aside, and how many they are.
    pub(crate) quarantine: Option<(Bytes, u64)>,
}

/// Reads the source and sends what comes of it to `outlet`.
pub(crate) fn build(material: &Material, outlet: &Outlet) -> Result<Built, PrepareError> {
    let spec = &material.spec;
    // How a CSV file is read that a model of this data set is given later.
    let plain = Dialect { delimiter: ',', missing: vec![String::new()] };
    match source(spec)? {
        SourceSpec::Text(text) => build_text(text, &material.plain_text()?, &spec.split, outlet),
        SourceSpec::Csv(csv) if material.is_plain() => {
            let dialect = dialect(csv);
            let table = Table::Csv(CsvTable::open(&csv.path, &dialect)?);
            build_plain(&table, material, &dialect, outlet)
        }
        SourceSpec::Parquet(parquet) if material.is_plain() => {
            let table = Table::Parquet(ParquetTable::open(&parquet.path)?);
            build_plain(&table, material, &plain, outlet)
        }
        SourceSpec::Csv(csv) => build_clean(material, &dialect(csv), outlet),
        SourceSpec::Parquet(_)
        | SourceSpec::Json(_)
        | SourceSpec::Arrow(_)
        | SourceSpec::Images(_)
        | SourceSpec::Sql(_)
        | SourceSpec::Http(_) => build_clean(material, &plain, outlet),
    }
}

/// A source that is cleaned first.
fn build_clean(material: &Material, dialect: &Dialect, outlet: &Outlet) -> Result<Built, PrepareError> {
    let Cleaned { table, raw, funnel, changes, outcomes, quarantine } = material.clean()?;
    clean::refuse(&outcomes)?;
    let given = clean::splits(&table)?;
    let (mut built, splits) = build_table(&material.table(&table), &material.spec, dialect, given, outlet)?;
    built.profile = kept::send(&Batches::Table(table), &splits, outlet)?;
    let target = material.spec.target().unwrap_or_default();
    built.encoder.clean = Some(Cleaner::new(&raw, target, changes));
    built.rows = funnel.rows_read;
    built.funnel = Some(funnel);
    built.outcomes = outcomes;
    let rows = quarantine.rows();
    built.quarantine = quarantine.finish()?.map(|content| (content.into(), rows));
    Ok(built)
}

/// A source that is read as it is.
fn build_plain(
    table: &Table,
    material: &Material,
    dialect: &Dialect,
    outlet: &Outlet,
) -> Result<Built, PrepareError> {
    let (mut built, splits) = build_table(table, &material.spec, dialect, None, outlet)?;
    let input = Input::open(&material.spec, material.files.clone())?;
    built.profile = kept::send(&Batches::Source(&input), &splits, outlet)?;
    Ok(built)
}

/// Fails if `spec` cannot be followed as far as that shows without its source.
pub(crate) fn check_recipe(spec: &DataSpec) -> Result<(), PrepareError> {
    let refuse = |reason: String| Err(PrepareError::Recipe { reason });
    let fractions = Split::ALL.map(|split| split.fraction(&spec.split));
    let sum: f64 = fractions.iter().sum();
    if fractions.iter().any(|fraction| !(0.0..=1.0).contains(fraction)) || (sum - 1.0).abs() > 1e-6 {
        return refuse(format!(
            "the fractions of `split` must be of 0 to 1 and add up to 1, found {fractions:?}"
        ));
    }
    match source(spec)? {
        SourceSpec::Text(text) if !(1..=WIDTH_MAX).contains(&text.context) => {
            refuse(format!("`context` must be of 1 to {WIDTH_MAX} bytes, found {}", text.context))
        }
        SourceSpec::Text(_) if spec.split.stratify => {
            refuse("`stratify` needs classes, which a text has none of".to_owned())
        }
        _ => Ok(()),
    }
}

fn source(spec: &DataSpec) -> Result<SourceSpec<'_>, PrepareError> {
    spec.source().ok_or_else(|| PrepareError::Recipe {
        reason: "expected one source, such as `csv`, `parquet` or `text`, found none or several".to_owned(),
    })
}

fn dialect(csv: &CsvSpec) -> Dialect {
    Dialect { delimiter: csv.delimiter, missing: csv.missing.clone() }
}

/// Encodes a table, and tells which split each row went to.
fn build_table(
    table: &Table,
    spec: &DataSpec,
    dialect: &Dialect,
    given: Option<Vec<Split>>,
    outlet: &Outlet,
) -> Result<(Built, Vec<Split>), PrepareError> {
    let mut plan = Plan::new(table, spec)?;
    let profile = profile(table, &mut plan, outlet.tell(Stage::Profile))?;
    let division = match given {
        Some(splits) => Division::given(splits),
        None => divide(&profile, &plan, &spec.split)?,
    };
    check_sizes(&spec.split, division.sizes(), division.sizes(), table.path(), "rows")?;
    let Fitted { schema, encoder, columns } =
        fit(table, &plan, &profile, &division, dialect, outlet.tell(Stage::Fit))?;
    let mut sink = |shard| outlet.send(Part::Shard(shard));
    let (mut splits, told) = (Vec::with_capacity(profile.rows as usize), outlet.tell(Stage::Write));
    write_table(table, &plan, &profile, &division, &encoder, &mut splits, told, &mut sink)?;
    Ok((Built::new(schema, encoder, columns, profile.rows), splits))
}

pub(crate) fn divide(profile: &Profile, plan: &Plan, split: &SplitSpec) -> Result<Division, PrepareError> {
    match &profile.target {
        Target::Classes(classes) if split.stratify => Ok(Division::new(split, &classes.rows)),
        Target::Number if split.stratify => Err(PrepareError::Recipe {
            reason: format!("`stratify` needs classes, but `{}` holds numbers", plan.target.name),
        }),
        Target::Classes(_) | Target::Number => Ok(Division::new(split, &[profile.rows])),
    }
}

fn build_text(
    spec: &TextSpec,
    path: &Path,
    split: &SplitSpec,
    outlet: &Outlet,
) -> Result<Built, PrepareError> {
    let mut text = TextFile::open(path)?;
    let stretches = sizes(split, text.bytes());
    let windows = stretches.map(|bytes| windows(bytes, spec.context));
    check_sizes(split, windows, stretches, &spec.path, "bytes")?;
    let mut sink = |shard| outlet.send(Part::Shard(shard));
    write_text(&mut text, spec.context, stretches, outlet.tell(Stage::Write), &mut sink)?;
    let schema =
        Schema { features: FeatureKind::Bytes { context: spec.context }, target: TargetKind::NextByte };
    let encoder = Encoder { rules: Rules::Text { context: spec.context }, clean: None };
    Ok(Built::new(schema, encoder, Vec::new(), text.bytes()))
}

impl Built {
    fn new(schema: Schema, encoder: Encoder, columns: Vec<ColumnSummary>, rows: u64) -> Self {
        let (profile, outcomes) = (Vec::new(), Vec::new());
        Self { schema, encoder, columns, profile, rows, funnel: None, outcomes, quarantine: None }
    }
}

/// Fails if a split that was asked for has no rows.
pub(crate) fn check_sizes(
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

    pub(crate) fn send(&self, part: Part) -> Result<(), PrepareError> {
        self.parts.blocking_send(part).map_err(given_up)
    }
}

/// The other end is gone if the store failed or preparing was given up: whoever did
/// so knows why, and nobody sees this error.
pub(crate) fn given_up<E>(_: E) -> PrepareError {
    StorageError::Other("preparing was given up".to_owned()).into()
}
