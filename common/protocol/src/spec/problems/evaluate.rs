//! Rules of `[evaluate]` and `[register]`, and of the metric that early stopping watches.

use super::{Rules, Sections, not_a_name};
use crate::{
    id::{NAME_CHARS_MAX, is_alias, is_name},
    spec::{METRICS, MeasuredOn, Metric, ModelSpec, Objective, suggest},
};

pub(super) fn check(sections: &Sections<'_>, rules: &mut Rules) {
    let known = target(sections);
    if let Some(stop) = sections.train.and_then(|train| train.early_stop.as_ref()) {
        metric("train.early_stop.metric", &stop.metric, known, rules);
    }
    if let Some(evaluate) = sections.evaluate {
        for (index, name) in evaluate.metrics.iter().flatten().enumerate() {
            metric(&format!("evaluate.metrics[{index}]"), name, known, rules);
        }
        for (index, gate) in evaluate.gates.iter().enumerate() {
            let path = format!("evaluate.gates[{index}]");
            metric(&path, &gate.metric, known, rules);
            let bound = gate.bound;
            rules.require(bound.is_finite(), [&path], || {
                format!("`evaluate.gates` must compare with a finite number, got {bound}")
            });
            let Some((least, greatest)) = Metric::named(&gate.metric).map(Metric::range) else { continue };
            let possible = !bound.is_finite() || gate.holds(least) || gate.holds(greatest);
            rules.require(possible, [&path], || {
                format!(
                    "`evaluate.gates`: no model can meet `{gate}`: {} is {}",
                    gate.metric,
                    between(least, greatest)
                )
            });
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
    let class = name.strip_suffix(']').and_then(|name| name.split_once('[')).map(|(_, class)| class);
    let metric = Metric::named(name).filter(|_| class != Some(""));
    let Some(metric) = metric else {
        return rules.require(false, [path], || match class {
            Some(_) => not_per_class(setting, name),
            None => unknown_metric(setting, name),
        });
    };
    let Some(target) = target else { return };
    let fits = |metric: &Metric| [MeasuredOn::Everything, target].contains(&metric.measured_on);
    rules.require(fits(metric), [path, "data"], || {
        let fitting = METRICS.iter().filter(|metric| fits(metric)).map(|metric| metric.name);
        format!(
            "`{setting}` names the metric `{name}`, which {} does not have; it has {}",
            target.noun(),
            suggest::listed(fitting, "and")
        )
    });
}

fn not_per_class(setting: &str, name: &str) -> String {
    let per_class = METRICS.iter().filter(|metric| metric.per_class).map(|metric| metric.name);
    format!(
        "`{setting}` names the metric `{name}`, but only {} are measured for each class, as in `f1[yes]`",
        suggest::listed(per_class, "and")
    )
}

fn unknown_metric(setting: &str, name: &str) -> String {
    let names = METRICS.iter().map(|metric| metric.name);
    match suggest::nearest(name, names.clone()) {
        Some(meant) => format!("`{setting}` names the unknown metric `{name}`; did you mean `{meant}`?"),
        None => {
            let names = suggest::listed(names, "or");
            format!("`{setting}` names the unknown metric `{name}`; expected {names}")
        }
    }
}
