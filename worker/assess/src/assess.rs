//! All of it together: an [`Exam`] goes in, an [`Assessment`] comes out. Owns no state.

use std::collections::BTreeMap;

use phalanx_evaluate::{
    EvaluateError, Evaluation, Predictions, RowMetric,
    compare::Comparison,
    decision::Decision,
    evaluate_also,
    fairness::Fairness,
    focus,
    interval::{self, Bootstrap, Interval, bootstrap_all},
    slices::{SliceSettings, Slices, measure_slices},
    verdict::{Verdict, against},
};
use phalanx_protocol::spec::{
    Bound, End, EvaluateSpec, Gate, IntervalsSpec, MeasuredOn, MetricName, Subject,
};
use phalanx_report::{FairnessPart, OnSplit, Predictions as Part, Report, SplitMetrics};

use crate::{
    compare::{Baseline, compare, difference},
    figures::Figures,
    groups::fairness,
    parts::{slices, told},
    predicted::predicted,
    table::Table,
};

/// Resamples where nobody has said how many, the fewest of them, and how many rows they draw at most
/// together before they become fewer.
const RESAMPLES: u64 = 1_000;
const RESAMPLES_MIN: u64 = 200;
const DRAWS_MAX: u64 = 200_000_000;

/// A model's predictions of some rows, and what is to be found out about them.
pub struct Exam<'a> {
    /// What the job file asks for.
    pub spec: &'a EvaluateSpec,
    /// What the rows are called: `test`, or another data set's name.
    pub split: &'a str,
    /// What the model says of them, before it is mended.
    pub predictions: &'a Predictions,
    /// Their columns.
    pub table: &'a dyn Table,
    /// What was chosen on the validation split.
    pub decision: Decision,
    /// That split, where it is at hand.
    pub validation: Option<Validation<'a>>,
    /// Metrics to measure beside the usual ones and those of gates.
    pub also: &'a [MetricName],
    /// What training divided a target of numbers by.
    pub deviation: f64,
    /// Other versions, by the name that gates give them.
    pub rivals: &'a BTreeMap<String, Rival>,
    /// What the model is called where it is compared.
    pub name: &'a str,
}

/// Another version that a gate names.
#[derive(Debug, Clone, PartialEq)]
pub enum Rival {
    /// What it says of the same rows.
    Version(Baseline),
    /// The model has no version yet.
    NoneYet,
    /// It cannot be compared with, for this reason.
    Unavailable(String),
}

/// The rows on which things were chosen.
pub struct Validation<'a> {
    /// What they are called.
    pub split: &'a str,
    /// What the model says of them, before it is mended.
    pub predictions: &'a Predictions,
    /// Their columns.
    pub table: &'a dyn Table,
}

/// What was found out.
#[derive(Debug, Clone, PartialEq)]
pub struct Assessment {
    /// Metrics of the rows as the model is served, and the figures of all gates under the names of
    /// [`Gate::measured`]; what has no value with its reason.
    pub evaluation: Evaluation,
    /// Figures of gates that there is nothing to compare with, and why.
    pub moot: BTreeMap<String, String>,
    /// What became of the gates.
    pub verdict: Verdict,
    /// How far metrics may be off, by name.
    pub intervals: BTreeMap<String, Interval>,
    /// The metrics of the rows alone.
    pub measured: SplitMetrics,
    /// The same on the validation split.
    pub validation: Option<SplitMetrics>,
    /// How predictions look.
    pub predictions: Option<Part>,
    /// The focus metric on slices.
    pub slices: Option<Slices>,
    /// How groups are treated.
    pub fairness: Option<FairnessPart>,
    /// The first version that a gate names beside this one.
    pub comparison: Option<Comparison>,
    rows: u64,
    split: String,
    headline: Vec<String>,
}

/// Whether an evaluation looks at the columns of rows.
pub fn needs_columns(spec: &EvaluateSpec) -> bool {
    let gates = || spec.gates.iter().any(|gate| !matches!(gate.figure.subject, Subject::Whole { .. }));
    !spec.slices.is_empty() || !spec.sensitive.is_empty() || gates()
}

