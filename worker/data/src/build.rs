//! Building a data set on a thread of its own: all passes over the source, from
//! its first byte to its last shard. Knows no store: what it makes leaves
//! through an outlet.

use std::path::Path;

use phalanx_protocol::spec::{CsvSpec, DataSpec, SourceSpec, SplitBy, SplitSpec, TextEncoding, TextSpec};
use phalanx_storage::StorageError;
use tokio::sync::{mpsc, watch};

use crate::{
    Encoder, FeatureKind, PrepareError, Progress, Schema, Split, Stage, TargetKind,
    encoder::{Rules, TokenRules},
    fit::{Fitted, Pass, fit},
    manifest::ColumnSummary,
    plan::{Plan, WIDTH_MAX},
    profile::profile,
    shard::Shard,
    source::{CsvTable, Dialect, ParquetTable, Table, TextFile},
    split::{LeakageCheck, LeakageFinding, Survey, check_sizes, sizes},
    tokens::{Tokenizer, whole_characters},
    write::{windows, write_table, write_text, write_tokens},
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
    pub(crate) leakage: Vec<LeakageFinding>,
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
        SourceSpec::Text(text) => build_text(text, spec, outlet),
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
        SourceSpec::Text(_) if spec.split.by != SplitBy::Random => {
            refuse("`split.by` needs rows of a table; a text is cut into three stretches".to_owned())
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
    let mut survey = Survey::new(&spec.split);
    let profile = profile(table, &mut plan, &mut survey, outlet.tell(Stage::Profile))?;
    let division = survey.divide(&spec.split, &profile, table, &plan)?;
    let mut leakage = LeakageCheck::new(&spec.split);
    let pass = Pass { table, plan: &plan, profile: &profile, division: &division, dialect, spec };
    let Fitted { schema, encoder, columns } = fit(&pass, &mut leakage, outlet.tell(Stage::Fit))?;
    let mut sink = |shard| outlet.send(shard);
    write_table(&pass, &mut leakage, &encoder, outlet.tell(Stage::Write), &mut sink)?;
    let leakage = leakage.written(table.path())?;
    Ok(Built { schema, encoder, columns, leakage, rows: profile.rows })
}

fn build_text(text: &TextSpec, spec: &DataSpec, outlet: &Outlet) -> Result<Built, PrepareError> {
    let mut file = TextFile::open(&text.path)?;
    let stretches = sizes(&spec.split, file.bytes());
    let (schema, rules) = match spec.encode.text {
        TextEncoding::Bytes => build_bytes(text, &mut file, stretches, &spec.split, outlet)?,
        TextEncoding::Bpe => build_tokens(text, &mut file, stretches, spec, outlet)?,
    };
    let encoder = Encoder { rules };
    Ok(Built { schema, encoder, columns: Vec::new(), leakage: Vec::new(), rows: file.bytes() })
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
    let mut sink = |shard| outlet.send(shard);
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
    let mut sink = |shard| outlet.send(shard);
    let [windows, tokens] = write_tokens(file, &rules, stretches, outlet.tell(Stage::Write), &mut sink)?;
    check_sizes(&spec.split, windows, tokens, &text.path, "tokens")?;
    let target = TargetKind::NextToken { lengths: rules.tokenizer.lengths() };
    Ok((Schema { features: FeatureKind::Tokens { context }, target }, Rules::Tokens(rules)))
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
