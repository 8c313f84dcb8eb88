//! Cells as values that can be compared, counted and written down, whatever the
//! type of their column.

use std::{fmt, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray as _, BooleanArray, Float64Array, Int64Array, StringArray},
    datatypes::{DataType, Float64Type, Int64Type},
};
use serde::{Deserialize, Serialize};

use crate::intake::is_bytes;

/// A value that takes the place of missing cells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// A text.
    Text(String),
    /// A truth value.
    Bool(bool),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Text(value) => write!(f, "{value}"),
            Self::Bool(value) => write!(f, "{value}"),
        }
    }
}

impl Value {
    /// What `text` says in a column of type `data_type`; `None` if it says nothing there.
    pub(super) fn parse(text: &str, data_type: &DataType) -> Option<Self> {
        match data_type {
            DataType::Int64 => text.parse().ok().map(Self::Int),
            DataType::Float64 => text.parse().ok().filter(|value: &f64| value.is_finite()).map(Self::Float),
            DataType::Boolean => text.parse().ok().map(Self::Bool),
            DataType::Utf8 => Some(Self::Text(text.to_owned())),
            _ => None,
        }
    }

    /// `column` with this in the place of missing cells; `None` if it is of another type.
    pub(super) fn fill(&self, column: &ArrayRef) -> Option<ArrayRef> {
        if column.null_count() == 0 {
            return Some(column.clone());
        }
        Some(match (self, column.data_type()) {
            (Self::Int(value), DataType::Int64) => {
                let filled = column.as_primitive::<Int64Type>().iter().map(|cell| cell.unwrap_or(*value));
                Arc::new(filled.collect::<Int64Array>())
            }
            (Self::Float(value), DataType::Float64) => {
                let filled = column.as_primitive::<Float64Type>().iter().map(|cell| cell.unwrap_or(*value));
                Arc::new(filled.collect::<Float64Array>())
            }
            (Self::Text(value), DataType::Utf8) => {
                let filled = column.as_string::<i32>().iter().map(|cell| Some(cell.unwrap_or(value)));
                Arc::new(filled.collect::<StringArray>())
            }
            (Self::Bool(value), DataType::Boolean) => {
                let filled = column.as_boolean().iter().map(|cell| Some(cell.unwrap_or(*value)));
                Arc::new(filled.collect::<BooleanArray>())
            }
            _ => return None,
        })
    }
}

/// A column of numbers as `f64`; `None` if it is none.
pub(crate) fn numbers(column: &ArrayRef) -> Option<Float64Array> {
    match column.data_type() {
        DataType::Float64 => Some(column.as_primitive::<Float64Type>().clone()),
        DataType::Int64 => {
            Some(column.as_primitive::<Int64Type>().unary::<_, Float64Type>(|value| value as f64))
        }
        _ => None,
    }
}

/// One cell for people and for JSON: `None` if it is missing.
pub(crate) fn text(column: &dyn Array, row: usize) -> Option<String> {
    if column.is_null(row) {
        return None;
    }
    Some(match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().value(row).to_owned(),
        bytes if is_bytes(bytes) => "bytes".to_owned(),
        nested if nested.is_nested() => "a list".to_owned(),
        _ => arrow::util::display::array_value_to_string(column, row).unwrap_or_default(),
    })
}