/// Finds out what the exam asks for.
///
/// # Errors
///
/// Where there are no rows, or a prediction is none.
pub fn assess(exam: &Exam<'_>) -> Result<Assessment, EvaluateError> {
    let decided = exam.decision.apply(exam.predictions);
    let settings = bootstrap(&exam.spec.intervals, decided.rows());
    let fairness_settings = Fairness {
        small_below: u64::from(exam.spec.small_below),
        bootstrap: Some(settings),
        ..Fairness::default()
    };
    let figures = Figures { predictions: &decided, table: exam.table, fairness: fairness_settings };
    let mut evaluation = evaluate_also(&decided, &asked(exam))?;
    evaluation.add_loss(exam.deviation);
    let intervals = intervals(&figures, &evaluation, &settings);
    let (slices, without) = sliced(exam, &figures, &settings);
    undefine(&mut evaluation, "slices", without);
    let (fairness, without) = fairness(exam, &decided, fairness_settings);
    undefine(&mut evaluation, "fairness", without);
    // Figures that only gates look at are no metrics of the rows: the verdict has them.
    let measured = SplitMetrics::of(exam.split, decided.rows() as u64, &evaluation, &intervals);
    let moot = moot(exam);
    for gate in exam.spec.gates.iter().filter(|gate| !moot.contains_key(&gate.measured())) {
        match gate_figure(exam, gate, &figures, (&evaluation, &intervals), &settings) {
            Some(Ok(value)) => {
                evaluation.metrics.insert(gate.measured(), value);
            }
            Some(Err(reason)) => {
                evaluation.undefined.insert(gate.measured(), reason);
            }
            None => {}
        }
    }
    let verdict = Verdict::new(&exam.spec.gates, &evaluation.metrics, &evaluation.undefined, &moot);
    Ok(Assessment {
        moot,
        verdict,
        measured,
        validation: validated(exam, &asked(exam)),
        predictions: predicted(exam, &decided, evaluation.confusion.clone()),
        slices,
        fairness,
        comparison: compared(exam, &decided, &settings),
        rows: decided.rows() as u64,
        split: exam.split.to_owned(),
        headline: headline(exam),
        evaluation,
        intervals,
    })
}

/// How rows are drawn anew.
pub fn bootstrap(spec: &IntervalsSpec, rows: usize) -> Bootstrap {
    let by_rows = DRAWS_MAX.checked_div(rows as u64).unwrap_or(RESAMPLES).clamp(RESAMPLES_MIN, RESAMPLES);
    let resamples = spec.replicates.unwrap_or(by_rows as u32);
    Bootstrap { resamples, level: spec.level, seed: spec.seed, ..Bootstrap::default() }
}

impl Assessment {
    /// Puts all of it into the report.
    pub fn fill(self, report: &mut Report) {
        fn on<T>(split: &str, rows: u64, found: T) -> OnSplit<T> {
            OnSplit { split: split.to_owned(), rows, found }
        }
        let Self { rows, split, .. } = self;
        report.verdict = (!self.verdict.gates.is_empty()).then_some(self.verdict);
        report.headline = self.headline;
        report.splits.push(self.measured);
        report.splits.extend(self.validation);
        report.predictions = self.predictions.map(|found| on(&split, rows, found));
        report.slices = self.slices.into_iter().map(|found| on(&split, rows, found)).collect();
        report.fairness = self.fairness.map(|found| on(&split, rows, found));
        report.comparison = self.comparison.map(|found| on(&split, rows, found));
    }
}

/// Metrics that somebody names.
fn asked(exam: &Exam<'_>) -> Vec<MetricName> {
    let shown = exam.spec.metrics.iter().flatten().map(String::as_str);
    let gates = exam.spec.gates.iter().filter_map(|gate| match &gate.figure.subject {
        Subject::Whole { metric } => Some(metric.as_str()),
        Subject::Slice { .. } | Subject::Fairness { .. } => None,
    });
    let named = shown.chain(gates).filter_map(|name| MetricName::parse(name).ok());
    named.chain(focus(exam.spec, exam.predictions)).chain(exam.also.iter().cloned()).collect()
}

