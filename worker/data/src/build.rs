//! Building a data set on a thread of its own: all passes over the source, from
//! its first byte to its last shard. Knows no store: what it makes leaves
//! through an outlet.

use std::path::Path;

use bytes::Bytes;
use phalanx_protocol::spec::{CsvSpec, DataSpec, SourceSpec, SplitBy, SplitSpec, TextEncoding, TextSpec};
use phalanx_storage::StorageError;
use tokio::sync::{mpsc, watch};

use crate::{
    ColumnProfile, Encoder, FeatureKind, Funnel, Outcome, PrepareError, Progress, Schema, Sketches, Split,
    Stage, TargetKind,
    clean::{self, Batches, Cleaned},
    cleaner::Cleaner,
    encoder::{Rules, TokenRules},
    fit::{Fitted, fit},
    intake::Input,
    kept,
    manifest::ColumnSummary,
    material::Material,
    pass::Pass,
    plan::{Plan, WIDTH_MAX},
    profile::profile,
    shard::Shard,
    source::{CsvTable, Dialect, ParquetTable, Table, TextFile},
    split::{Division, LeakageCheck, LeakageFinding, Survey, check_sizes, sizes},
    tokens::{Tokenizer, whole_characters},
    weigh::{Weighed, Weigher},
    write::{windows, write_table, write_text, write_tokens},
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
    /// Sketches of them.
    pub(crate) sketches: Option<Sketches>,
    pub(crate) leakage: Vec<LeakageFinding>,
    pub(crate) weights: Option<Weighed>,
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
        SourceSpec::Text(text) => build_text(text, &material.plain_text()?, spec, outlet),
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
        | SourceSpec::LabelStudio(_)
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
    keep(&mut built, &Batches::Table(table), &splits, material, outlet)?;
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
    keep(&mut built, &Batches::Source(&input), &splits, material, outlet)?;
    Ok(built)
}

/// Keeps what is needed of rows as they were before they were encoded.
fn keep(
    built: &mut Built,
    batches: &Batches<'_>,
    splits: &[Option<Split>],
    material: &Material,
    outlet: &Outlet,
) -> Result<(), PrepareError> {
    let mut weigher = Weigher::new(&material.spec, &built.schema)?;
    built.hold(kept::send(batches, splits, weigher.as_mut(), outlet)?);
    built.weights = weigher.map(Weigher::finish);
    Ok(())
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
        SourceSpec::Text(_) if spec.split.by != SplitBy::Random => {
            refuse("`split.by` needs rows of a table; a text is cut into three stretches".to_owned())
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
    given: Option<Vec<Option<Split>>>,
    outlet: &Outlet,
) -> Result<(Built, Vec<Option<Split>>), PrepareError> {
    let mut plan = Plan::new(table, spec)?;
    let mut survey = Survey::new(&spec.split);
    let profile = profile(table, &mut plan, &mut survey, outlet.tell(Stage::Profile))?;
    let division = match given {
        Some(splits) => Division::Given(splits),
        None => survey.divide(&spec.split, &profile, table, &plan)?,
    };
    let mut leakage = LeakageCheck::new(&spec.split);
    let pass = Pass { table, plan: &plan, profile: &profile, division: &division, dialect, spec };
    let Fitted { schema, encoder, columns } = fit(&pass, &mut leakage, outlet.tell(Stage::Fit))?;
    let mut sink = |shard| outlet.send(Part::Shard(shard));
    let splits = write_table(&pass, &mut leakage, &encoder, outlet.tell(Stage::Write), &mut sink)?;
    let leakage = leakage.written(table.path())?;
    let built = Built { columns, leakage, ..Built::new(schema, encoder, profile.rows) };
    Ok((built, splits))
}

/// A text, whose bytes are in the file at `path`.
fn build_text(text: &TextSpec, path: &Path, spec: &DataSpec, outlet: &Outlet) -> Result<Built, PrepareError> {
    let mut file = TextFile::open(path)?;
    let stretches = sizes(&spec.split, file.bytes());
    let (schema, rules) = match spec.encode.text {
        TextEncoding::Bytes => build_bytes(text, &mut file, stretches, &spec.split, outlet)?,
        TextEncoding::Bpe => build_tokens(text, &mut file, stretches, spec, outlet)?,
    };
    Ok(Built::new(schema, Encoder { rules, clean: None }, file.bytes()))
}

fn build_bytes(
    text: &TextSpec,
    file: &mut TextFile,
    stretches: [u64; 3],
    split: &SplitSpec,
    outlet: &Outlet,
) -> Result<(Schema, Rules), PrepareError> {
    let context = text.context;
    let windows = stretches.map(|bytes| windows(bytes, context));
    check_sizes(split, windows, stretches, &text.path, "bytes")?;
    let mut sink = |shard| outlet.send(Part::Shard(shard));
    write_text(file, context, stretches, outlet.tell(Stage::Write), &mut sink)?;
    let schema = Schema { features: FeatureKind::Bytes { context }, target: TargetKind::NextByte };
    Ok((schema, Rules::Text { context }))
}

fn build_tokens(
    text: &TextSpec,
    file: &mut TextFile,
    stretches: [u64; 3],
    spec: &DataSpec,
    outlet: &Outlet,
) -> Result<(Schema, Rules), PrepareError> {
    let context = text.context;
    let stretches = whole_characters(file, stretches)?;
    let vocabulary = spec.encode.vocabulary as usize;
    let tokenizer = Tokenizer::learn(file, (0, stretches[0]), vocabulary, outlet.tell(Stage::Fit))?;
    let rules = TokenRules { context, tokenizer };
    let mut sink = |shard| outlet.send(Part::Shard(shard));
    let [windows, tokens] = write_tokens(file, &rules, stretches, outlet.tell(Stage::Write), &mut sink)?;
    check_sizes(&spec.split, windows, tokens, &text.path, "tokens")?;
    let target = TargetKind::NextToken { lengths: rules.tokenizer.lengths() };
    Ok((Schema { features: FeatureKind::Tokens { context }, target }, Rules::Tokens(rules)))
}

impl Built {
    /// Without what only some sources have.
    fn new(schema: Schema, encoder: Encoder, rows: u64) -> Self {
        Self {
            schema,
            encoder,
            columns: Vec::new(),
            profile: Vec::new(),
            sketches: None,
            leakage: Vec::new(),
            weights: None,
            rows,
            funnel: None,
            outcomes: Vec::new(),
            quarantine: None,
        }
    }

    fn hold(&mut self, (profile, sketches): (Vec<ColumnProfile>, Sketches)) {
        self.profile = profile;
        self.sketches = Some(sketches);
    }
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
