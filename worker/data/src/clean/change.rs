//! Changes: what a step does to the cells of a row, whatever the other rows are.
//! A change is stored with the model, with all that was learnt for it.

use std::{collections::BTreeMap, sync::Arc};

use arrow::datatypes::{DataType, Field, Schema as ArrowSchema, SchemaRef};
use phalanx_protocol::spec::{CastTo, LabelRule, VoteBy};
use serde::{Deserialize, Serialize};

use super::{cells::Value, changer::Changer, sql::Sql};
use crate::{
    intake::{arrow_type, is_hidden, normal_field},
    plan::{listed, nearest},
};

/// A change of cells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// Takes white space off both ends; what is empty then is missing.
    Trim {
        /// Of these columns.
        columns: Vec<String>,
    },
    /// Takes cells with these texts for missing.
    SetMissing {
        /// In these columns.
        columns: Vec<String>,
        /// The texts.
        values: Vec<String>,
    },
    /// Gives columns another type. Cells that do not fit are missing then.
    Cast {
        /// The columns.
        columns: Vec<String>,
        /// The type.
        to: CastTo,
    },
    /// Renames columns.
    Rename(BTreeMap<String, String>),
    /// Takes columns out.
    DropColumns(Vec<String>),
    /// Makes columns by SQL.
    Derive(BTreeMap<String, String>),
    /// Puts a value in the place of missing cells.
    Fill {
        /// In this column.
        column: String,
        /// The value; without one cells stay missing.
        value: Option<Value>,
        /// Whether a column says where they were.
        indicator: bool,
    },
    /// Puts a bound in the place of numbers beyond it.
    Clip {
        /// In this column.
        column: String,
        /// The bounds.
        low: f64,
        /// The bounds.
        high: f64,
    },
    /// Says in a column of its own which numbers are beyond bounds.
    Flag {
        /// Of this column.
        column: String,
        /// The bounds.
        low: f64,
        /// The bounds.
        high: f64,
    },
    /// Puts one text in the place of all but some.
    Fold {
        /// In this column.
        column: String,
        /// Those that stay, sorted.
        kept: Vec<String>,
        /// What takes the others' place.
        into: String,
    },
    /// Makes one label of several columns.
    Vote {
        /// The columns.
        columns: Vec<String>,
        /// What the vote of each counts.
        weights: Vec<f64>,
        /// The column of the label.
        into: String,
        /// How.
        by: VoteBy,
        /// Whether the columns stay.
        keep: bool,
    },
    /// Labels rows by rules.
    WeakLabel {
        /// The column of the label.
        into: String,
        /// The rules.
        rules: Vec<LabelRule>,
    },
}

impl Change {
    /// The change for rows that may have fewer columns, as rows to predict have that need no target and nothing
    /// that no model reads: what it does to columns of `schema`, and `None` if that is nothing. The column
    /// `target` is made only if it can be.
    pub(crate) fn within(&self, schema: &SchemaRef, target: &str) -> Option<Self> {
        let is_there = |name: &String| schema.index_of(name).is_ok();
        let left = |columns: &[String]| {
            let left: Vec<String> = columns.iter().filter(|name| is_there(name)).cloned().collect();
            (!left.is_empty()).then_some(left)
        };
        match self {
            Self::Trim { columns } => Some(Self::Trim { columns: left(columns)? }),
            Self::SetMissing { columns, values } => {
                Some(Self::SetMissing { columns: left(columns)?, values: values.clone() })
            }
            Self::Cast { columns, to } => Some(Self::Cast { columns: left(columns)?, to: *to }),
            Self::DropColumns(columns) => left(columns).map(Self::DropColumns),
            Self::Rename(names) => some_left(names, |old, _| is_there(old)).map(Self::Rename),
            Self::Derive(expressions) => {
                let can_be = |name: &String, text: &String| name != target || Sql::new(text, schema).is_ok();
                some_left(expressions, can_be).map(Self::Derive)
            }
            Self::Fill { column, .. }
            | Self::Clip { column, .. }
            | Self::Flag { column, .. }
            | Self::Fold { column, .. } => is_there(column).then(|| self.clone()),
            Self::Vote { columns, weights, into, by, keep } => {
                let there = columns.iter().zip(weights).filter(|(name, _)| is_there(name));
                let (columns, weights): (Vec<String>, Vec<f64>) =
                    there.map(|(name, weight)| (name.clone(), *weight)).unzip();
                let (into, by, keep) = (into.clone(), *by, *keep);
                (!columns.is_empty()).then_some(Self::Vote { columns, weights, into, by, keep })
            }
            Self::WeakLabel { into, rules } => {
                let can_be =
                    into != target || rules.iter().all(|rule| Sql::condition(&rule.when, schema).is_ok());
                can_be.then(|| self.clone())
            }
        }
    }
}

