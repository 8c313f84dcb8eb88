//! Parts of the rows: slices that a job file names, and the groups of sensitive columns. Owns no
//! state.

use std::collections::BTreeMap;

use phalanx_evaluate::{
    fairness::Groups,
    slices::{Bins, Slice, column_slices, number_slices},
};

use crate::table::{Column, Table};

/// The most values of a column that become slices, the commonest ones.
const VALUES_MAX: usize = 20;

/// Ranges that a column of numbers is cut into.
const RANGES: usize = 4;

/// What a group of missing values is called.
const MISSING: &str = "(missing)";

/// The slices that `entries` name, and by entry why it names none.
pub(crate) fn slices(entries: &[String], table: &dyn Table) -> (Vec<Slice>, BTreeMap<String, String>) {
    let (mut slices, mut without) = (Vec::new(), BTreeMap::new());
    for entry in entries {
        match of_entry(entry, table) {
            Ok(found) => slices.extend(found),
            Err(reason) => {
                without.insert(entry.clone(), reason);
            }
        }
    }
    (slices, without)
}

fn of_entry(entry: &str, table: &dyn Table) -> Result<Vec<Slice>, String> {
    match table.column(entry) {
        Ok(Column::Texts(values)) => column_slices(entry, &values, VALUES_MAX).map_err(told),
        Ok(Column::Numbers(values)) => number_slices(entry, &values, RANGES).map_err(told),
        Err(no_column) => match slice(entry, table) {
            Ok(slice) => Ok(vec![slice]),
            // A single word was meant as a column.
            Err(_) if entry.chars().all(|c| c.is_alphanumeric() || c == '_') => Err(told(no_column)),
            Err(reason) => Err(reason),
        },
    }
}

/// The rows that meet a condition; one at least.
pub(crate) fn slice(condition: &str, table: &dyn Table) -> Result<Slice, String> {
    let slice = Slice::of_mask(condition, &table.mask(condition).map_err(told)?).map_err(told)?;
    if slice.rows.is_empty() { Err("no row meets this condition".to_owned()) } else { Ok(slice) }
}

/// The groups of one column, or of several together.
pub(crate) fn groups(columns: &[String], table: &dyn Table) -> Result<Groups, String> {
    let each = columns.iter().map(|column| of_column(column, table)).collect::<Result<Vec<_>, _>>()?;
    match each.as_slice() {
        [one] => Ok(one.clone()),
        several => Groups::intersection(&several.iter().collect::<Vec<_>>()).map_err(told),
    }
}

fn of_column(name: &str, table: &dyn Table) -> Result<Groups, String> {
    let names: Vec<String> = match table.column(name).map_err(told)? {
        Column::Texts(values) => {
            values.into_iter().map(|value| value.unwrap_or_else(|| MISSING.to_owned())).collect()
        }
        Column::Numbers(values) => {
            let bins = Bins::of(&values, RANGES).map_err(told)?;
            let range = |value: &f64| {
                bins.bin(*value).map_or_else(|| MISSING.to_owned(), |bin| bins.condition(name, bin))
            };
            values.iter().map(range).collect()
        }
    };
    Groups::of_column(name, &names).map_err(told)
}

pub(crate) fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}
