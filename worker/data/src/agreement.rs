//! How far annotators, or rules that label, agree: Cohen's kappa for two (J. Cohen, "A coefficient of
//! agreement for nominal scales", 1960), and Fleiss' for any number (J. L. Fleiss, "Measuring nominal
//! scale agreement among many raters", 1971).
//!
//! Pure: counts in, figures out. Counts are whole numbers, so they can be added up in any order.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What came of labelling rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelReport {
    /// The column of the label.
    pub into: String,
    /// Rows.
    pub rows: u64,
    /// Rows that have a label now.
    pub labelled: u64,
    /// Rows on which votes were equal, and that have none for that.
    pub tied: u64,
    /// Annotators or rules, in their order.
    pub sources: Vec<LabelSource>,
    /// Each two that have labelled a row in common.
    pub pairs: Vec<PairAgreement>,
    /// Fleiss' kappa over all rows that at least two have labelled; `None` where labels are numbers, or are all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleiss_kappa: Option<f64>,
}

/// An annotator, or a rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelSource {
    /// The column, or the rule's name.
    pub name: String,
    /// What its vote counts.
    pub weight: f64,
    /// Rows that it labels: its coverage.
    pub labelled: u64,
    /// Of these, rows that another one labels, too: its overlap.
    pub overlaps: u64,
    /// Of these, rows that another one labels otherwise: its conflicts.
    pub conflicts: u64,
    /// Rows that had a label before and that it labels, and how often it is right about them; for rules alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged: Option<(u64, u64)>,
}

/// How far two agree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairAgreement {
    /// The first.
    pub a: String,
    /// The second.
    pub b: String,
    /// Rows that both have labelled.
    pub rows: u64,
    /// Of these, rows that they have labelled alike.
    pub same: u64,
    /// Cohen's kappa; `None` where labels are numbers, or both have given one and the same throughout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cohen_kappa: Option<f64>,
    /// The mean distance of their numbers, where labels are numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<f64>,
}

/// Cohen's kappa of rows by what the first and what the second has said; `None` if chance alone would have them agree.
pub(crate) fn cohen_kappa<'a>(counts: impl Iterator<Item = ((&'a str, &'a str), u64)>) -> Option<f64> {
    let (mut rows, mut same) = (0_u128, 0_u128);
    let mut margins: BTreeMap<&str, (u128, u128)> = BTreeMap::new();
    for ((a, b), count) in counts {
        let count = u128::from(count);
        rows += count;
        same += if a == b { count } else { 0 };
        margins.entry(a).or_default().0 += count;
        margins.entry(b).or_default().1 += count;
    }
    let chance: u128 = margins.values().map(|(a, b)| a * b).sum();
    // (p - e) / (1 - e), both multiplied by the square of the rows.
    let (agreed, all) = (same * rows, rows * rows);
    (chance < all).then(|| (agreed as f64 - chance as f64) / (all - chance) as f64)
}

/// Fleiss' kappa. Of rows that so many have labelled: how many they are, and the sum of the squares of how many have given
/// each label; and how often each label was given. Rows may have different numbers of labels, of two or more.
pub(crate) fn fleiss_kappa<'a>(
    rows: impl Iterator<Item = (u64, (u64, u64))>,
    labels: impl Iterator<Item = &'a u64>,
) -> Option<f64> {
    let (mut all, mut agreed) = (0, 0.0);
    for (raters, (rows, squares)) in rows {
        all += rows;
        agreed += (squares - rows * raters) as f64 / (raters * (raters - 1)) as f64;
    }
    let counts: Vec<f64> = labels.map(|count| *count as f64).collect();
    let given: f64 = counts.iter().sum();
    let chance: f64 = counts.iter().map(|count| (count / given).powi(2)).sum();
    (all > 0 && counts.len() > 1).then(|| (agreed / all as f64 - chance) / (1.0 - chance))
}

impl LabelReport {
    /// What came of it, in one line.
    pub fn sentence(&self) -> String {
        let kappa = self.fleiss_kappa.map(|kappa| format!(", Fleiss' kappa {kappa:.3}")).unwrap_or_default();
        let tied = if self.tied > 0 { format!(", {} tied", self.tied) } else { String::new() };
        format!("`{}`: {} of {} rows labelled{tied}{kappa}", self.into, self.labelled, self.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cohens_kappa_is_that_of_the_book() {
        let counts = [(("yes", "yes"), 20), (("yes", "no"), 5), (("no", "yes"), 10), (("no", "no"), 15)];
        assert_eq!(cohen_kappa(counts.into_iter()), Some(0.4));
        assert_eq!(cohen_kappa([(("yes", "yes"), 9)].into_iter()), None);
        assert_eq!(cohen_kappa([(("yes", "no"), 9)].into_iter()), Some(0.0));
        assert_eq!(cohen_kappa(std::iter::empty()), None);
    }

    #[test]
    fn fleiss_kappa_is_that_of_the_book() {
        // Fourteen psychiatrists, ten patients, five categories: 0.210.
        let rows: [[u64; 5]; 10] = [
            [0, 0, 0, 0, 14],
            [0, 2, 6, 4, 2],
            [0, 0, 3, 5, 6],
            [0, 3, 9, 2, 0],
            [2, 2, 8, 1, 1],
            [7, 7, 0, 0, 0],
            [3, 2, 6, 3, 0],
            [2, 5, 3, 2, 2],
            [6, 5, 2, 1, 0],
            [0, 2, 2, 3, 7],
        ];
        let squares = rows.iter().flatten().map(|count| count * count).sum();
        let labels: Vec<u64> = (0..5).map(|label| rows.iter().map(|row| row[label]).sum()).collect();
        let kappa = fleiss_kappa([(14, (10, squares))].into_iter(), labels.iter()).unwrap();
        assert!((kappa - 0.209_930_704_421_955_7).abs() < 1e-12, "{kappa}");
        assert_eq!(fleiss_kappa([(2, (5, 20))].into_iter(), [10].iter()), None);
        assert_eq!(fleiss_kappa(std::iter::empty(), [].iter()), None);
    }
}
