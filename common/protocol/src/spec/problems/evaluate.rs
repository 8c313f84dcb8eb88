//! Rules of `[evaluate]` and `[register]`, and of the metric that early stopping watches.

use super::{Rules, Sections, not_a_name};
use crate::{
    id::{NAME_CHARS_MAX, is_name},
    spec::{METRICS, ModelSpec, Objective, SourceSpec, suggest},
};

/// Metrics of classes. Of those before `accuracy` there is one for each class too.
const OF_CLASSES: &[&str] = &["precision", "recall", "f1", "roc_auc", "accuracy", "log_loss"];

/// How many of [`OF_CLASSES`] exist for each class.
const PER_CLASS: usize = 4;

/// Metrics of numbers.
const OF_NUMBERS: &[&str] = &["mse", "rmse", "mae", "r2"];

/// Metrics of text.
const OF_TEXT: &[&str] = &["bits_per_byte", "perplexity"];

/// Measured on everything.
const OF_ALL: &str = "loss";

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
        }
    }
    if let Some(register) = sections.register {
        let names = [("register.model", Some(&register.model)), ("register.alias", register.alias.as_ref())];
        for (path, name) in names {
            let Some(name) = name else { continue };
            rules.require(is_name(name), [path], || not_a_name(path, name, NAME_CHARS_MAX));
        }
    }
}

/// What is predicted, as far as it decides which metrics there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Classes,
    Numbers,
    Text,
}

impl Target {
    fn metrics(self) -> &'static [&'static str] {
        match self {
            Self::Classes => OF_CLASSES,
            Self::Numbers => OF_NUMBERS,
            Self::Text => OF_TEXT,
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Classes => "a target of classes",
            Self::Numbers => "a target of numbers",
            Self::Text => "a text",
        }
    }
}

/// What a metric is measured on, for people.
pub(in crate::spec) fn measured_on(metric: &str) -> &'static str {
    [Target::Classes, Target::Numbers, Target::Text]
        .into_iter()
        .find(|target| target.metrics().contains(&metric))
        .map_or("everything", Target::noun)
}

/// The target, where the job file alone tells it: otherwise the data decide.
fn target(sections: &Sections<'_>) -> Option<Target> {
    if matches!(sections.model, Some(ModelSpec::Custom(_))) {
        return None;
    }
    let objective = match sections.data?.source()? {
        SourceSpec::Text(_) => return Some(Target::Text),
        SourceSpec::Csv(csv) => csv.objective?,
        SourceSpec::Parquet(parquet) => parquet.objective?,
    };
    Some(match objective {
        Objective::Classification => Target::Classes,
        Objective::Regression => Target::Numbers,
    })
}

fn metric(path: &str, name: &str, target: Option<Target>, rules: &mut Rules) {
    let setting = path.split('[').next().unwrap_or(path);
    let family = match name.strip_suffix(']').and_then(|name| name.split_once('[')) {
        Some((family, class)) if OF_CLASSES[..PER_CLASS].contains(&family) && !class.is_empty() => family,
        Some(_) => {
            let families = suggest::listed(OF_CLASSES[..PER_CLASS].iter().copied(), "and");
            rules.require(false, [path], || {
                format!(
                    "`{setting}` names the metric `{name}`, but only {families} are measured for each class, as in \
                     `f1[yes]`"
                )
            });
            return;
        }
        None => name,
    };
    let known = METRICS.iter().any(|(known, _)| *known == family);
    rules.require(known, [path], || unknown_metric(setting, name));
    let Some(target) = target.filter(|_| known) else { return };
    let measured = family == OF_ALL || target.metrics().contains(&family);
    rules.require(measured, [path, "data"], || {
        let fitting = suggest::listed(target.metrics().iter().copied().chain([OF_ALL]), "and");
        format!(
            "`{setting}` names the metric `{name}`, which {} does not have; it has {fitting}",
            target.noun()
        )
    });
}

fn unknown_metric(setting: &str, name: &str) -> String {
    let names = METRICS.iter().map(|(known, _)| *known);
    match suggest::nearest(name, names.clone()) {
        Some(meant) => format!("`{setting}` names the unknown metric `{name}`; did you mean `{meant}`?"),
        None => {
            format!(
                "`{setting}` names the unknown metric `{name}`; expected {}",
                suggest::listed(names, "or")
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_of_classes_numbers_text_or_all() {
        let mut sorted: Vec<&str> = [OF_CLASSES, OF_NUMBERS, OF_TEXT, &[OF_ALL]].concat();
        let mut all: Vec<&str> = METRICS.iter().map(|(name, _)| *name).collect();
        sorted.sort_unstable();
        all.sort_unstable();
        assert_eq!(sorted, all);
    }
}
