//! A model of the registry and a version of it.

use phalanx_protocol::view::{ModelVersion, ModelView};

use super::{
    metrics::metrics,
    number::{bytes, count, figure, moment},
    report::Place,
    style::{STRONG, styled},
    table::{Column, indented, table},
};

/// A model: its versions, its aliases and how they came about.
pub(crate) fn model(model: &ModelView) -> String {
    let mut text = format!("{}\n\n", styled(STRONG, &model.name));
    let mut versions = table(&[
        Column::Figure("version"),
        Column::Text("aliases"),
        Column::Text("job"),
        Column::Text("metric"),
        Column::Figure("value"),
        Column::Text("registered"),
    ]);
    for version in &model.versions {
        let aliases = model.aliases.iter().filter(|(_, named)| **named == version.version);
        let aliases: Vec<&str> = aliases.map(|(alias, _)| alias.as_str()).collect();
        let (metric, value) = headline(version);
        versions.add_row([
            version.version.to_string(),
            aliases.join(", "),
            version.job.to_string(),
            metric.to_owned(),
            value,
            moment(version.created_at),
        ]);
    }
    text.push_str(&indented(&versions));
    if !model.alias_history.is_empty() {
        let columns = ["alias", "from", "to", "by", "when"].map(Column::Text);
        let mut history = table(&columns);
        for change in &model.alias_history {
            history.add_row([
                change.alias.clone(),
                change.from.map(|version| version.to_string()).unwrap_or_default(),
                change.to.to_string(),
                change.by.clone(),
                moment(change.at),
            ]);
        }
        text.push('\n');
        text.push_str(&indented(&history));
    }
    text
}

/// A version: what it is worth, what it was made of, where it lies.
pub(crate) fn version(version: &ModelVersion, place: &Place) -> String {
    let mut text = format!("{} version {}\n\n", styled(STRONG, &version.name), version.version);
    text.push_str(&metrics(&version.metrics, version.confusion.as_ref()));
    text.push('\n');
    let dataset = &version.dataset;
    let rows = [dataset.train_rows, dataset.validation_rows, dataset.test_rows].map(count);
    let parent = version.parent.map_or_else(|| "none".to_owned(), |parent| parent.to_string());
    for (name, value) in [
        ("model", version.spec.model.kind().to_owned()),
        ("job", version.job.to_string()),
        ("parent", parent),
        (
            "data",
            format!("{} ({} training, {} validation, {} test)", dataset.version, rows[0], rows[1], rows[2]),
        ),
        ("weights", place.of(&version.artifact.weights.path)),
        ("size", bytes(version.artifact.weights.bytes)),
        ("state hash", version.state_hash.clone()),
        ("registered", moment(version.created_at)),
    ] {
        text.push_str(&super::report::field(name, &value));
    }
    text
}

/// The one metric that says most.
fn headline(version: &ModelVersion) -> (&'static str, String) {
    const FIRST: &[&str] = &["roc_auc", "accuracy", "r2", "bits_per_byte", "loss"];
    let found = FIRST.iter().find_map(|name| version.metrics.get(*name).map(|value| (*name, figure(*value))));
    found.unwrap_or(("", String::new()))
}
