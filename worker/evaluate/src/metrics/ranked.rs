//! Metrics of classes that follow from the order of scores: one class against the
//! rest, or against each other. Owns no state.

use std::collections::BTreeMap;

use phalanx_protocol::spec::{Average, MetricName};

use super::curve::Curve;
use crate::{
    columns::{ClassColumns, Weights},
    sum::{ExactSum, sum},
    undefined::{Undefined, Value, finite},
};

/// A metric of one curve; the number is its parameter.
type OfCurve = fn(&Curve, f64) -> Value;

/// Metrics of a class against the rest.
const OF_CURVE: &[(&str, OfCurve)] = &[
    ("roc_auc", |curve, _| curve.roc_auc()),
    ("partial_roc_auc", Curve::partial_roc_auc),
    ("average_precision", |curve, _| curve.average_precision()),
    ("pr_auc", |curve, _| curve.pr_auc()),
    ("gini", |curve, _| curve.gini()),
    ("ks_statistic", |curve, _| curve.ks_statistic()),
    ("lift", Curve::lift),
    ("gain", Curve::gain),
    ("precision_at_recall", Curve::precision_at_recall),
    ("recall_at_precision", Curve::recall_at_precision),
    ("recall_at_specificity", Curve::recall_at_specificity),
];

/// Metrics of each class against each other.
const ONE_VS_ONE: &str = "roc_auc_ovo";

/// Whether the metric called `name` is one of this module's.
pub(crate) fn knows(name: &str) -> bool {
    name == ONE_VS_ONE || of_curve(name).is_some()
}

/// The metric of a curve that is called `name`.
pub(crate) fn of_curve(name: &str) -> Option<OfCurve> {
    OF_CURVE.iter().find(|(known, _)| *known == name).map(|(_, metric)| *metric)
}

/// The values of `names`, which this module knows, in their order. Each class's rows are
/// sorted once, however many metrics need them.
pub(crate) fn figures(columns: &ClassColumns<'_>, names: &[&MetricName]) -> Vec<Value> {
    let wanted = Wanted::of(columns, names);
    let micro = wanted.micro.then(|| micro(columns));
    let mut by_class = vec![BTreeMap::new(); names.len()];
    for class in wanted.classes {
        let curve = one_vs_rest(columns, class);
        for (name, values) in names.iter().zip(&mut by_class) {
            if let Some(metric) = of_curve(name.metric.name) {
                let value = metric(&curve, name.parameter.unwrap_or(f64::NAN));
                values.insert(class, value.map_err(|why| why.of_class(&columns.classes()[class])));
            }
        }
    }
    names.iter().zip(&by_class).map(|(name, values)| figure(columns, name, values, micro.as_ref())).collect()
}

fn figure(
    columns: &ClassColumns<'_>,
    name: &MetricName,
    by_class: &BTreeMap<usize, Value>,
    micro: Option<&Curve>,
) -> Value {
    let classes = columns.classes().len();
    if classes < 2 {
        return Err(Undefined::OneClass);
    }
    if name.metric.name == ONE_VS_ONE {
        return one_vs_one(columns, name.average.unwrap_or(Average::Macro));
    }
    let of = |class: &usize| by_class.get(class).cloned().unwrap_or(Err(Undefined::NoRows));
    match (&name.class, name.average, classes) {
        (Some(_), ..) => class_of(columns, name).map_or(Err(Undefined::NoRows), |class| of(&class)),
        (None, _, 2) => of(&1),
        (None, Some(Average::Micro), _) => {
            let metric = of_curve(name.metric.name).zip(micro);
            metric.map_or(Err(Undefined::NoRows), |(of, curve)| of(curve, name.parameter.unwrap_or(f64::NAN)))
        }
        (None, Some(Average::Weighted), _) => weighted(columns, of),
        (None, Some(Average::Macro | Average::Binary) | None, _) => {
            let values = (0..classes).map(|class| of(&class)).collect::<Result<Vec<f64>, _>>()?;
            finite(sum(values) / classes as f64)
        }
    }
}

/// Which curves names need.
struct Wanted {
    classes: Vec<usize>,
    micro: bool,
}

