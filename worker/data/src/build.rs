//! Building a data set on a thread of its own: all passes over the source, from
//! its first byte to its last shard. Knows no store: what it makes leaves
//! through an outlet.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use phalanx_protocol::spec::{CsvSpec, DataSpec, Malformed, SourceSpec, SplitSpec, TextSpec};
use phalanx_storage::StorageError;
use tokio::sync::{mpsc, watch};

use crate::{
    Encoder, FeatureKind, Funnel, Outcome, PrepareError, Progress, Schema, Split, Stage, TargetKind,
    clean::{self, CleanTable, clean},
    encoder::Rules,
    fit::{Fitted, fit},
    intake::{self, Input, SourceFile, is_packed},
    kept,
    manifest::ColumnSummary,
    plan::{Plan, WIDTH_MAX},
    profile::{Profile, Target, profile},
    shard::Shard,
    source::{ArrowTable, CsvTable, Dialect, ParquetTable, Table, TextFile},
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
    /// Rows of the source; bytes, for text.
    pub(crate) rows: u64,
    pub(crate) funnel: Option<Funnel>,
    pub(crate) outcomes: Vec<Outcome>,
    /// Rows that were put aside, and how many they are.
    pub(crate) quarantine: Option<(Bytes, u64)>,
}

/// What is built from.
#[derive(Debug, Clone)]
pub(crate) struct Material {
    pub(crate) spec: DataSpec,
    /// The source's files, on this machine.
    pub(crate) files: Vec<SourceFile>,
    /// A folder for what is made on the way.
    pub(crate) scratch: PathBuf,
}

/// Reads the source and sends what comes of it to `outlet`.
pub(crate) fn build(material: &Material, outlet: &Outlet) -> Result<Built, PrepareError> {
    let Material { spec, files, .. } = material;
    // How a CSV file is read that a model of this data set is given later.
    let plain = Dialect { delimiter: ',', missing: vec![String::new()] };
    match source(spec)? {
        SourceSpec::Text(text) => build_text(text, &plain_text(material)?, &spec.split, outlet),
        SourceSpec::Csv(csv) if is_plain(material) => {
            let dialect = dialect(csv);
            let table = Table::Csv(CsvTable::open(&csv.path, &dialect)?);
            build_plain(&table, material, &dialect, outlet)
        }
        SourceSpec::Parquet(parquet) if is_plain(material) => {
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

/// Whether the source is one file that can be read as it is, and nothing is to be done to it.
fn is_plain(material: &Material) -> bool {
    let Material { spec, files, .. } = material;
    let as_it_is = |file: &SourceFile| file.name == file.path && !is_packed(file);
    let untouched = spec.clean.is_empty() && spec.expect.is_empty() && spec.malformed == Malformed::Fail;
    untouched && matches!(files.as_slice(), [only] if as_it_is(only))
}

/// A text's bytes as one file: the source's own, or what its files hold one after the other.
fn plain_text(material: &Material) -> Result<PathBuf, PrepareError> {
    if let [only] = material.files.as_slice()
        && !is_packed(only)
    {
        return Ok(only.path.clone());
    }
    let path = material.scratch.join("text");
    let failed =
        |error: std::io::Error| PrepareError::Scratch { path: path.clone(), reason: error.to_string() };
    let mut text = std::fs::File::create(&path).map_err(failed)?;
    for file in &material.files {
        intake::copy_plain(file, &mut text)?;
    }
    Ok(path)
}

/// A source that is read as it is.
fn build_plain(
    table: &Table,
    material: &Material,
    dialect: &Dialect,
    outlet: &Outlet,
) -> Result<Built, PrepareError> {
    let (built, splits) = build_table(table, &material.spec, dialect, None, outlet)?;
    let input = Input::open(&material.spec, material.files.clone())?;
    kept::send(|fold| input.read(|rows| Ok(rows.batch), fold), &splits, outlet)?;
    Ok(built)
}

/// A source that is cleaned first.
fn build_clean(material: &Material, dialect: &Dialect, outlet: &Outlet) -> Result<Built, PrepareError> {
    let Material { spec, files, scratch } = material;
    let input = Input::open(spec, files.clone())?;
    let divide = |table: &CleanTable| divide_rows(&Table::Clean(ArrowTable::new(table, files)), spec);
    let cleaned = clean(&input, spec, scratch, &divide)?;
    let given = clean::splits(&cleaned.table)?;
    let table = Table::Clean(ArrowTable::new(&cleaned.table, files));
    let (mut built, splits) = build_table(&table, spec, dialect, given, outlet)?;
    let path = &cleaned.table.path;
    kept::send(|fold| clean::read_batches(path)?.try_for_each(|batch| fold(batch?)), &splits, outlet)?;
    built.rows = cleaned.funnel.rows_read;
    built.funnel = Some(cleaned.funnel);
    built.outcomes = cleaned.outcomes;
    let rows = cleaned.quarantine.rows();
    built.quarantine = cleaned.quarantine.finish()?.map(|content| (content.into(), rows));
    Ok(built)
}

/// The split of each row of a table.
fn divide_rows(table: &Table, spec: &DataSpec) -> Result<Vec<Split>, PrepareError> {
    let mut plan = Plan::of_target(table, spec)?;
    let profile = profile(table, &mut plan, |_| Ok(()))?;
    let division = divide(&profile, &plan, &spec.split)?;
    check_sizes(&spec.split, division.sizes(), division.sizes(), table.path(), "rows")?;
    let changed = || PrepareError::Changed { path: table.path().to_owned() };
    let (mut walk, mut splits) = (division.walk(), Vec::new());
    for chunk in table.chunks(&plan.selected())? {
        let chunk = chunk?;
        let cells = chunk.columns.last().ok_or_else(changed)?;
        let targets = profile.target.read(cells, chunk.rows).ok_or_else(changed)?;
        for row in 0..chunk.rows {
            splits.push(walk.next(targets.class(row)).ok_or_else(changed)?);
        }
    }
    Ok(splits)
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

fn divide(profile: &Profile, plan: &Plan, split: &SplitSpec) -> Result<Division, PrepareError> {
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
    let encoder = Encoder { rules: Rules::Text { context: spec.context } };
    Ok(Built::new(schema, encoder, Vec::new(), text.bytes()))
}

impl Built {
    fn new(schema: Schema, encoder: Encoder, columns: Vec<ColumnSummary>, rows: u64) -> Self {
        Self { schema, encoder, columns, rows, funnel: None, outcomes: Vec::new(), quarantine: None }
    }
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

    pub(crate) fn send(&self, part: Part) -> Result<(), PrepareError> {
        self.parts.blocking_send(part).map_err(given_up)
    }
}

/// The other end is gone if the store failed or preparing was given up: whoever did
/// so knows why, and nobody sees this error.
pub(crate) fn given_up<E>(_: E) -> PrepareError {
    StorageError::Other("preparing was given up".to_owned()).into()
}
