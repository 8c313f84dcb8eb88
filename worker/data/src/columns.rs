//! Which encoded features belong to which column of a table, and what they are where a cell is
//! missing. Where an encoding can be undone, the cells that rows were encoded from.

use std::ops::Range;

use arrow::array::StringArray;

use crate::{
    Encoder,
    encoder::{Encoding, Rules},
    source::Cells,
};

/// A column of a table, among the features of an encoded row.
#[derive(Debug, Clone, PartialEq)]
pub struct EncodedColumn {
    /// Its name.
    pub name: String,
    /// Which features are its.
    pub place: Range<usize>,
    /// What they are where its cell is missing.
    pub missing: Vec<f32>,
    encoding: Encoding,
}

/// The cells of a column.
#[derive(Debug, Clone, PartialEq)]
pub enum DecodedColumn {
    /// Texts; `None` where one is missing, or was in no row of the training split.
    Texts(Vec<Option<String>>),
    /// Numbers, to six digits; a missing one is what it was replaced by.
    Numbers(Vec<f64>),
}

impl Encoder {
    /// The columns of a table; none of images, vectors and texts.
    pub fn columns(&self) -> Vec<EncodedColumn> {
        let Rules::Table(table) = &self.rules else { return Vec::new() };
        let mut start = 0;
        let column = |rule: &crate::encoder::ColumnRule| {
            let width = rule.encoding.width();
            let place = start..start + width;
            start = place.end;
            let mut missing = vec![0.0; width];
            let cell = Cells::Text(StringArray::from(vec![None::<&str>]));
            let encoded = rule.encoding.encode(&cell, 0, width, &mut missing);
            debug_assert!(encoded.is_ok(), "a missing cell can be encoded");
            EncodedColumn { name: rule.name.clone(), place, missing, encoding: rule.encoding.clone() }
        };
        table.columns.iter().map(column).collect()
    }
}

impl EncodedColumn {
    /// The cells of rows of `width` features each.
    pub fn decode(&self, features: &[f32], width: usize) -> DecodedColumn {
        let rows = features.chunks_exact(width.max(1)).map(|row| &row[self.place.clone()]);
        match &self.encoding {
            Encoding::Standardise(scale) => {
                let number = |row: &[f32]| digits(f64::from(row[0]) * scale.deviation + scale.mean);
                DecodedColumn::Numbers(rows.map(number).collect())
            }
            Encoding::OneHot { categories, .. } => {
                let text = |row: &[f32]| categories.get(row.iter().position(|hot| *hot > 0.5)?).cloned();
                DecodedColumn::Texts(rows.map(text).collect())
            }
        }
    }
}

/// A number as far as 32 bits hold it.
fn digits(number: f64) -> f64 {
    format!("{number:.5e}").parse().unwrap_or(number)
}