impl Change {
    /// Fits the change to a table.
    ///
    /// # Errors
    ///
    /// What does not fit, in words.
    pub(crate) fn over(self, before: &SchemaRef) -> Result<Changer, String> {
        let mut sql = Vec::new();
        if let Self::Derive(expressions) = &self {
            for (name, text) in expressions {
                let expression = Sql::new(text, before).map_err(|reason| format!("`{name}`: {reason}"))?;
                sql.push((name.clone(), expression));
            }
        }
        if let Self::WeakLabel { rules, .. } = &self {
            for rule in rules {
                let condition = Sql::condition(&rule.when, before)
                    .map_err(|reason| format!("`{}`: {reason}", rule.when))?;
                sql.push((rule.name().to_owned(), condition));
            }
        }
        let mut fields: Vec<Field> = before.fields().iter().map(|field| field.as_ref().clone()).collect();
        self.change_fields(&mut fields, before, &sql)?;
        let mut names: Vec<&String> = fields.iter().map(Field::name).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("there would be two columns `{}`", pair[0]));
        }
        if let Some(name) = names.iter().find(|name| is_hidden(name) && before.index_of(name).is_err()) {
            return Err(format!("a column cannot be called `{name}`"));
        }
        let after = Arc::new(ArrowSchema::new(fields));
        Ok(Changer { change: self, sql, before: before.clone(), after })
    }

    /// Makes `fields`, which are those of `before`, the fields afterwards.
    fn change_fields(
        &self,
        fields: &mut Vec<Field>,
        before: &SchemaRef,
        sql: &[(String, Sql)],
    ) -> Result<(), String> {
        match self {
            Self::Trim { columns } | Self::SetMissing { columns, .. } => {
                columns.iter().try_for_each(|name| text_column(before, name).map(drop))?;
            }
            Self::Cast { columns, to } => {
                for name in columns {
                    fields[column(before, name)?] = Field::new(name, arrow_type(*to), true);
                }
            }
            Self::Rename(names) => {
                for (old, new) in names {
                    let index = column(before, old)?;
                    fields[index] = before.field(index).clone().with_name(new);
                }
            }
            Self::DropColumns(names) => {
                names.iter().try_for_each(|name| column(before, name).map(drop))?;
                fields.retain(|field| !names.contains(field.name()));
            }
            Self::Derive(_) => {
                for (name, expression) in sql {
                    put(fields, normal_field(&Field::new(name, expression.data_type(before), true)));
                }
            }
            Self::Fill { column: name, value, indicator } => {
                let index = column(before, name)?;
                let filled = filled_type(value.as_ref(), before.field(index).data_type());
                let filled = filled.ok_or_else(|| {
                    format!("column `{name}` is of type {}", before.field(index).data_type())
                })?;
                fields[index] = Field::new(name, filled, true);
                if *indicator {
                    put(fields, Field::new(format!("{name}_missing"), DataType::Int64, true));
                }
            }
            Self::Clip { column: name, .. } => {
                fields[number_column(before, name)?] = Field::new(name, DataType::Float64, true);
            }
            Self::Flag { column: name, .. } => {
                number_column(before, name)?;
                put(fields, Field::new(format!("{name}_outlier"), DataType::Int64, true));
            }
            Self::Fold { column: name, .. } => drop(text_column(before, name)?),
            Self::Vote { columns, into, by, keep, .. } => {
                for name in columns {
                    match by {
                        VoteBy::Majority => drop(column(before, name)?),
                        VoteBy::Mean | VoteBy::Median => drop(number_column(before, name)?),
                    }
                }
                fields.retain(|field| *keep || !columns.contains(field.name()));
                let is_text = *by == VoteBy::Majority;
                put(fields, Field::new(into, if is_text { DataType::Utf8 } else { DataType::Float64 }, true));
            }
            Self::WeakLabel { into, .. } => {
                if before.index_of(into).is_ok() {
                    text_column(before, into)?;
                }
                put(fields, Field::new(into, DataType::Utf8, true));
            }
        }
        Ok(())
    }
}

