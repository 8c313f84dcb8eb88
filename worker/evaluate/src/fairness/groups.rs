//! Who belongs to which group: the values of a sensitive column, or of several together.
//! Owns the names of the groups and the group of each row.

use std::collections::BTreeMap;

use crate::input::{self, InputError};

/// The most groups of one column or intersection.
pub const GROUPS_MAX: usize = 1_000;

/// The groups of a table's rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    column: String,
    names: Vec<String>,
    of_row: Vec<u32>,
}

impl Groups {
    /// One group for each value of a column, in the order of their names.
    ///
    /// # Errors
    ///
    /// Where there is no row, or more than [`GROUPS_MAX`] values: numbers are put into bins first
    /// ([`Bins`](crate::slices::Bins)).
    pub fn of_column<S: AsRef<str>>(column: &str, values: &[S]) -> Result<Self, InputError> {
        input::some_rows(values.len())?;
        let mut numbers: BTreeMap<&str, u32> = BTreeMap::new();
        for value in values {
            numbers.insert(value.as_ref(), 0);
            input::within("groups", numbers.len(), 1, GROUPS_MAX)?;
        }
        numbers.values_mut().zip(0..).for_each(|(number, next)| *number = next);
        let of_row = values.iter().map(|value| numbers[value.as_ref()]).collect();
        let names = numbers.into_keys().map(str::to_owned).collect();
        Ok(Self { column: column.to_owned(), names, of_row })
    }

    /// One group for each combination that occurs: `Female, Black` of the columns `sex, race`.
    ///
    /// # Errors
    ///
    /// Where there is no column, their lengths differ, or more than [`GROUPS_MAX`] combinations occur.
    pub fn intersection(columns: &[&Self]) -> Result<Self, InputError> {
        input::within("columns", columns.len(), 1, 8)?;
        let rows = columns[0].rows();
        columns.iter().try_for_each(|column| input::as_long("groups", rows, column.rows()))?;
        let key = |row: usize| columns.iter().map(|column| column.of_row[row]).collect::<Vec<_>>();
        let mut numbers: BTreeMap<Vec<u32>, u32> = BTreeMap::new();
        for row in 0..rows {
            numbers.insert(key(row), 0);
            input::within("groups", numbers.len(), 1, GROUPS_MAX)?;
        }
        numbers.values_mut().zip(0..).for_each(|(number, next)| *number = next);
        let of_row = (0..rows).map(|row| numbers[&key(row)]).collect();
        let name = |key: Vec<u32>| {
            let parts = key.iter().zip(columns).map(|(group, column)| column.names[*group as usize].as_str());
            parts.collect::<Vec<_>>().join(", ")
        };
        let names = numbers.into_keys().map(name).collect();
        let column = columns.iter().map(|column| column.column.as_str()).collect::<Vec<_>>().join(", ");
        Ok(Self { column, names, of_row })
    }

    /// The column, or the columns.
    pub fn column(&self) -> &str {
        &self.column
    }

    /// The groups' names.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The group of each row, as an index into [`names`](Self::names).
    pub fn of_row(&self) -> &[u32] {
        &self.of_row
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.of_row.len()
    }

    /// How many rows each group has.
    pub fn counts(&self) -> Vec<u64> {
        let mut counts = vec![0; self.names.len()];
        self.of_row.iter().for_each(|group| counts[*group as usize] += 1);
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intersections_are_the_combinations_that_occur() {
        let sex = Groups::of_column("sex", &["m", "f", "m", "f"]).unwrap();
        let race = Groups::of_column("race", &["x", "y", "x", "x"]).unwrap();
        let both = Groups::intersection(&[&sex, &race]).unwrap();
        assert_eq!(both.column(), "sex, race");
        assert_eq!(both.names(), ["f, x", "f, y", "m, x"]);
        assert_eq!(both.of_row(), [2, 1, 2, 0]);
        assert_eq!(both.counts(), [1, 1, 2]);
    }

    #[test]
    fn a_column_of_numbers_is_no_column_of_groups() {
        let values: Vec<String> = (0..2_000).map(|row| row.to_string()).collect();
        let error = Groups::of_column("age", &values).unwrap_err().to_string();
        assert_eq!(error, "`groups` is 1001, expected 1 to 1000");
        assert!(Groups::of_column::<&str>("age", &[]).is_err() && Groups::intersection(&[]).is_err());
    }
}
