//! Parts of the rows, and the names they have. Owns the rows of a slice.

use std::collections::BTreeMap;

use crate::input::{self, InputError};

/// The most bins of a column of numbers.
const BINS_MAX: usize = 100;

/// Some of the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// The SQL condition that its rows meet.
    pub condition: String,
    /// Their numbers, in rising order.
    pub rows: Vec<u32>,
}

impl Slice {
    /// The rows where `mask` says so.
    ///
    /// # Errors
    ///
    /// Where there is no row in the table.
    pub fn of_mask(condition: &str, mask: &[bool]) -> Result<Self, InputError> {
        input::some_rows(mask.len())?;
        let rows = mask.iter().zip(0..).filter(|(is_in, _)| **is_in).map(|(_, row)| row).collect();
        Ok(Self { condition: condition.to_owned(), rows })
    }

    /// The rows of both, by one pass over the two.
    fn and(&self, other: &Self) -> Self {
        let (mut rows, mut theirs) = (Vec::new(), other.rows.iter().peekable());
        for row in &self.rows {
            while theirs.next_if(|their| *their < row).is_some() {}
            if theirs.next_if_eq(&row).is_some() {
                rows.push(*row);
            }
        }
        Self { condition: format!("{} and {}", self.condition, other.condition), rows }
    }
}

/// One slice for each of the `most` commonest values of a column, by falling number of rows;
/// `None` is a missing value.
///
/// # Errors
///
/// Where there is no row.
pub fn column_slices<S: AsRef<str>>(
    column: &str,
    values: &[Option<S>],
    most: usize,
) -> Result<Vec<Slice>, InputError> {
    input::some_rows(values.len())?;
    let mut rows: BTreeMap<Option<&str>, Vec<u32>> = BTreeMap::new();
    for (value, row) in values.iter().zip(0..) {
        rows.entry(value.as_ref().map(AsRef::as_ref)).or_default().push(row);
    }
    let condition = |value: Option<&str>| match value {
        Some(value) => format!("{} = '{}'", quoted(column), value.replace('\'', "''")),
        None => format!("{} is null", quoted(column)),
    };
    let mut slices: Vec<Slice> =
        rows.into_iter().map(|(value, rows)| Slice { condition: condition(value), rows }).collect();
    slices.sort_by_key(|slice| std::cmp::Reverse(slice.rows.len()));
    slices.truncate(most);
    Ok(slices)
}

/// Ranges of a column of numbers with about as many rows each.
#[derive(Debug, Clone, PartialEq)]
pub struct Bins {
    /// Where one bin ends and the next begins, in rising order.
    inner_edges: Vec<f64>,
}

impl Bins {
    /// Up to `count` bins of `values`; fewer where many rows have one value. NaN is a missing value.
    ///
    /// # Errors
    ///
    /// Where there are no bins or more than 100, or every value is missing.
    pub fn of(values: &[f64], count: usize) -> Result<Self, InputError> {
        input::within("bins", count, 1, BINS_MAX)?;
        let mut sorted: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
        input::some_rows(sorted.len())?;
        sorted.sort_unstable_by(f64::total_cmp);
        let edge = |edge: usize| sorted[(edge * sorted.len() / count).min(sorted.len() - 1)];
        let mut inner_edges: Vec<f64> = (1..count).map(edge).filter(|edge| *edge > sorted[0]).collect();
        inner_edges.dedup();
        Ok(Self { inner_edges })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.inner_edges.len() + 1
    }

    /// The bin of a value; `None` of NaN.
    pub fn bin(&self, value: f64) -> Option<usize> {
        (!value.is_nan()).then(|| self.inner_edges.partition_point(|edge| *edge <= value))
    }

    /// The condition that the values of a bin meet.
    pub fn condition(&self, column: &str, bin: usize) -> String {
        let column = quoted(column);
        let from = bin.checked_sub(1).and_then(|before| self.inner_edges.get(before));
        match (from, self.inner_edges.get(bin)) {
            (Some(from), Some(to)) => format!("{column} >= {from} and {column} < {to}"),
            (Some(from), None) => format!("{column} >= {from}"),
            (None, Some(to)) => format!("{column} < {to}"),
            (None, None) => format!("{column} is not null"),
        }
    }
}