/// The metrics of gates and early stopping.
fn headline(exam: &Exam<'_>) -> Vec<String> {
    let gates = exam.spec.gates.iter().filter_map(|gate| gate.figure.metric());
    let names = gates.map(str::to_owned).chain(exam.also.iter().map(ToString::to_string));
    let mut all: Vec<String> = Vec::new();
    for name in names {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    all
}

/// Those of all metrics that can be resampled, single classes left out.
fn intervals(
    figures: &Figures<'_>,
    evaluation: &Evaluation,
    settings: &Bootstrap,
) -> BTreeMap<String, Interval> {
    let names = evaluation.metrics.keys().filter(|name| !name.ends_with(']'));
    let (names, metrics): (Vec<&String>, Vec<_>) =
        names.filter_map(|name| Some((name, figures.named(name).ok()?))).unzip();
    let metrics: Vec<&dyn RowMetric> =
        metrics.iter().map(|metric| metric.as_ref() as &dyn RowMetric).collect();
    let drawn = bootstrap_all(&metrics, None, settings).unwrap_or_default();
    let found = names.into_iter().zip(drawn);
    found.filter_map(|(name, interval)| Some((name.clone(), interval.ok()?))).collect()
}

fn sliced(
    exam: &Exam<'_>,
    figures: &Figures<'_>,
    settings: &Bootstrap,
) -> (Option<Slices>, BTreeMap<String, String>) {
    if exam.spec.slices.is_empty() {
        return (None, BTreeMap::new());
    }
    let (parts, mut without) = slices(&exam.spec.slices, exam.table);
    let Some(focus) = focus(exam.spec, exam.predictions) else { return (None, without) };
    let settings = SliceSettings {
        small_below: u64::from(exam.spec.small_below),
        bootstrap: *settings,
        ..SliceSettings::default()
    };
    let measured = figures.named(&focus.to_string()).and_then(|metric| {
        let more_is_better = focus.metric.more_is_better;
        measure_slices(&focus.to_string(), more_is_better, &*metric, &parts, &settings).map_err(told)
    });
    match measured {
        Ok(slices) => (Some(slices), without),
        Err(reason) => {
            without.insert(focus.to_string(), reason);
            (None, without)
        }
    }
}

fn undefine(evaluation: &mut Evaluation, of: &str, without: BTreeMap<String, String>) {
    let named = without.into_iter().map(|(name, reason)| (format!("{of}: {name}"), reason));
    evaluation.undefined.extend(named);
}

/// The figure that `gate` looks at, or why there is none; `None` where that is known already.
fn gate_figure(
    exam: &Exam<'_>,
    gate: &Gate,
    figures: &Figures<'_>,
    (evaluation, intervals): (&Evaluation, &BTreeMap<String, Interval>),
    settings: &Bootstrap,
) -> Option<Result<f64, String>> {
    let measured = gate.measured();
    if evaluation.metrics.contains_key(&measured) || evaluation.undefined.contains_key(&measured) {
        return None;
    }
    Some(match (&gate.bound, &gate.figure.subject, gate.figure.end) {
        (Bound::Version { version, .. }, ..) => beside(exam, gate, version, figures, settings),
        (Bound::Number(_), Subject::Whole { metric }, end @ (End::Lower | End::Upper))
            if intervals.contains_key(metric) =>
        {
            Ok(end_of(&intervals[metric], end))
        }
        (Bound::Number(_), _, end) => figures.metric(&gate.figure).and_then(|metric| match end {
            End::Estimate => {
                let rows: Vec<u32> = (0..metric.rows() as u32).collect();
                metric.value(&rows).ok_or_else(|| "it has no value on these rows".to_owned())
            }
            End::Lower | End::Upper => {
                let interval = interval::bootstrap(&*metric, None, settings).map_err(told)?;
                Ok(end_of(&interval, end))
            }
        }),
    })
}

/// The figures of gates that compare with a version of a model that has none yet.
fn moot(exam: &Exam<'_>) -> BTreeMap<String, String> {
    let moot = exam.spec.gates.iter().filter(|gate| match &gate.bound {
        Bound::Number(_) => false,
        Bound::Version { version, .. } => matches!(exam.rivals.get(version), Some(Rival::NoneYet)),
    });
    let why = "the model has no version yet to compare with";
    moot.map(|gate| (gate.measured(), why.to_owned())).collect()
}

fn end_of(interval: &Interval, end: End) -> f64 {
    match end {
        End::Estimate => interval.estimate,
        End::Lower => interval.lower,
        End::Upper => interval.upper,
    }
}

/// How far this model's figure is from that of another version, or the safe end of that.
fn beside(
    exam: &Exam<'_>,
    gate: &Gate,
    version: &str,
    figures: &Figures<'_>,
    settings: &Bootstrap,
) -> Result<f64, String> {
    let baseline = match exam.rivals.get(version) {
        Some(Rival::Version(baseline)) => baseline,
        Some(Rival::Unavailable(reason)) => return Err(reason.clone()),
        Some(Rival::NoneYet) | None => {
            return Err(format!("there is no version `{version}` to compare with"));
        }
    };
    if let Some(difference) = difference(&baseline.predictions, figures.predictions) {
        return Err(format!("{} does not predict the same: {difference}", baseline.name));
    }
    let old = Figures { predictions: &baseline.predictions, ..*figures };
    let (new, old) = (figures.metric(&gate.figure)?, old.metric(&gate.figure)?);
    match against(gate, &*new, &*old, settings).map_err(told)? {
        Some((value, _)) => Ok(value),
        None => Err("it compares with a number".to_owned()),
    }
}

fn validated(exam: &Exam<'_>, asked: &[MetricName]) -> Option<SplitMetrics> {
    let validation = exam.validation.as_ref()?;
    let decided = exam.decision.apply(validation.predictions);
    let mut evaluation = evaluate_also(&decided, asked).ok()?;
    evaluation.add_loss(exam.deviation);
    Some(SplitMetrics::of(validation.split, decided.rows() as u64, &evaluation, &BTreeMap::new()))
}

fn compared(exam: &Exam<'_>, decided: &Predictions, settings: &Bootstrap) -> Option<Comparison> {
    let old = exam.rivals.values().find_map(|rival| match rival {
        Rival::Version(baseline) => Some(baseline),
        Rival::NoneYet | Rival::Unavailable(_) => None,
    })?;
    let new = Baseline { name: exam.name.to_owned(), predictions: decided.clone() };
    let named = exam.spec.gates.iter().filter_map(|gate| gate.figure.metric());
    let named = named.filter_map(|name| MetricName::parse(name).ok());
    let also: Vec<MetricName> =
        named.filter(|name| name.metric.measured_on != MeasuredOn::Everything).collect();
    compare(old, &new, &also, settings).ok()
}
