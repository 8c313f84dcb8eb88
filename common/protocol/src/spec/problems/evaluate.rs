//! Rules of `[evaluate]` and `[register]`, and of the metric that early stopping watches.

use super::{Rules, Sections, not_a_name, trust};
use crate::{
    id::{NAME_CHARS_MAX, is_alias, is_name},
    spec::{
        Bound, End, FAIRNESS_FIGURES, Gate, InvalidMetricName, METRICS, MeasuredOn, Metric, MetricName,
        ModelSpec, Objective, Subject, suggest,
    },
};

pub(super) fn check(sections: &Sections<'_>, rules: &mut Rules) {
    let known = target(sections);
    trust::check(sections, known, rules);
    if let Some(stop) = sections.train.and_then(|train| train.early_stop.as_ref()) {
        metric("train.early_stop.metric", &stop.metric, known, rules);
    }
    if let Some(evaluate) = sections.evaluate {
        for (index, name) in evaluate.metrics.iter().flatten().enumerate() {
            metric(&format!("evaluate.metrics[{index}]"), name, known, rules);
        }
        for (index, gate) in evaluate.gates.iter().enumerate() {
            let path = format!("evaluate.gates[{index}]");
            self::gate(&path, gate, known, rules);
            against_what(&path, gate, sections, rules);
        }
        if let Some(focus) = &evaluate.focus {
            metric("evaluate.focus", focus, known, rules);
        }
    }
    if let Some(register) = sections.register {
        let (model, path) = (&register.model, "register.model");
        rules.require(is_name(model), [path], || not_a_name(path, model, NAME_CHARS_MAX));
        if let Some(alias) = &register.alias {
            let path = "register.alias";
            rules.require(is_alias(alias), [path], || match is_name(alias) {
                true => {
                    format!("`{path}` must not be a number alone, which names a version, got \"{alias}\"")
                }
                false => not_a_name(path, alias, NAME_CHARS_MAX),
            });
        }
    }
}

fn gate(path: &str, gate: &Gate, known: Option<MeasuredOn>, rules: &mut Rules) {
    if let Some(name) = gate.figure.metric() {
        metric(path, name, known, rules);
    }
    let text_only = known == Some(MeasuredOn::Text);
    rules.require(!text_only || matches!(gate.figure.subject, Subject::Whole { .. }), [path, "data"], || {
        format!("`evaluate.gates`: `{gate}` is about columns, and a text has none")
    });
    if let Subject::Fairness { name, .. } = &gate.figure.subject {
        fairness(path, name, known, rules);
    }
    let Bound::Number(bound) = gate.bound else { return };
    rules.require(bound.is_finite(), [path], || {
        format!("`evaluate.gates` must compare with a finite number, got {bound}")
    });
    let Some((least, greatest)) = range(gate) else { return };
    let possible = !bound.is_finite() || gate.holds(least) || gate.holds(greatest);
    rules.require(possible, [path], || {
        let range = between(least, greatest);
        format!("`evaluate.gates`: no model can meet `{gate}`: {} is {range}", gate.figure)
    });
}

/// The least and the greatest value of what a gate looks at, where they are known.
fn range(gate: &Gate) -> Option<(f64, f64)> {
    match &gate.figure.subject {
        // An interval may reach beyond, where few rows are resampled.
        Subject::Whole { metric } | Subject::Slice { metric, .. } if gate.figure.end == End::Estimate => {
            Metric::named(metric).map(Metric::range)
        }
        Subject::Whole { .. } | Subject::Slice { .. } => None,
        Subject::Fairness { name, .. } => {
            let of_numbers = FAIRNESS_FIGURES.iter().any(|figure| figure.name == name && figure.of_numbers);
            let is_ratio = name.ends_with("_ratio");
            Some((0.0, if of_numbers && !is_ratio { f64::INFINITY } else { 1.0 }))
        }
    }
}

/// Fairness figures of classes and of numbers are different ones.
fn fairness(path: &str, name: &str, known: Option<MeasuredOn>, rules: &mut Rules) {
    let of_numbers = FAIRNESS_FIGURES.iter().any(|figure| figure.name == name && figure.of_numbers);
    let fits = match known {
        Some(MeasuredOn::Classes) => !of_numbers,
        Some(MeasuredOn::Numbers) => of_numbers,
        Some(MeasuredOn::Text | MeasuredOn::Everything) | None => true,
    };
    rules.require(fits, [path, "data"], || {
        let noun = known.map_or("the target", MeasuredOn::noun);
        let figures = FAIRNESS_FIGURES.iter().filter(|figure| figure.of_numbers != of_numbers);
        let names = suggest::listed(figures.map(|figure| figure.name), "and");
        format!("`evaluate.gates` names `fairness.{name}`, which {noun} does not have; it has {names}")
    });
}

