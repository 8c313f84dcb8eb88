//! What differs between two dataset versions: columns, rows, and how values are
//! distributed; and how rows differ from those of a version, by sketches of both. Pure: two
//! manifests or sketches in, a comparison out.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{ColumnProfile, ColumnSketch, DatasetManifest, ProfileValues, Sketches, Split};

/// Shares below this count as this much in the index: an empty bin would make it infinite.
const SHARE_MIN: f64 = 1e-4;

/// Bins of numbers for the index.
const BINS: usize = 10;

/// Frequent values that are compared one by one.
const TOP: usize = 20;

/// How two dataset versions differ, the second seen from the first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Diff {
    /// The first version.
    pub before: String,
    /// The second.
    pub after: String,
    /// Rows of each split before and after: training, validation, test.
    pub rows: [(u64, u64); 3],
    /// Columns that are there afterwards alone.
    pub added: Vec<String>,
    /// Columns that were there before alone.
    pub removed: Vec<String>,
    /// Columns of another type: name, type before and after.
    pub retyped: Vec<(String, String, String)>,
    /// Whether they were made in another way: cleaning, roles of columns, division.
    pub recipe_changed: bool,
    /// Columns that are in both, in their order.
    pub columns: Vec<ColumnDiff>,
}

/// How the values of a column differ.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ColumnDiff {
    /// Its name.
    pub name: String,
    /// The share of missing cells before and after.
    pub missing: (f64, f64),
    /// How many different values there are before and after, as far as that is known: see [`ColumnProfile::distinct`].
    pub distinct: (u64, u64),
    /// The mean before and after, of numbers.
    pub mean: Option<(f64, f64)>,
    /// The population stability index. Below 0.1 little has changed, above 0.25 much.
    pub psi: Option<f64>,
    /// The greatest distance of the two distribution functions (Kolmogorov and Smirnov), of numbers, to within 0.01.
    pub ks: Option<f64>,
}

/// Compares two versions.
pub fn diff(before: &DatasetManifest, after: &DatasetManifest) -> Diff {
    let named =
        |manifest: &DatasetManifest, name: &str| manifest.profile.iter().any(|column| column.name == name);
    let only = |a: &DatasetManifest, b: &DatasetManifest| {
        let names = a.profile.iter().map(|column| column.name.clone());
        names.filter(|name| !named(b, name)).collect::<Vec<_>>()
    };
    let both: Vec<(&ColumnProfile, &ColumnProfile)> = before
        .profile
        .iter()
        .filter_map(|a| Some((a, after.profile.iter().find(|b| a.name == b.name)?)))
        .collect();
    let retyped = both.iter().filter(|(a, b)| a.data_type != b.data_type);
    Diff {
        before: before.version.clone(),
        after: after.version.clone(),
        rows: Split::ALL.map(|split| (before.split(split).rows, after.split(split).rows)),
        added: only(after, before),
        removed: only(before, after),
        retyped: retyped.map(|(a, b)| (a.name.clone(), a.data_type.clone(), b.data_type.clone())).collect(),
        recipe_changed: before.lineage.recipe != after.lineage.recipe,
        columns: both.iter().map(|(a, b)| compared(&Known::of_profile(a), &Known::of_profile(b))).collect(),
    }
}

/// How other rows, such as those that a model is asked about, differ from those of a dataset version: by column, as far
/// as it is in both. Means are not known of sketches.
pub fn drift(before: &Sketches, after: &Sketches) -> Vec<ColumnDiff> {
    let both = before.columns().iter().filter_map(|a| Some((a, after.column(a.name())?)));
    both.map(|(a, b)| compared(&Known::of_sketch(a), &Known::of_sketch(b))).collect()
}

/// What is known of a column on one side of a comparison.
struct Known<'a> {
    name: &'a str,
    missing: f64,
    distinct: u64,
    mean: Option<f64>,
    values: Values,
}

enum Values {
    Numbers { percentiles: Vec<f64> },
    Texts { top: Vec<(String, u64)>, other: u64 },
    Other,
}

impl<'a> Known<'a> {
    fn of_profile(of: &'a ColumnProfile) -> Self {
        let (mean, values) = match &of.values {
            ProfileValues::Numbers { mean, percentiles, .. } => {
                (Some(*mean), Values::Numbers { percentiles: percentiles.clone() })
            }
            ProfileValues::Texts { top, other } => (None, Values::Texts { top: top.clone(), other: *other }),
            ProfileValues::Other => (None, Values::Other),
        };
        let missing = of.missing as f64 / of.rows.max(1) as f64;
        Self { name: &of.name, missing, distinct: of.distinct, mean, values }
    }

    fn of_sketch(of: &'a ColumnSketch) -> Self {
        let percents: Vec<f64> = (0..=100).map(|percent| f64::from(percent) / 100.0).collect();
        let values = match of.quantiles(&percents) {
            Some(percentiles) => Values::Numbers { percentiles },
            None => {
                let top: Vec<(String, u64)> =
                    of.top(TOP).into_iter().map(|found| (found.value, found.at_least)).collect();
                let known: u64 = top.iter().map(|(_, count)| count).sum();
                match top.is_empty() {
                    true => Values::Other,
                    false => Values::Texts { top, other: (of.rows() - of.missing()).saturating_sub(known) },
                }
            }
        };
        Self {
            name: of.name(),
            missing: of.missing() as f64 / of.rows().max(1) as f64,
            distinct: of.distinct().estimate.round() as u64,
            mean: None,
            values,
        }
    }
}

