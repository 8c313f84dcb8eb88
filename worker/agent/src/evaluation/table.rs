//! The columns of rows as they were before they were encoded: those that a dataset version has kept of
//! its validation and test splits, or those of a file.

use phalanx_assess::{Column, Table, TableError};
use phalanx_data::{RawColumn, RawRows, RawRowsError};

/// Rows with their columns.
#[derive(Debug, Clone)]
pub struct RawTable(pub RawRows);

impl Table for RawTable {
    fn column(&self, name: &str) -> Result<Column, TableError> {
        match self.0.column(name).map_err(told)? {
            RawColumn::Numbers(numbers) => Ok(Column::Numbers(numbers)),
            RawColumn::Texts(texts) => Ok(Column::Texts(texts)),
        }
    }

    fn mask(&self, condition: &str) -> Result<Vec<bool>, TableError> {
        self.0.holds(condition).map_err(told)
    }
}

fn told(error: RawRowsError) -> TableError {
    match error {
        RawRowsError::NoColumn { .. } => TableError::NoColumn(error.to_string()),
        RawRowsError::Condition { .. } => TableError::Condition(error.to_string()),
    }
}