/// One slice for each bin of a column of numbers, and one for missing values where there are any.
///
/// # Errors
///
/// As [`Bins::of`].
pub fn number_slices(column: &str, values: &[f64], bins: usize) -> Result<Vec<Slice>, InputError> {
    let bins = Bins::of(values, bins)?;
    let mut rows = vec![Vec::new(); bins.count() + 1];
    for (value, row) in values.iter().zip(0..) {
        rows[bins.bin(*value).unwrap_or(bins.count())].push(row);
    }
    let condition = |bin: usize| match bin == bins.count() {
        true => format!("{} is null", quoted(column)),
        false => bins.condition(column, bin),
    };
    let slices = rows.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty());
    Ok(slices.map(|(bin, rows)| Slice { condition: condition(bin), rows }).collect())
}

/// The slices of one column within those of another that have at least `rows_min` rows, the `most`
/// largest.
pub fn intersections(first: &[Slice], second: &[Slice], rows_min: usize, most: usize) -> Vec<Slice> {
    let pairs = first.iter().flat_map(|one| second.iter().map(move |other| one.and(other)));
    let mut slices: Vec<Slice> = pairs.filter(|slice| slice.rows.len() >= rows_min.max(1)).collect();
    slices.sort_by_key(|slice| std::cmp::Reverse(slice.rows.len()));
    slices.truncate(most);
    slices
}

/// A column's name as SQL reads it.
fn quoted(column: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if column.chars().all(plain) && column.starts_with(|c: char| !c.is_ascii_digit()) {
        column.to_owned()
    } else {
        format!("\"{}\"", column.replace('"', "\"\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(slices: &[Slice], expected: &[(&str, &[u32])]) {
        let found: Vec<_> =
            slices.iter().map(|slice| (slice.condition.as_str(), slice.rows.as_slice())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn slices_are_named_by_their_sql_condition() {
        let values = [Some("a"), Some("it's"), None, Some("a")];
        let slices = column_slices("kind", &values, 10).unwrap();
        check(&slices, &[("kind = 'a'", &[0, 3]), ("kind is null", &[2]), ("kind = 'it''s'", &[1])]);
        check(&column_slices("Kind", &values, 1).unwrap(), &[("\"Kind\" = 'a'", &[0, 3])]);
        let mask = Slice::of_mask("age > 3", &[false, true]).unwrap();
        check(&[mask], &[("age > 3", &[1])]);
    }

    #[test]
    fn numbers_are_put_into_bins_of_about_as_many_rows() {
        let slices = number_slices("age", &[1.0, 5.0, f64::NAN, 3.0, 2.0], 2).unwrap();
        check(&slices, &[("age < 3", &[0, 4]), ("age >= 3", &[1, 3]), ("age is null", &[2])]);
        check(&number_slices("age", &[1.0; 3], 4).unwrap(), &[("age is not null", &[0, 1, 2])]);
        let three = number_slices("age", &[1.0, 2.0, 3.0], 3).unwrap();
        assert_eq!(three[1].condition, "age >= 2 and age < 3");
        assert!(Bins::of(&[f64::NAN], 2).is_err() && Bins::of(&[1.0], 0).is_err());
    }

    #[test]
    fn intersections_are_bounded_and_the_largest_come_first() {
        let one = column_slices("a", &[Some("x"), Some("x"), Some("y"), Some("x")], 9).unwrap();
        let two = column_slices("b", &[Some("p"), Some("q"), Some("p"), Some("p")], 9).unwrap();
        let both = intersections(&one, &two, 1, 9);
        check(
            &both,
            &[("a = 'x' and b = 'p'", &[0, 3]), ("a = 'x' and b = 'q'", &[1]), ("a = 'y' and b = 'p'", &[2])],
        );
        assert_eq!(intersections(&one, &two, 2, 9).len(), 1);
        assert_eq!(intersections(&one, &two, 1, 2).len(), 2);
    }
}
