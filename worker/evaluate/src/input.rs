//! What rows and settings must be like, and what is said where they are not. Owns no state.

/// Rows or a setting that cannot be worked with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// There is nothing to measure.
    #[error("there is no row: expected at least one")]
    NoRows,
    /// Row numbers are kept in 32 bits.
    #[error("{rows} rows are too many: expected at most {ROWS_MAX}")]
    TooManyRows {
        /// Rows that there are.
        rows: usize,
    },
    /// Two columns of one table differ in length.
    #[error("{rows} rows need as many {what}, found {actual}")]
    Length {
        /// Which column.
        what: &'static str,
        /// Rows of the others.
        rows: usize,
        /// Its own rows.
        actual: usize,
    },
    /// A value that is none.
    #[error("row {row}: the {what} is {actual}, expected {expected}")]
    Value {
        /// Of which column.
        what: &'static str,
        /// The row, from 0.
        row: usize,
        /// The value.
        actual: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A setting that fits nothing.
    #[error("`{setting}` is {actual}, expected {expected}")]
    Setting {
        /// Which one.
        setting: &'static str,
        /// Its value.
        actual: String,
        /// What it should be.
        expected: String,
    },
}

/// The most rows that are measured at once.
pub const ROWS_MAX: usize = u32::MAX as usize;

/// Refuses a table without rows, and one whose row numbers do not fit 32 bits.
pub(crate) fn some_rows(rows: usize) -> Result<(), InputError> {
    match rows {
        0 => Err(InputError::NoRows),
        1..=ROWS_MAX => Ok(()),
        _ => Err(InputError::TooManyRows { rows }),
    }
}

/// Refuses a column that is shorter or longer than the others.
pub(crate) fn as_long(what: &'static str, rows: usize, actual: usize) -> Result<(), InputError> {
    if rows == actual { Ok(()) } else { Err(InputError::Length { what, rows, actual }) }
}

/// Refuses NaN and infinities.
pub(crate) fn finite(what: &'static str, values: &[f64]) -> Result<(), InputError> {
    each(what, values, "a finite number", f64::is_finite)
}

/// Refuses what is no probability.
pub(crate) fn probabilities(what: &'static str, values: &[f64]) -> Result<(), InputError> {
    each(what, values, "0 to 1", |value| (0.0..=1.0).contains(&value))
}

fn each(
    what: &'static str,
    values: &[f64],
    expected: &'static str,
    fits: impl Fn(f64) -> bool,
) -> Result<(), InputError> {
    match values.iter().position(|value| !fits(*value)) {
        Some(row) => Err(InputError::Value { what, row, actual: values[row].to_string(), expected }),
        None => Ok(()),
    }
}

/// Refuses an index that is not below `count`.
pub(crate) fn below(
    what: &'static str,
    indices: &[u32],
    count: usize,
    expected: &'static str,
) -> Result<(), InputError> {
    match indices.iter().position(|index| *index as usize >= count) {
        Some(row) => Err(InputError::Value { what, row, actual: indices[row].to_string(), expected }),
        None => Ok(()),
    }
}

/// Refuses a whole number outside `least..=most`.
pub(crate) fn within(
    setting: &'static str,
    actual: usize,
    least: usize,
    most: usize,
) -> Result<(), InputError> {
    if (least..=most).contains(&actual) {
        return Ok(());
    }
    Err(InputError::Setting { setting, actual: actual.to_string(), expected: format!("{least} to {most}") })
}

/// Refuses a share that is not strictly between 0 and 1.
pub(crate) fn open_share(setting: &'static str, actual: f64) -> Result<(), InputError> {
    if actual > 0.0 && actual < 1.0 {
        return Ok(());
    }
    let expected = "a number between 0 and 1, both excluded".to_owned();
    Err(InputError::Setting { setting, actual: actual.to_string(), expected })
}

/// Refuses a share outside 0 to 1.
pub(crate) fn share(setting: &'static str, actual: f64) -> Result<(), InputError> {
    if (0.0..=1.0).contains(&actual) {
        return Ok(());
    }
    Err(InputError::Setting { setting, actual: actual.to_string(), expected: "0 to 1".to_owned() })
}
