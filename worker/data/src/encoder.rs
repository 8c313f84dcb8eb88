//! The encoder: turns the columns of a source into a model's input, with what
//! was fitted to the training split. It is stored with the data set and with the
//! model, so that predicting applies the very same.
//!
//! A number becomes `(number - mean) / deviation`, a missing one the mean, which
//! is 0. A text becomes one-hot over the categories of the training split; one
//! that was not seen there becomes all zeros, and a missing one has a column of
//! its own where the training split had missing ones.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{
    Features,
    error::{CellProblem, PrepareError, shown},
    source::{Cells, Chunk, Dialect, ListForm, ListValues},
};

/// Turns raw columns into a model's input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Encoder {
    pub(crate) rules: Rules,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Rules {
    Table(TableRules),
    Image(ImageRules),
    Vector(VectorRules),
    Text { context: usize },
}

/// Columns of numbers and texts, side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TableRules {
    pub(crate) columns: Vec<ColumnRule>,
    pub(crate) dialect: Dialect,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ColumnRule {
    pub(crate) name: String,
    pub(crate) encoding: Encoding,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Encoding {
    Standardise(Scale),
    /// Sorted; `missing`: whether missing cells have a column of their own, the last one.
    OneHot {
        categories: Vec<String>,
        missing: bool,
    },
}

/// One column of images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImageRules {
    pub(crate) column: String,
    pub(crate) shape: [usize; 3],
    /// For floats, how they are standardised here; bytes are left to the model.
    pub(crate) floats: Option<Scale>,
}

/// One column of vectors, each element standardised by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VectorRules {
    pub(crate) column: String,
    pub(crate) elements: Vec<Scale>,
}

/// Mean and deviation over the training split.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scale {
    pub(crate) mean: f64,
    /// Above zero: 1 where all values are equal.
    pub(crate) deviation: f64,
}

impl Encoder {
    /// Values in an encoded row.
    pub(crate) fn width(&self) -> usize {
        match &self.rules {
            Rules::Table(table) => table.columns.iter().map(|column| column.encoding.width()).sum(),
            Rules::Image(image) => image.width(),
            Rules::Vector(vector) => vector.elements.len(),
            Rules::Text { context } => *context,
        }
    }

    /// Whether a row is encoded to floats, and not to bytes.
    pub(crate) fn is_floats(&self) -> bool {
        match &self.rules {
            Rules::Table(_) | Rules::Vector(_) => true,
            Rules::Image(image) => image.floats.is_some(),
            Rules::Text { .. } => false,
        }
    }

    /// Encodes a chunk of a table whose first columns are those of this encoder.
    pub(crate) fn encode(&self, chunk: Chunk, path: &Path) -> Result<Features, PrepareError> {
        match (&self.rules, chunk.lists) {
            (Rules::Table(table), _) => {
                let width = self.width();
                let mut rows = vec![0.0; chunk.rows * width];
                let mut offset = 0;
                for (column, cells) in table.columns.iter().zip(&chunk.columns) {
                    let encoded = column.encoding.encode(cells, offset, width, &mut rows);
                    encoded.map_err(|(row, problem)| PrepareError::Cell {
                        path: path.to_owned(),
                        place: chunk.places.at(row),
                        column: column.name.clone(),
                        problem,
                    })?;
                    offset += column.encoding.width();
                }
                Ok(Features::Floats(rows))
            }
            (Rules::Image(ImageRules { floats: None, .. }), Some(lists)) => match lists.values {
                ListValues::Bytes(bytes) => Ok(Features::Bytes(bytes)),
                ListValues::Floats(_) => Err(PrepareError::Changed { path: path.to_owned() }),
            },
            (Rules::Image(ImageRules { floats: Some(scale), .. }), Some(lists)) => {
                Ok(Features::Floats(lists.values.floats().map(|value| scale.apply(value)).collect()))
            }
            (Rules::Vector(vector), Some(lists)) => {
                let scales = vector.elements.iter().cycle();
                let values = lists.values.floats().zip(scales).map(|(value, scale)| scale.apply(value));
                Ok(Features::Floats(values.collect()))
            }
            (Rules::Image(_) | Rules::Vector(_), None) | (Rules::Text { .. }, _) => {
                Err(PrepareError::Changed { path: path.to_owned() })
            }
        }
    }
}

impl ImageRules {
    pub(crate) fn form(&self) -> ListForm {
        ListForm { bytes: self.floats.is_none(), shape: Some(self.shape), width: Some(self.width()) }
    }

    fn width(&self) -> usize {
        self.shape.into_iter().fold(1, usize::saturating_mul)
    }
}

impl VectorRules {
    pub(crate) fn form(&self) -> ListForm {
        ListForm { bytes: false, shape: None, width: Some(self.elements.len()) }
    }
}

impl Encoding {
    pub(crate) fn width(&self) -> usize {
        match self {
            Self::Standardise(_) => 1,
            Self::OneHot { categories, missing } => categories.len() + usize::from(*missing),
        }
    }

    /// Writes this column's part of every row, at `offset` of `width`. Rows are zeros before.
    pub(crate) fn encode(
        &self,
        cells: &Cells,
        offset: usize,
        width: usize,
        rows: &mut [f32],
    ) -> Result<(), (usize, CellProblem)> {
        for (index, row) in rows.chunks_exact_mut(width.max(1)).enumerate() {
            match self {
                Self::Standardise(scale) => {
                    let number = cells
                        .number(index)
                        .map_err(|found| (index, CellProblem::NotANumber { found: shown(&found) }))?;
                    row[offset] = number.map_or(0.0, |number| scale.apply(number));
                }
                Self::OneHot { categories, missing } => {
                    let hot = match cells.text(index) {
                        Some(text) => categories.binary_search_by(|category| (**category).cmp(&text)).ok(),
                        None => missing.then_some(categories.len()),
                    };
                    if let Some(hot) = hot {
                        row[offset + hot] = 1.0;
                    }
                }
            }
        }
        Ok(())
    }
}

impl Scale {
    pub(crate) fn apply(&self, value: f64) -> f32 {
        ((value - self.mean) / self.deviation) as f32
    }
}
