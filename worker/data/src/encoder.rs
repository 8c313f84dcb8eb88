//! The encoder: turns the columns of a source into a model's input, with what
//! was fitted to the training split. It is stored with the data set and with the
//! model, so that predicting applies the very same. What becomes of a single cell
//! is in [`encoding`](crate::encoding).

use std::path::Path;

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::{
    Features,
    cleaner::Cleaner,
    encoding::{Encoding, NumberRule},
    error::PrepareError,
    source::{Chunk, Dialect, ListForm, ListValues, Table},
    tokens::Tokenizer,
};

/// Turns raw columns into a model's input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Encoder {
    pub(crate) rules: Rules,
    /// What rows go through before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) clean: Option<Cleaner>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Rules {
    Table(TableRules),
    Image(ImageRules),
    Vector(VectorRules),
    Text { context: usize },
    Tokens(TokenRules),
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

/// One column of images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImageRules {
    pub(crate) column: String,
    pub(crate) shape: [usize; 3],
    /// For floats, how each channel is standardised here; bytes are left to the model.
    pub(crate) floats: Option<Vec<Scale>>,
}

/// One column of vectors, each element encoded by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VectorRules {
    pub(crate) column: String,
    pub(crate) elements: Vec<NumberRule>,
}

/// A text, cut into tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenRules {
    /// Tokens in a row.
    pub(crate) context: usize,
    pub(crate) tokenizer: Tokenizer,
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
    /// A file as rows that this encoder reads: cleaned, where they are to be; then the folder in which they lie
    /// comes along.
    pub(crate) fn table(
        &self,
        rules: &TableRules,
        path: &Path,
    ) -> Result<(Table, Option<TempDir>), PrepareError> {
        match &self.clean {
            Some(cleaner) => cleaner.clean(path, &rules.dialect).map(|(table, folder)| (table, Some(folder))),
            None => Ok((Table::detect(path, &rules.dialect)?, None)),
        }
    }

    /// Values in an encoded row.
    pub(crate) fn width(&self) -> usize {
        match &self.rules {
            Rules::Table(table) => table.columns.iter().map(|column| column.encoding.width()).sum(),
            Rules::Image(image) => image.width(),
            Rules::Vector(vector) => vector.elements.len(),
            Rules::Text { context } | Rules::Tokens(TokenRules { context, .. }) => *context,
        }
    }

    /// What cuts texts into tokens, where the model reads tokens.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        match &self.rules {
            Rules::Tokens(tokens) => Some(&tokens.tokenizer),
            Rules::Table(_) | Rules::Image(_) | Rules::Vector(_) | Rules::Text { .. } => None,
        }
    }

    /// Whether a row is encoded to floats, and not to bytes.
    pub(crate) fn is_floats(&self) -> bool {
        match &self.rules {
            Rules::Table(_) | Rules::Vector(_) => true,
            Rules::Image(image) => image.floats.is_some(),
            Rules::Text { .. } | Rules::Tokens(_) => false,
        }
    }

    /// Encodes a chunk of a table whose first columns are those of this encoder. Its lists are used up.
    pub(crate) fn encode(&self, chunk: &mut Chunk, path: &Path) -> Result<Features, PrepareError> {
        match (&self.rules, chunk.lists.take()) {
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
            (Rules::Image(ImageRules { floats: Some(scales), shape, .. }), Some(lists)) => {
                let pixels = shape[1].saturating_mul(shape[2]);
                let scales = scales.iter().flat_map(|scale| std::iter::repeat_n(scale, pixels)).cycle();
                let values = lists.values.floats().zip(scales).map(|(value, scale)| scale.apply(value));
                Ok(Features::Floats(values.collect()))
            }
            (Rules::Vector(vector), Some(lists)) => {
                let rules = vector.elements.iter().cycle();
                let values = lists.values.floats().zip(rules).map(|(value, rule)| rule.apply(value));
                Ok(Features::Floats(values.collect()))
            }
            (Rules::Image(_) | Rules::Vector(_), None) | (Rules::Text { .. } | Rules::Tokens(_), _) => {
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

impl Scale {
    pub(crate) fn apply(&self, value: f64) -> f32 {
        ((value - self.mean) / self.deviation) as f32
    }
}