/// A gate against another version needs a model whose version that is.
fn against_what(path: &str, gate: &Gate, sections: &Sections<'_>, rules: &mut Rules) {
    let Bound::Version { version, .. } = &gate.bound else { return };
    rules.require(sections.register.is_some(), [path, "register"], || {
        format!(
            "`evaluate.gates`: `{gate}` compares with version `{version}` of a model: name the model in \
             [register]"
        )
    });
}

/// A range, for people.
fn between(least: f64, greatest: f64) -> String {
    match (least.is_finite(), greatest.is_finite()) {
        (true, true) => format!("from {least} to {greatest}"),
        (true, false) => format!("at least {least}"),
        (false, _) => format!("at most {greatest}"),
    }
}

/// The target, where the job file alone tells it: otherwise the data decide.
fn target(sections: &Sections<'_>) -> Option<MeasuredOn> {
    if matches!(sections.model, Some(ModelSpec::Custom(_))) {
        return None;
    }
    let data = sections.data?;
    if data.source()?.is_text() {
        return Some(MeasuredOn::Text);
    }
    Some(match data.objective? {
        Objective::Classification => MeasuredOn::Classes,
        Objective::Regression => MeasuredOn::Numbers,
    })
}

fn metric(path: &str, name: &str, target: Option<MeasuredOn>, rules: &mut Rules) {
    let setting = path.split('[').next().unwrap_or(path);
    let metric = match MetricName::parse(name) {
        Ok(name) => name.metric,
        Err(invalid) => return rules.require(false, [path], || not_a_metric(setting, name, &invalid)),
    };
    let Some(target) = target else { return };
    let fits = |on: MeasuredOn| [MeasuredOn::Everything, target].contains(&on);
    rules.require(fits(metric.measured_on), [path, "data"], || {
        let usual: Vec<_> =
            USUAL.iter().filter(|(on, _)| fits(*on)).flat_map(|(_, names)| names.iter().copied()).collect();
        let is_all = METRICS.iter().filter(|metric| fits(metric.measured_on)).count() == usual.len();
        format!(
            "`{setting}` names the metric `{name}`, which {} does not have; it has {}{}",
            target.noun(),
            suggest::listed(usual, "and"),
            if is_all { "" } else { ", and more in docs/job-file.md" }
        )
    });
}

/// Metrics that people ask for first.
const USUAL: [(MeasuredOn, &[&str]); 4] = [
    (MeasuredOn::Classes, &["accuracy", "f1", "roc_auc", "log_loss"]),
    (MeasuredOn::Numbers, &["rmse", "mae", "r2"]),
    (MeasuredOn::Text, &["bits_per_byte", "perplexity"]),
    (MeasuredOn::Everything, &["loss"]),
];

fn not_a_metric(setting: &str, name: &str, invalid: &InvalidMetricName) -> String {
    match invalid {
        InvalidMetricName::Unknown => unknown_metric(setting, name),
        InvalidMetricName::NotPerClass => not_per_class(setting, name),
        InvalidMetricName::NoParameter
        | InvalidMetricName::ParameterMissing { .. }
        | InvalidMetricName::ParameterOutside { .. } => {
            format!("`{setting}` names the metric `{name}`, which {invalid}")
        }
    }
}

fn not_per_class(setting: &str, name: &str) -> String {
    format!(
        "`{setting}` names the metric `{name}`, but it is not measured for each class, as `f1[yes]` is; docs/job-file.md tells which are"
    )
}

fn unknown_metric(setting: &str, name: &str) -> String {
    let averages = |metric: &'static Metric| {
        metric.averages.iter().map(|average| format!("{}_{}", metric.name, average.name()))
    };
    let names: Vec<String> = METRICS
        .iter()
        .flat_map(|metric| std::iter::once(metric.name.to_owned()).chain(averages(metric)))
        .collect();
    match suggest::nearest(name, names.iter().map(String::as_str)) {
        Some(meant) => format!("`{setting}` names the unknown metric `{name}`; did you mean `{meant}`?"),
        None => {
            let usual = USUAL.iter().flat_map(|(_, names)| names.iter().copied());
            let usual = suggest::listed(usual, "and");
            format!(
                "`{setting}` names the unknown metric `{name}`; there are {usual}, and more in docs/job-file.md"
            )
        }
    }
}
