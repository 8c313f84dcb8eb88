//! The columns of rows, by name: those of a split, undone from their encoding, or those that somebody
//! has read.

use std::{collections::BTreeMap, sync::Arc};

use phalanx_assess::{Column, Table, TableError};
use phalanx_data::{Dataset, DecodedColumn, Features, Split, TargetKind, Targets};
use phalanx_protocol::spec::DataSpec;

use super::condition::Condition;

/// Rows that are decoded at once.
const CHUNK_ROWS: u64 = 4_096;

/// The columns of a split of a dataset version, its target among them. A cell whose value the training
/// split does not have, and a missing number, are not told from others that were encoded alike.
pub struct SplitTable {
    dataset: Arc<Dataset>,
    split: Split,
    target: Option<String>,
}

impl SplitTable {
    /// The columns of `split`, read by `data`.
    pub fn new(dataset: Arc<Dataset>, split: Split, data: &DataSpec) -> Self {
        let target = super::report::target(data).map(str::to_owned);
        Self { dataset, split, target }
    }

    fn chunks(&self) -> impl Iterator<Item = phalanx_data::Batch> {
        let rows = self.dataset.rows(self.split);
        (0..rows).step_by(CHUNK_ROWS as usize).map(move |first| {
            let chunk: Vec<u64> = (first..(first + CHUNK_ROWS).min(rows)).collect();
            self.dataset.gather(self.split, &chunk)
        })
    }

    fn targets(&self) -> Column {
        match &self.dataset.schema().target {
            TargetKind::Classes(classes) => {
                let name = |class: &u32| classes.get(*class as usize).cloned();
                let texts = self.chunks().flat_map(|batch| match batch.targets {
                    Targets::Classes(truths) => truths.iter().map(name).collect::<Vec<_>>(),
                    Targets::Numbers(_) | Targets::Bytes(_) | Targets::None => Vec::new(),
                });
                Column::Texts(texts.collect())
            }
            TargetKind::Number { .. } | TargetKind::NextByte => {
                let numbers = self.chunks().flat_map(|batch| match batch.targets {
                    Targets::Numbers(truths) => truths.into_iter().map(f64::from).collect::<Vec<_>>(),
                    Targets::Classes(_) | Targets::Bytes(_) | Targets::None => Vec::new(),
                });
                Column::Numbers(numbers.collect())
            }
        }
    }
}

impl Table for SplitTable {
    fn column(&self, name: &str) -> Result<Column, TableError> {
        if self.target.as_deref() == Some(name) {
            return Ok(self.targets());
        }
        let columns = self.dataset.manifest().encoder.columns();
        let width = columns.last().map_or(0, |last| last.place.end);
        let Some(column) = columns.iter().find(|column| column.name == name) else {
            let known = columns.iter().map(|column| column.name.as_str()).chain(self.target.as_deref());
            return Err(no_column(name, known));
        };
        let mut whole: Option<Column> = None;
        for batch in self.chunks() {
            let Features::Floats(values) = &batch.features else { continue };
            match (&mut whole, column.decode(values, width)) {
                (Some(Column::Texts(all)), DecodedColumn::Texts(more)) => all.extend(more),
                (Some(Column::Numbers(all)), DecodedColumn::Numbers(more)) => all.extend(more),
                (whole, decoded) => *whole = Some(column_of(decoded)),
            }
        }
        Ok(whole.unwrap_or(Column::Texts(Vec::new())))
    }

    fn mask(&self, condition: &str) -> Result<Vec<bool>, TableError> {
        Condition::parse(condition)?.mask(self)
    }
}

/// Columns that were read, by name.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Columns(pub BTreeMap<String, Column>);

impl Table for Columns {
    fn column(&self, name: &str) -> Result<Column, TableError> {
        let known = self.0.keys().map(String::as_str);
        self.0.get(name).cloned().ok_or_else(|| no_column(name, known))
    }

    fn mask(&self, condition: &str) -> Result<Vec<bool>, TableError> {
        Condition::parse(condition)?.mask(self)
    }
}

/// A column as assessments take it.
pub(crate) fn column_of(decoded: DecodedColumn) -> Column {
    match decoded {
        DecodedColumn::Texts(texts) => Column::Texts(texts),
        DecodedColumn::Numbers(numbers) => Column::Numbers(numbers),
    }
}

fn no_column<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> TableError {
    let known: Vec<&str> = known.collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    TableError::NoColumn { name: name.to_owned(), known }
}
