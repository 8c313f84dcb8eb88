//! What a row to predict goes through before it is encoded: the types of the raw
//! columns, and the changes that cleaning made, with all that was learnt for them. Sieves
//! are left out: no row to predict is dropped. Stored with the data set and with the model.

use std::{collections::BTreeMap, path::Path};

use arrow::datatypes::{DataType, SchemaRef};
use phalanx_protocol::spec::{CastTo, CsvSpec};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::{
    PrepareError,
    clean::{Change, clean_with},
    intake::{Input, Reading, SourceFile, is_hidden},
    prepare::scratch,
    source::{ArrowTable, Dialect, Table},
};

/// How new rows are cleaned for a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cleaner {
    /// The types of raw columns; those of lists are left out.
    columns: BTreeMap<String, CastTo>,
    /// What the column that is predicted is called at first.
    target: String,
    changes: Vec<Change>,
}

impl Cleaner {
    /// That of a data set over raw columns of `schema` that predicts `target`.
    pub(crate) fn new(schema: &SchemaRef, target: &str, changes: Vec<Change>) -> Self {
        let raw = |name: String, change: &Change| match change {
            Change::Rename(names) => {
                names.iter().find(|(_, new)| **new == name).map_or(name, |(old, _)| old.clone())
            }
            _ => name,
        };
        let target = changes.iter().rev().fold(target.to_owned(), raw);
        let visible = schema.fields().iter().filter(|field| !is_hidden(field.name()));
        let columns =
            visible.filter_map(|field| Some((field.name().clone(), column_type(field.data_type())?)));
        Self { columns: columns.collect(), target, changes }
    }

    /// Cleans the rows of a file: a table of them, and the folder in which it lies as long as that is kept.
    pub(crate) fn clean(&self, path: &Path, dialect: &Dialect) -> Result<(Table, TempDir), PrepareError> {
        let file = SourceFile::unhashed(path)?;
        let csv =
            CsvSpec { path: path.to_owned(), missing: dialect.missing.clone(), delimiter: dialect.delimiter };
        let input = Input::detect(file.clone(), &csv, &Reading::of_types(&self.columns))?;
        let scratch = scratch()?;
        let table = clean_with(&input, &self.changes, &self.target, scratch.path())?;
        Ok((Table::Clean(ArrowTable::new(&table, &[file])), scratch))
    }
}

fn column_type(data_type: &DataType) -> Option<CastTo> {
    match data_type {
        DataType::Int64 => Some(CastTo::Int),
        DataType::Float64 => Some(CastTo::Float),
        DataType::Utf8 => Some(CastTo::Text),
        DataType::Boolean => Some(CastTo::Bool),
        DataType::Date32 => Some(CastTo::Date),
        DataType::Timestamp(..) => Some(CastTo::Timestamp),
        _ => None,
    }
}
