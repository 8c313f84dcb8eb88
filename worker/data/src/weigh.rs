//! Weights of the training split's rows, so that what is true does not depend on the group (`data.reweigh`). Owns the group
//! and the class of each row until all are counted; what a weight is, `phalanx-evaluate` says.

use std::collections::BTreeMap;

use arrow::array::{ArrayRef, RecordBatch};
use phalanx_evaluate::fairness::{GROUPS_MAX, Reweighing};
use phalanx_protocol::spec::{CLASSES_MAX, DataSpec};

use crate::{PrepareError, Schema, Split, TargetKind, clean::cell_text};

/// What a group of missing cells is called.
const MISSING: &str = "(missing)";

/// The weights of the training split's rows.
#[derive(Debug)]
pub(crate) struct Weighed {
    /// Row by row.
    pub(crate) rows: Vec<f32>,
    /// By group and class.
    pub(crate) of: Reweighing,
}

/// Counts the rows of the training split by group and class.
#[derive(Debug)]
pub(crate) struct Weigher<'a> {
    columns: &'a [String],
    target: &'a str,
    groups: Names,
    classes: Names,
    /// The group and the class of each row.
    rows: Vec<[u32; 2]>,
}

/// Names, numbered in the order in which they were seen.
#[derive(Debug, Default)]
struct Names(BTreeMap<String, u32>);

impl<'a> Weigher<'a> {
    /// Nothing where rows weigh the same.
    ///
    /// # Errors
    ///
    /// If the target has no classes.
    pub(crate) fn new(spec: &'a DataSpec, schema: &Schema) -> Result<Option<Self>, PrepareError> {
        let (columns, Some(target)) = (&spec.reweigh, spec.target()) else { return Ok(None) };
        if columns.is_empty() {
            return Ok(None);
        }
        if !matches!(schema.target, TargetKind::Classes(_)) {
            let reason = "`reweigh` needs a target of classes: take it out".to_owned();
            return Err(PrepareError::Recipe { reason });
        }
        let (groups, classes) = (Names::default(), Names::default());
        Ok(Some(Self { columns, target, groups, classes, rows: Vec::new() }))
    }

    /// Looks at some rows as they are before they are encoded.
    pub(crate) fn add(&mut self, batch: &RecordBatch, splits: &[Option<Split>]) -> Result<(), PrepareError> {
        let column = |name: &str| {
            batch.column_by_name(name).ok_or_else(|| PrepareError::Changed { path: "the source".into() })
        };
        let columns = self.columns.iter().map(|name| column(name)).collect::<Result<Vec<&ArrayRef>, _>>()?;
        let target = column(self.target)?;
        for row in (0..batch.num_rows()).filter(|row| splits.get(*row) == Some(&Some(Split::Train))) {
            let cell = |column: &ArrayRef| cell_text(column, row).unwrap_or_else(|| MISSING.to_owned());
            let group = columns.iter().map(|column| cell(column)).collect::<Vec<_>>().join(", ");
            self.rows.push([self.groups.number(group), self.classes.number(cell(target))]);
        }
        if self.groups.0.len() > GROUPS_MAX || self.classes.0.len() > CLASSES_MAX {
            let reason = format!(
                "`reweigh`: {} has more than {GROUPS_MAX} groups; put numbers into ranges first, with `derive`",
                self.columns.join(", ")
            );
            return Err(PrepareError::Recipe { reason });
        }
        Ok(())
    }

    /// The weights of all rows.
    pub(crate) fn finish(self) -> Weighed {
        let Self { columns, groups, classes, rows, .. } = self;
        let ((groups, group_places), (classes, class_places)) = (groups.sorted(), classes.sorted());
        let mut counts = vec![0; groups.len() * classes.len()];
        let placed = |[group, class]: [u32; 2]| [group_places[group as usize], class_places[class as usize]];
        for row in &rows {
            let [group, class] = placed(*row);
            counts[group as usize * classes.len() + class as usize] += 1;
        }
        let of = Reweighing::of_counts(&columns.join(", "), &groups, &classes, &counts);
        let weight = |row: &[u32; 2]| {
            let [group, class] = placed(*row);
            of.weight(group, class) as f32
        };
        Weighed { rows: rows.iter().map(weight).collect(), of }
    }
}

impl Names {
    fn number(&mut self, name: String) -> u32 {
        let next = self.0.len() as u32;
        *self.0.entry(name).or_insert(next)
    }

    /// The names in order, and the place in it of each number.
    fn sorted(self) -> (Vec<String>, Vec<u32>) {
        let mut places = vec![0; self.0.len()];
        for (place, number) in (0..).zip(self.0.values()) {
            places[*number as usize] = place;
        }
        (self.0.into_keys().collect(), places)
    }
}
