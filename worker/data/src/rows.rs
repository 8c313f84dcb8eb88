//! A new file with its truth, read for a finished model: encoded rows as [`read_features`] gives them,
//! and beside them all plain columns of the file as they stand there, the target among them.
//!
//! [`read_features`]: crate::read_features

use std::path::{Path, PathBuf};

use crate::{
    Batch, DecodedColumn, Encoder, PrepareError, Targets,
    encoder::{Encoding, Rules},
    plan::find,
    source::{Cells, Chunks, ColumnType, ParquetTable, ReadAs, Selected, Table, parse_number},
};

/// What names the columns that a model needs, in messages.
const MODEL: &str = "the model";

/// Batches of a file's rows, in their order, up to the error that ends them.
pub struct RowReader {
    encoder: Encoder,
    path: PathBuf,
    chunks: Chunks,
    names: Vec<String>,
    /// Columns before the plain ones.
    features: usize,
}

/// Reads the rows of a CSV or Parquet file for the model that `encoder` belongs to. A model of text
/// has no columns: [`read_features`](crate::read_features) reads its files, truth and all.
///
/// # Errors
///
/// If the file cannot be read, or lacks a column that the model needs. What is wrong with a row is
/// found when it is read.
pub fn read_rows(encoder: &Encoder, path: &Path) -> Result<RowReader, PrepareError> {
    let lists = |column: &str, form| -> Result<(Table, Vec<Selected>), PrepareError> {
        let table = Table::Parquet(ParquetTable::open(path)?);
        let index = find(&table, column, MODEL)?;
        Ok((table, vec![Selected { index, read_as: ReadAs::Lists(form) }]))
    };
    let (table, mut selected) = match &encoder.rules {
        Rules::Table(rules) => {
            let table = Table::detect(path, &rules.dialect)?;
            let mut selected = Vec::new();
            for column in &rules.columns {
                let index = find(&table, &column.name, MODEL)?;
                let read_as = match column.encoding {
                    Encoding::Standardise(_) => ReadAs::Given,
                    Encoding::OneHot { .. } => ReadAs::Text,
                };
                selected.push(Selected { index, read_as });
            }
            (table, selected)
        }
        Rules::Image(rules) => lists(&rules.column, rules.form())?,
        Rules::Vector(rules) => lists(&rules.column, rules.form())?,
        Rules::Text { .. } => {
            return Err(PrepareError::Empty { path: path.to_owned(), expected: "columns of a table" });
        }
    };
    // A column of lists is none of a chunk's plain ones.
    let features = if matches!(encoder.rules, Rules::Table(_)) { selected.len() } else { 0 };
    let mut names = Vec::new();
    for (index, name) in table.names().iter().enumerate() {
        if let ColumnType::Lists { .. } | ColumnType::Other(_) = table.column_type(index) {
            continue;
        }
        selected.push(Selected { index, read_as: ReadAs::Given });
        names.push(name.clone());
    }
    table.check_types(&selected)?;
    let chunks = table.chunks(&selected)?;
    Ok(RowReader { encoder: encoder.clone(), path: path.to_owned(), chunks, names, features })
}

impl RowReader {
    /// The names of the plain columns.
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

impl Iterator for RowReader {
    type Item = Result<(Batch, Vec<DecodedColumn>), PrepareError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut chunk = match self.chunks.next()? {
            Ok(chunk) => chunk,
            Err(error) => return Some(Err(error)),
        };
        let (rows, features) = (chunk.rows, self.features.min(chunk.columns.len()));
        let plain = chunk.columns.split_off(features);
        let columns = plain.iter().map(|cells| column(cells, rows)).collect();
        let batch = self.encoder.encode(chunk, &self.path);
        Some(batch.map(|features| (Batch { rows, features, targets: Targets::None }, columns)))
    }
}

impl std::fmt::Debug for RowReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowReader").field("names", &self.names).finish_non_exhaustive()
    }
}

fn column(cells: &Cells, rows: usize) -> DecodedColumn {
    match cells {
        Cells::Text(_) => {
            DecodedColumn::Texts((0..rows).map(|row| cells.text(row).map(|text| text.into_owned())).collect())
        }
        Cells::Numbers(_) => {
            let number = |row| cells.number(row).ok().flatten().unwrap_or(f64::NAN);
            DecodedColumn::Numbers((0..rows).map(number).collect())
        }
    }
}

impl DecodedColumn {
    /// Puts the rows of `more` behind those of this column.
    pub fn extend(&mut self, more: Self) {
        match (self, more) {
            (Self::Texts(all), Self::Texts(more)) => all.extend(more),
            (Self::Numbers(all), Self::Numbers(more)) => all.extend(more),
            // A file has one type for a column; what is of another is missing.
            (Self::Texts(all), Self::Numbers(more)) => all.extend(more.iter().map(|_| None)),
            (Self::Numbers(all), Self::Texts(more)) => all.extend(more.iter().map(|_| f64::NAN)),
        }
    }

    /// A column of numbers, where every text is one: a file of text does not say what it holds.
    #[must_use]
    pub fn typed(self) -> Self {
        let Self::Texts(texts) = self else { return self };
        let number = |text: &Option<String>| match text {
            Some(text) => parse_number(text),
            None => Some(f64::NAN),
        };
        match texts.iter().map(number).collect::<Option<Vec<f64>>>() {
            Some(numbers) if numbers.iter().any(|number| !number.is_nan()) => Self::Numbers(numbers),
            Some(_) | None => Self::Texts(texts),
        }
    }
}