impl Wanted {
    fn of(columns: &ClassColumns<'_>, names: &[&MetricName]) -> Self {
        let classes = columns.classes().len();
        let of_curves = || names.iter().filter(|name| name.metric.name != ONE_VS_ONE);
        let is_micro = |name: &&&MetricName| name.average == Some(Average::Micro) && classes > 2;
        let all = of_curves().any(|name| name.class.is_none() && classes > 2 && !is_micro(&name));
        let of = |name: &&MetricName| match &name.class {
            Some(_) => class_of(columns, name),
            None => (classes == 2).then_some(1),
        };
        let classes = match (classes, all) {
            (0 | 1, _) => Vec::new(),
            (classes, true) => (0..classes).collect(),
            (_, false) => {
                let mut some: Vec<usize> = of_curves().filter_map(of).collect();
                some.sort_unstable();
                some.dedup();
                some
            }
        };
        Self { micro: of_curves().any(|name| is_micro(&name)), classes }
    }
}

/// The class that `name` names, as an index.
fn class_of(columns: &ClassColumns<'_>, name: &MetricName) -> Option<usize> {
    columns.classes().iter().position(|class| Some(class) == name.class.as_ref())
}

/// The curve of class `class` against the rest.
pub(crate) fn one_vs_rest(columns: &ClassColumns<'_>, class: usize) -> Curve {
    let positive = columns.truths().iter().map(|truth| *truth as usize == class);
    Curve::of_rows(columns.rows().map(|row| row[class]).zip(positive), columns.weights())
}

/// The curve of all rows of all classes in one heap.
fn micro(columns: &ClassColumns<'_>) -> Curve {
    let classes = columns.classes().len();
    let positive =
        columns.truths().iter().flat_map(|truth| (0..classes).map(move |class| class == *truth as usize));
    let repeated: Option<Vec<f64>> = columns
        .weights()
        .given()
        .map(|weights| weights.iter().flat_map(|weight| std::iter::repeat_n(*weight, classes)).collect());
    let weights = Weights::new(columns.probabilities().len(), repeated.as_deref())
        .expect("invariant: the weights were checked, and each is repeated for each class");
    Curve::of_rows(columns.probabilities().iter().copied().zip(positive), weights)
}

/// The mean over classes, by the weight of their rows. A class without any does not
/// count, so that it may be undefined.
fn weighted(columns: &ClassColumns<'_>, of: impl Fn(&usize) -> Value) -> Value {
    let mut weights = vec![ExactSum::default(); columns.classes().len()];
    for (row, truth) in columns.truths().iter().enumerate() {
        weights[*truth as usize].add(columns.weights().at(row));
    }
    let (mut all, mut figure) = (ExactSum::default(), ExactSum::default());
    for (class, weight) in weights.iter().map(ExactSum::value).enumerate().filter(|(_, weight)| *weight > 0.0)
    {
        all.add(weight);
        figure.add_product(weight, of(&class)?);
    }
    match all.value() {
        0.0 => Err(Undefined::NoWeight),
        all => finite(figure.value() / all),
    }
}

/// The mean ROC-AUC of all pairs of classes that have rows, each pair in both directions
/// (Hand & Till 2001), or weighted by the pair's rows.
fn one_vs_one(columns: &ClassColumns<'_>, average: Average) -> Value {
    if columns.weights().given().is_some() {
        return Err(Undefined::Weighted);
    }
    let classes = columns.classes().len();
    if classes == 2 {
        return one_vs_rest(columns, 1).roc_auc().map_err(|why| why.of_class(&columns.classes()[1]));
    }
    let mut rows = vec![Vec::new(); classes];
    for (truth, probabilities) in columns.truths().iter().zip(columns.rows()) {
        rows[*truth as usize].push(probabilities);
    }
    let (mut figure, mut all) = (ExactSum::default(), ExactSum::default());
    for a in 0..classes {
        for b in a + 1..classes {
            if rows[a].is_empty() || rows[b].is_empty() {
                continue;
            }
            let both = (against(&rows[a], &rows[b], a)? + against(&rows[b], &rows[a], b)?) / 2.0;
            let weight = match average {
                Average::Weighted => (rows[a].len() + rows[b].len()) as f64,
                Average::Macro | Average::Micro | Average::Binary => 1.0,
            };
            figure.add(weight * both);
            all.add(weight);
        }
    }
    match all.value() {
        0.0 => Err(Undefined::Constant { what: "truths" }),
        all => finite(figure.value() / all),
    }
}

/// The ROC-AUC of `positives` against `negatives` by the probability of `class`.
fn against(positives: &[&[f32]], negatives: &[&[f32]], class: usize) -> Value {
    let of =
        |rows: &[&[f32]], positive| rows.iter().map(move |row| (row[class], positive)).collect::<Vec<_>>();
    let rows: Vec<(f32, bool)> = [of(positives, true), of(negatives, false)].concat();
    Curve::of_rows(rows.into_iter(), Weights::NONE).roc_auc()
}
