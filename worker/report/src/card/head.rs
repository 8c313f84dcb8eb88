//! The head of the card, which the Hub reads: what it is, and its metrics. Owns no state.

use phalanx_protocol::spec::MetricName;

use super::yaml::Yaml;
use crate::{Measured, Report, SplitMetrics, Task};

/// The lines from `---` to `---`.
pub(super) fn head(report: &Report) -> String {
    let (identity, mut yaml) = (&report.identity, Yaml::default());
    if let Some(license) = &identity.about.license {
        yaml.text(0, "license", license);
    }
    yaml.texts("language", identity.about.languages.iter().map(String::as_str));
    yaml.text(0, "library_name", "phalanx");
    if let Some(task) = task(identity.task) {
        yaml.text(0, "pipeline_tag", task);
    }
    yaml.texts("tags", ["phalanx", identity.architecture.as_str()]);
    if let Some(split) = report.splits.first() {
        yaml.texts("metrics", whole(split).map(|(name, _)| name));
        index(&mut yaml, report, split);
    }
    format!("---\n{}---\n\n", yaml.into_text())
}

/// The metrics that are not those of one class.
pub(super) fn whole(split: &SplitMetrics) -> impl Iterator<Item = (&str, &Measured)> {
    let is_whole = |name: &str| MetricName::parse(name).is_ok_and(|name| name.class.is_none());
    split.metrics.iter().map(|(name, found)| (name.as_str(), found)).filter(move |(name, _)| is_whole(name))
}

fn index(yaml: &mut Yaml, report: &Report, split: &SplitMetrics) {
    let data = report.dataset.as_ref();
    // The Hub takes neither a model without a task, nor results without a value.
    let (Some(task), true) = (task(report.identity.task), whole(split).next().is_some()) else { return };
    yaml.open(0, "model-index");
    yaml.text(0, "- name", &report.identity.model);
    yaml.open(2, "results");
    yaml.open(2, "- task");
    yaml.text(6, "type", task);
    yaml.open(4, "dataset");
    let name = data.map_or(report.identity.job.as_str(), |data| data.name.as_str());
    yaml.text(6, "type", name);
    yaml.text(6, "name", name);
    yaml.text(6, "split", &split.split);
    if let Some(data) = data {
        yaml.text(6, "revision", &data.version);
    }
    yaml.open(4, "metrics");
    for (name, measured) in whole(split).filter(|(_, measured)| measured.value.is_finite()) {
        yaml.text(4, "- type", name);
        yaml.number(6, "value", measured.value);
        yaml.text(6, "name", name);
    }
}

/// The task as the Hub names it.
fn task(task: Task) -> Option<&'static str> {
    match task {
        Task::TabularClassification => Some("tabular-classification"),
        Task::TabularRegression => Some("tabular-regression"),
        Task::ImageClassification => Some("image-classification"),
        Task::TextClassification => Some("text-classification"),
        Task::TextGeneration => Some("text-generation"),
        Task::Other => None,
    }
}
