//! Which encoded features belong to which column of a table, and what they are where a cell is
//! missing.

use std::ops::Range;

use arrow::array::StringArray;

use crate::{
    Encoder,
    encoder::{ColumnRule, Rules},
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
}

impl Encoder {
    /// The columns of a table; none of images, vectors and texts.
    pub fn columns(&self) -> Vec<EncodedColumn> {
        let Rules::Table(table) = &self.rules else { return Vec::new() };
        let mut start = 0;
        let column = |rule: &ColumnRule| {
            let width = rule.encoding.width();
            let place = start..start + width;
            start = place.end;
            let mut missing = vec![0.0; width];
            let cell = Cells::Text(StringArray::from(vec![None::<&str>]));
            let encoded = rule.encoding.encode(&cell, 0, width, &mut missing);
            debug_assert!(encoded.is_ok(), "a missing cell can be encoded");
            EncodedColumn { name: rule.name.clone(), place, missing }
        };
        table.columns.iter().map(column).collect()
    }
}
