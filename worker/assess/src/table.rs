//! The columns of the rows that were predicted, as they were before they were encoded. Owns none:
//! whoever keeps them hands them in.

/// The rows of a split, by column. Rows are those that were predicted, in the same order.
pub trait Table: Sync {
    /// The values of a column.
    ///
    /// # Errors
    ///
    /// Where there is none of this name.
    fn column(&self, name: &str) -> Result<Column, TableError>;

    /// Which rows meet a condition in SQL. Where that is unknown, as beside missing values, a row does not.
    ///
    /// # Errors
    ///
    /// Where it is none, or names columns that are not there.
    fn mask(&self, condition: &str) -> Result<Vec<bool>, TableError>;
}

/// A column.
#[derive(Debug, Clone, PartialEq)]
pub enum Column {
    /// Of texts; `None` where one is missing.
    Texts(Vec<Option<String>>),
    /// Of numbers; NaN where one is missing.
    Numbers(Vec<f64>),
}

/// Why rows have no such column, or a condition no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// There is no column of this name; the message says which there are.
    #[error("{0}")]
    NoColumn(String),
    /// The condition cannot be answered; the message says why.
    #[error("{0}")]
    Condition(String),
    /// Nobody has kept the columns.
    #[error("the columns of these rows were not kept")]
    NotKept,
}

/// Rows without columns.
#[derive(Debug, Clone, Copy)]
pub struct NoTable;

impl Table for NoTable {
    fn column(&self, _: &str) -> Result<Column, TableError> {
        Err(TableError::NotKept)
    }

    fn mask(&self, _: &str) -> Result<Vec<bool>, TableError> {
        Err(TableError::NotKept)
    }
}