fn compared(a: &Known<'_>, b: &Known<'_>) -> ColumnDiff {
    let (psi, ks) = match (&a.values, &b.values) {
        (Values::Numbers { percentiles: a }, Values::Numbers { percentiles: b }) => {
            (Some(numbers_psi(a, b)), Some(ks(a, b)))
        }
        (Values::Texts { top: a, other: a_other }, Values::Texts { top: b, other: b_other }) => {
            (Some(texts_psi((a, *a_other), (b, *b_other))), None)
        }
        (Values::Numbers { .. } | Values::Texts { .. } | Values::Other, _) => (None, None),
    };
    ColumnDiff {
        name: a.name.to_owned(),
        missing: (a.missing, b.missing),
        distinct: (a.distinct, b.distinct),
        mean: a.mean.zip(b.mean),
        psi,
        ks,
    }
}

/// The share of numbers that are at most `number`, by percentiles.
fn share(percentiles: &[f64], number: f64) -> f64 {
    let above = percentiles.partition_point(|percentile| *percentile <= number);
    match (above.checked_sub(1).and_then(|below| percentiles.get(below)), percentiles.get(above)) {
        (None, _) => 0.0,
        (_, None) => 1.0,
        (Some(low), Some(high)) => {
            let within = if high > low { (number - low) / (high - low) } else { 0.0 };
            (above as f64 - 1.0 + within) / (percentiles.len() - 1) as f64
        }
    }
}

/// The index over bins that hold a tenth of the first version's numbers each, as far as equal numbers let them.
fn numbers_psi(a: &[f64], b: &[f64]) -> f64 {
    let mut edges: Vec<f64> =
        (1..BINS).filter_map(|bin| a.get(bin * (a.len() - 1) / BINS).copied()).collect();
    edges.dedup();
    let shares = |percentiles: &[f64]| {
        let mut below: Vec<f64> = edges.iter().map(|edge| share(percentiles, *edge)).collect();
        below.insert(0, 0.0);
        below.push(1.0);
        below.windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>()
    };
    psi(shares(a).into_iter().zip(shares(b)))
}

fn texts_psi((a, a_other): (&[(String, u64)], u64), (b, b_other): (&[(String, u64)], u64)) -> f64 {
    let known: BTreeSet<&String> = a.iter().chain(b).map(|(text, _)| text).collect();
    let all = |top: &[(String, u64)], other: u64| {
        (top.iter().map(|(_, count)| count).sum::<u64>() + other).max(1) as f64
    };
    let (a_all, b_all) = (all(a, a_other), all(b, b_other));
    let of = |top: &[(String, u64)], text: &String| {
        top.iter().find(|(known, _)| known == text).map_or(0.0, |(_, count)| *count as f64)
    };
    let shares = known.into_iter().map(|text| (of(a, text) / a_all, of(b, text) / b_all));
    psi(shares.chain([(a_other as f64 / a_all, b_other as f64 / b_all)]))
}

fn psi(shares: impl Iterator<Item = (f64, f64)>) -> f64 {
    let part = |(a, b): (f64, f64)| {
        let (a, b) = (a.max(SHARE_MIN), b.max(SHARE_MIN));
        (b - a) * (b / a).ln()
    };
    shares.map(part).sum()
}

fn ks(a: &[f64], b: &[f64]) -> f64 {
    let apart = |number: &f64| (share(a, *number) - share(b, *number)).abs();
    a.iter().chain(b).map(apart).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};

    use super::*;

    fn uniform(from: f64, to: f64) -> Vec<f64> {
        (0..=100).map(|percent| from + (to - from) * f64::from(percent) / 100.0).collect()
    }

    #[test]
    fn what_has_not_changed_has_no_distance_and_what_has_moved_by_half_has_a_half() {
        let (a, b) = (uniform(0.0, 1.0), uniform(0.5, 1.5));
        assert!(ks(&a, &a) < 1e-12 && numbers_psi(&a, &a).abs() < 1e-12);
        assert!((ks(&a, &b) - 0.5).abs() < 0.01);
        assert!(numbers_psi(&a, &b) > 0.25);
    }

    #[test]
    fn categories_are_compared_by_their_shares() {
        let a = vec![("x".to_owned(), 50), ("y".to_owned(), 50)];
        let b = vec![("x".to_owned(), 90), ("z".to_owned(), 10)];
        assert!(texts_psi((&a, 0), (&a, 0)).abs() < 1e-12);
        assert!(texts_psi((&a, 0), (&b, 0)) > 0.25);
    }

    #[test]
    fn rows_that_a_model_is_asked_about_are_compared_with_those_of_a_version_by_sketches() {
        let rows = |from: i64, texts: [&str; 2]| {
            let numbers: ArrayRef = Arc::new((from..from + 10_000).collect::<Int64Array>());
            let texts: ArrayRef =
                Arc::new((0..10_000).map(|row| Some(texts[row % 2])).collect::<StringArray>());
            Sketches::of(&RecordBatch::try_from_iter([("n", numbers), ("t", texts)]).unwrap())
        };
        let version = rows(0, ["a", "b"]);
        let same = drift(&version, &rows(0, ["a", "b"]));
        assert!(same.iter().all(|column| column.psi.unwrap().abs() < 1e-9), "{same:?}");
        let [n, t] = drift(&version, &rows(5_000, ["a", "c"])).try_into().unwrap();
        assert!((n.ks.unwrap() - 0.5).abs() < 0.03 && n.psi.unwrap() > 0.25, "{n:?}");
        assert!(t.psi.unwrap() > 0.25 && t.distinct == (2, 2), "{t:?}");
    }
}
