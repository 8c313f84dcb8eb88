//! Reweighing before training (Kamiran & Calders 2012): each row gets the weight with which
//! group and class are independent. Owns no state; changes no label and no feature.

use serde::{Deserialize, Serialize};

use super::Groups;
use crate::input::{self, InputError};

/// The weight of the rows of one group and one class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReweighingCell {
    /// The group's name.
    pub group: String,
    /// The class's name.
    pub class: String,
    /// Rows of both.
    pub count: u64,
    /// What each of them weighs; absent where there are none.
    pub weight: Option<f64>,
}

/// The weights of all groups and classes. They sum to the number of rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reweighing {
    /// The column, or columns.
    pub column: String,
    /// Groups by name, and within each the classes in their order.
    pub cells: Vec<ReweighingCell>,
    classes: usize,
}

/// The weights of the training split's rows: `P(group) P(class) / P(group, class)`.
///
/// # Errors
///
/// Where columns differ in length, or a label is none of the classes.
pub fn reweighing(classes: &[String], labels: &[u32], groups: &Groups) -> Result<Reweighing, InputError> {
    input::within("classes", classes.len(), 1, phalanx_protocol::spec::CLASSES_MAX)?;
    input::as_long("labels", groups.rows(), labels.len())?;
    input::below("label", labels, classes.len(), "the index of a class")?;
    let mut counts = vec![0_u64; groups.names().len() * classes.len()];
    for (label, group) in labels.iter().zip(groups.of_row()) {
        counts[*group as usize * classes.len() + *label as usize] += 1;
    }
    Ok(Reweighing::of_counts(groups.column(), groups.names(), classes, &counts))
}

impl Reweighing {
    /// The weights where so many rows are of each group and class: group by group, a count for each class. What is not
    /// counted is 0.
    pub fn of_counts(column: &str, groups: &[String], classes: &[String], counts: &[u64]) -> Self {
        let of = |group: usize, class: usize| counts.get(group * classes.len() + class).copied().unwrap_or(0);
        let of_class: Vec<u64> =
            (0..classes.len()).map(|class| (0..groups.len()).map(|group| of(group, class)).sum()).collect();
        let rows = of_class.iter().sum::<u64>() as f64;
        let mut cells = Vec::with_capacity(groups.len() * classes.len());
        for (group, name) in groups.iter().enumerate() {
            let in_group: u64 = (0..classes.len()).map(|class| of(group, class)).sum();
            for (class, class_name) in classes.iter().enumerate() {
                let count = of(group, class);
                let weight = in_group as f64 * of_class[class] as f64 / (rows * count as f64);
                let weight = (count > 0).then_some(weight);
                cells.push(ReweighingCell { group: name.clone(), class: class_name.clone(), count, weight });
            }
        }
        Self { column: column.to_owned(), cells, classes: classes.len() }
    }

    /// The weight of a row of this group and class, by their indices; 1 where no such row was seen.
    pub fn weight(&self, group: u32, class: u32) -> f64 {
        let known = (class as usize) < self.classes;
        let at = (group as usize).saturating_mul(self.classes).saturating_add(class as usize);
        self.cells.get(at).filter(|_| known).and_then(|cell| cell.weight).unwrap_or(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weighed_rows_have_the_same_base_rate_in_every_group() {
        let groups = Groups::of_column("sex", &["f", "f", "f", "f", "m", "m", "m", "m"]).unwrap();
        let labels = [0, 0, 0, 1, 0, 1, 1, 1];
        let classes = ["no".to_owned(), "yes".to_owned()];
        let weights = reweighing(&classes, &labels, &groups).unwrap();
        let of_row: Vec<f64> =
            labels.iter().zip(groups.of_row()).map(|(label, group)| weights.weight(*group, *label)).collect();
        assert!((of_row.iter().sum::<f64>() - 8.0).abs() < 1e-12);
        assert!((of_row[3] - 2.0).abs() < 1e-12 && (of_row[0] - 2.0 / 3.0).abs() < 1e-12, "{of_row:?}");
        assert!((of_row[3] - (of_row[5] + of_row[6] + of_row[7])).abs() < 1e-12);
        assert_eq!(weights.weight(7, 0), 1.0);
    }
}
