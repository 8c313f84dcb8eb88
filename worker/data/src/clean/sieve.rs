//! Sieves: which rows a step drops. They are part of a data set's making alone; a
//! row to predict is never dropped.

use std::sync::Arc;

use arrow::{
    array::{AsArray as _, BooleanArray, RecordBatch},
    compute::{and, is_not_null},
    datatypes::UInt64Type,
};

use super::{cells::numbers, sql::Sql};
use crate::intake::AT;

/// Which rows stay.
#[derive(Debug, Clone)]
pub(crate) enum Sieve {
    /// Those of which a condition is true.
    Condition(Sql),
    /// Those with a cell in each of these columns.
    There(Vec<String>),
    /// Those whose number is missing or not beyond bounds.
    Within { column: String, low: f64, high: f64 },
    /// All but those that stand at these places, sorted.
    NotAt(Arc<Vec<u64>>),
}

impl Sieve {
    /// Whether each row stays.
    pub(crate) fn keeps(&self, batch: &RecordBatch) -> Result<BooleanArray, String> {
        let column =
            |name: &str| batch.column_by_name(name).ok_or_else(|| format!("there is no column `{name}`"));
        match self {
            Self::Condition(sql) => sql.holds(batch),
            Self::There(names) => {
                let mut keeps = BooleanArray::from(vec![true; batch.num_rows()]);
                for name in names {
                    let there = is_not_null(column(name)?).map_err(|error| error.to_string())?;
                    keeps = and(&keeps, &there).map_err(|error| error.to_string())?;
                }
                Ok(keeps)
            }
            Self::Within { column: name, low, high } => {
                let cells =
                    numbers(column(name)?).ok_or_else(|| format!("column `{name}` is not of numbers"))?;
                let within = |cell: Option<f64>| cell.is_none_or(|cell| (*low..=*high).contains(&cell));
                Ok(cells.iter().map(|cell| Some(within(cell))).collect())
            }
            Self::NotAt(places) => {
                let at = column(AT)?.as_primitive::<UInt64Type>();
                // Rows stand in order: a batch has a run of the places.
                let (first, last) = match (at.values().first(), at.values().last()) {
                    (Some(first), Some(last)) => (*first, *last),
                    _ => return Ok(BooleanArray::from(vec![true; at.len()])),
                };
                let run = &places[places.partition_point(|place| *place < first)..];
                let run = &run[..run.partition_point(|place| *place <= last)];
                let mut next = 0;
                let keeps = at.values().iter().map(|place| {
                    while run.get(next).is_some_and(|dropped| dropped < place) {
                        next += 1;
                    }
                    Some(run.get(next) != Some(place))
                });
                Ok(keeps.collect())
            }
        }
    }
}
