//! A new file, read for a finished model: with the encoder that was stored with
//! it, in batches of bounded size. The target need not be in the file and is not
//! read.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::{
    Batch, Encoder, Features, PrepareError, Targets,
    encoder::{Rules, TokenRules},
    plan::find,
    source::{Chunk, Chunks, ListForm, ParquetTable, ReadAs, Selected, Table, TextFile},
    tokens::Pieces,
    write::windows,
};

/// What names the columns that a model needs, in messages.
const MODEL: &str = "the model";

/// Windows of text in a batch: a model answers each of their bytes with 256 scores.
const WINDOWS_MAX: u64 = 64;

/// Batches of a file, in the order of its rows, up to the error that ends them.
///
/// Rows of a table have [`Targets::None`]. A text is cut into windows whose
/// targets are their next bytes; what is left at its end is a batch of one
/// shorter row.
pub struct FeatureReader {
    source: Source,
    /// Where clean rows lie, if they had to be cleaned.
    _scratch: Option<TempDir>,
}

enum Source {
    Table {
        encoder: Encoder,
        path: PathBuf,
        chunks: Chunks,
    },
    Text {
        file: TextFile,
        context: usize,
        at: u64,
    },
    /// With the tokens that were read and are in no window yet.
    Tokens {
        file: TextFile,
        pieces: Pieces,
        rules: TokenRules,
        waiting: Vec<u16>,
    },
    Done,
}

/// Reads the rows of a CSV, Parquet or text file as the input of the model that
/// `encoder` belongs to.
///
/// # Errors
///
/// If the file cannot be read, or lacks a column that the model needs. What is
/// wrong with a row is found when it is read.
pub fn read_features(encoder: &Encoder, path: &Path) -> Result<FeatureReader, PrepareError> {
    let mut scratch = None;
    let source = match &encoder.rules {
        Rules::Table(rules) => {
            let (table, folder) = encoder.table(rules, path)?;
            scratch = folder;
            let mut selected = Vec::new();
            for column in &rules.columns {
                let index = find(&table, &column.name, MODEL)?;
                selected.push(Selected { index, read_as: column.encoding.read_as() });
            }
            Source::table(encoder, &table, &selected)?
        }
        Rules::Image(rules) => Source::lists(encoder, path, &rules.column, rules.form())?,
        Rules::Vector(rules) => Source::lists(encoder, path, &rules.column, rules.form())?,
        Rules::Text { context } => {
            let file = TextFile::open(path)?;
            if file.bytes() < 2 {
                return Err(PrepareError::Empty { path: path.to_owned(), expected: "at least two bytes" });
            }
            Source::Text { file, context: (*context).max(1), at: 0 }
        }
        Rules::Tokens(rules) => {
            let file = TextFile::open(path)?;
            let pieces = Pieces::new(0, file.bytes());
            Source::Tokens { file, pieces, rules: rules.clone(), waiting: Vec::new() }
        }
    };
    Ok(FeatureReader { source, _scratch: scratch })
}

impl Iterator for FeatureReader {
    type Item = Result<Batch, PrepareError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = match &mut self.source {
            Source::Table { encoder, path, chunks } => {
                chunks.next().map(|chunk| chunk.and_then(|chunk| table_batch(encoder, path, chunk)))
            }
            Source::Text { file, context, at } => text_batch(file, *context, at).transpose(),
            Source::Tokens { file, pieces, rules, waiting } => {
                token_batch(file, pieces, rules, waiting).transpose()
            }
            Source::Done => None,
        };
        if !matches!(batch, Some(Ok(_))) {
            self.source = Source::Done;
        }
        batch
    }
}

impl std::fmt::Debug for FeatureReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FeatureReader").finish_non_exhaustive()
    }
}

impl Source {
    fn table(encoder: &Encoder, table: &Table, selected: &[Selected]) -> Result<Self, PrepareError> {
        table.check_types(selected)?;
        let (encoder, path) = (encoder.clone(), table.path().to_owned());
        Ok(Self::Table { encoder, path, chunks: table.chunks(selected)? })
    }

    fn lists(encoder: &Encoder, path: &Path, column: &str, form: ListForm) -> Result<Self, PrepareError> {
        let table = Table::Parquet(ParquetTable::open(path)?);
        let index = find(&table, column, MODEL)?;
        Self::table(encoder, &table, &[Selected { index, read_as: ReadAs::Lists(form) }])
    }
}

fn table_batch(encoder: &Encoder, path: &Path, mut chunk: Chunk) -> Result<Batch, PrepareError> {
    Ok(Batch::new(chunk.rows, encoder.encode(&mut chunk, path)?, Targets::None))
}

/// The windows from byte `at`, which moves on; `None` at the end.
fn text_batch(file: &mut TextFile, context: usize, at: &mut u64) -> Result<Option<Batch>, PrepareError> {
    let left = file.bytes() - *at;
    let rows = windows(left, context).min(WINDOWS_MAX) as usize;
    // A window needs the byte after it: less than two bytes are none.
    let (rows, bytes) = match (rows, left) {
        (0, 0 | 1) => return Ok(None),
        (0, left) => (1, left as usize - 1),
        (rows, _) => (rows, rows * context),
    };
    let stretch = file.read(*at, bytes + 1)?;
    *at += bytes as u64;
    let (features, targets) = (stretch[..bytes].to_vec(), stretch[1..].to_vec());
    Ok(Some(Batch::new(rows, Features::Bytes(features), Targets::Bytes(targets))))
}

/// The next windows of tokens; `None` at the end.
fn token_batch(
    file: &mut TextFile,
    pieces: &mut Pieces,
    rules: &TokenRules,
    waiting: &mut Vec<u16>,
) -> Result<Option<Batch>, PrepareError> {
    let context = rules.context.max(1);
    let whole = WINDOWS_MAX as usize * context;
    while waiting.len() <= whole {
        let Some(piece) = pieces.next(file)? else { break };
        waiting.extend(rules.tokenizer.encode(&piece));
    }
    let rows = (waiting.len().saturating_sub(1) / context).min(WINDOWS_MAX as usize);
    // A window needs the token after it; what is left at the end is one that is shorter.
    let (rows, tokens) = match (rows, waiting.len()) {
        (0, 0 | 1) => return Ok(None),
        (0, left) => (1, left - 1),
        (rows, _) => (rows, rows * context),
    };
    let (features, targets) = (waiting[..tokens].to_vec(), waiting[1..=tokens].to_vec());
    waiting.drain(..tokens);
    Ok(Some(Batch::new(rows, Features::Tokens(features), Targets::Tokens(targets))))
}