/// The entries of a table whose keys are chosen; `None` if there are none.
fn some_left(
    entries: &BTreeMap<String, String>,
    chosen: impl Fn(&String, &String) -> bool,
) -> Option<BTreeMap<String, String>> {
    let mut left = entries.clone();
    left.retain(|key, value| chosen(key, value));
    (!left.is_empty()).then_some(left)
}

/// The type of a column whose missing cells are filled with a value; `None` if the value does not belong there.
fn filled_type(value: Option<&Value>, data_type: &DataType) -> Option<DataType> {
    match (value, data_type) {
        (None, other) => Some(other.clone()),
        // A mean of whole numbers is none.
        (Some(Value::Float(_)), DataType::Int64 | DataType::Float64) => Some(DataType::Float64),
        (Some(Value::Int(_)), DataType::Int64)
        | (Some(Value::Text(_)), DataType::Utf8)
        | (Some(Value::Bool(_)), DataType::Boolean) => Some(data_type.clone()),
        (Some(_), _) => None,
    }
}

/// Puts a field in the place of the one of its name, or behind all but the hidden ones.
fn put(fields: &mut Vec<Field>, field: Field) {
    match fields.iter().position(|other| other.name() == field.name()) {
        Some(index) => fields[index] = field,
        None => {
            let visible = fields.iter().position(|field| is_hidden(field.name())).unwrap_or(fields.len());
            fields.insert(visible, field);
        }
    }
}

/// The number of a column.
pub(super) fn column(schema: &SchemaRef, name: &str) -> Result<usize, String> {
    let found = schema.index_of(name).ok().filter(|_| !is_hidden(name));
    found.ok_or_else(|| {
        let names: Vec<String> = schema
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .filter(|name| !is_hidden(name))
            .collect();
        let meant = nearest(name, &names).map(|name| format!("did you mean `{name}`? ")).unwrap_or_default();
        format!("there is no column `{name}`; {meant}the columns are {}", listed(&names))
    })
}

/// The number of a column of text.
pub(super) fn text_column(schema: &SchemaRef, name: &str) -> Result<usize, String> {
    typed(schema, name, "text", |found| *found == DataType::Utf8)
}

/// The number of a column of numbers.
pub(super) fn number_column(schema: &SchemaRef, name: &str) -> Result<usize, String> {
    typed(schema, name, "numbers", |found| matches!(found, DataType::Int64 | DataType::Float64))
}

fn typed(
    schema: &SchemaRef,
    name: &str,
    expected: &str,
    fits: impl Fn(&DataType) -> bool,
) -> Result<usize, String> {
    let index = column(schema, name)?;
    let found = schema.field(index).data_type();
    match fits(found) {
        true => Ok(index),
        false => Err(format!("column `{name}` is of type {found}, expected {expected}; `cast` it before")),
    }
}

/// Columns of text.
pub(super) fn text_columns(schema: &SchemaRef) -> Vec<String> {
    let texts = schema.fields().iter().filter(|field| *field.data_type() == DataType::Utf8);
    texts.map(|field| field.name().clone()).collect()
}
