//! Rows that were kept as they were before they were encoded, read again: so that a
//! model is measured on the rows that an SQL condition or the value of a column names.

use arrow::{
    array::{Array as _, ArrayRef, Float64Array, RecordBatch},
    datatypes::SchemaRef,
};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use phalanx_storage::Store;

use crate::{
    DatasetManifest, OpenError, Split,
    clean::{Sql, cell_text, numbers},
    plan::{listed, nearest},
};

/// The rows of a split before they were encoded, in the order of the encoded ones. Columns of lists and
/// bytes are left out; of the training split nothing is kept, so it has no rows here.
#[derive(Debug, Clone)]
pub struct RawRows {
    batches: Vec<RecordBatch>,
}

/// The cells of a column, row after row.
#[derive(Debug, Clone, PartialEq)]
pub enum RawColumn {
    /// Of numbers; a missing one is NaN.
    Numbers(Vec<f64>),
    /// Of anything else, written as text; `None` is missing.
    Texts(Vec<Option<String>>),
}

/// Why rows cannot be told apart as is asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RawRowsError {
    /// There is no such column.
    #[error(
        "there is no column `{column}`; {}the columns are {columns}",
        nearest.as_ref().map(|name| format!("did you mean `{name}`? ")).unwrap_or_default(),
    )]
    NoColumn {
        /// The column.
        column: String,
        /// One of a similar name.
        nearest: Option<String>,
        /// Those that there are, for people.
        columns: String,
    },
    /// A condition that does not fit the columns.
    #[error("`{condition}`: {reason}")]
    Condition {
        /// The condition.
        condition: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl RawRows {
    /// Reads the rows of a split into memory.
    ///
    /// # Errors
    ///
    /// If a file is absent or damaged.
    pub async fn read(manifest: &DatasetManifest, split: Split, store: &Store) -> Result<Self, OpenError> {
        let mut batches = Vec::new();
        for shard in &manifest.split(split).raw {
            let content: Bytes = store.read(&shard.file).await?;
            let failed = |reason: String| OpenError::Shard { path: shard.file.path.clone(), reason };
            let reader =
                ParquetRecordBatchReaderBuilder::try_new(content).and_then(|builder| builder.build());
            for batch in reader.map_err(|error| failed(error.to_string()))? {
                batches.push(batch.map_err(|error| failed(error.to_string()))?);
            }
        }
        Ok(Self { batches })
    }

    /// Rows that are in memory.
    pub(crate) fn of_batches(batches: Vec<RecordBatch>) -> Self {
        Self { batches }
    }

    /// The rows.
    pub fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }

    /// How many they are.
    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// The names of the columns, in their order.
    pub fn columns(&self) -> Vec<String> {
        let fields = self.schema().map(|schema| schema.fields().clone()).unwrap_or_default();
        fields.iter().map(|field| field.name().clone()).collect()
    }

    /// Of which rows an SQL condition is true; what is neither true nor false is not true. The SQL is that of
    /// `clean`: names are columns as they are written, and each row is looked at by itself.
    ///
    /// # Errors
    ///
    /// If the condition cannot be read, does not fit the columns, or fails at a row.
    pub fn holds(&self, condition: &str) -> Result<Vec<bool>, RawRowsError> {
        let failed = |reason| RawRowsError::Condition { condition: condition.to_owned(), reason };
        let Some(schema) = self.schema() else { return Ok(Vec::new()) };
        let sql = Sql::condition(condition, &schema).map_err(failed)?;
        let mut all = Vec::with_capacity(self.rows());
        for batch in &self.batches {
            let holds = sql.holds(batch).map_err(failed)?;
            all.extend(holds.values().iter());
        }
        Ok(all)
    }

    /// The cells of a column.
    ///
    /// # Errors
    ///
    /// If there is no such column.
    pub fn column(&self, name: &str) -> Result<RawColumn, RawRowsError> {
        let Some(schema) = self.schema() else { return Ok(RawColumn::Texts(Vec::new())) };
        let absent = |_| {
            let names = self.columns();
            let (nearest, columns) = (nearest(name, &names), listed(&names));
            RawRowsError::NoColumn { column: name.to_owned(), nearest, columns }
        };
        let index = schema.index_of(name).map_err(absent)?;
        let cells: Vec<&ArrayRef> = self.batches.iter().map(|batch| batch.column(index)).collect();
        let as_numbers: Option<Vec<Float64Array>> = cells.iter().map(|cells| numbers(cells)).collect();
        Ok(match as_numbers {
            Some(parts) => {
                RawColumn::Numbers(parts.iter().flatten().map(|number| number.unwrap_or(f64::NAN)).collect())
            }
            None => {
                let texts = |cells: &&ArrayRef| {
                    let cells: &ArrayRef = cells;
                    (0..cells.len()).map(|row| cell_text(cells, row)).collect::<Vec<_>>()
                };
                RawColumn::Texts(cells.iter().flat_map(texts).collect())
            }
        })
    }

    fn schema(&self) -> Option<SchemaRef> {
        self.batches.first().map(RecordBatch::schema)
    }
}
