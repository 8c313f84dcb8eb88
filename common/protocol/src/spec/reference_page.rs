//! The reference page of the job file, `docs/job-file.md`: an introduction
//! written by hand, and every section and key as the types document them.

use std::fmt::Write as _;

use serde_json::Value;

use super::{
    METRICS, Metric,
    schema::{Form, Key, job_file},
};

/// What stands above the generated part.
const INTRODUCTION: &str = include_str!("reference_page.md");

/// A complete job file.
const EXAMPLE: &str = include_str!("reference_page.toml");

/// The page as Markdown.
pub fn reference_page() -> String {
    let mut page = INTRODUCTION.replace("{example}", EXAMPLE);
    for key in job_file().keys() {
        section(&mut page, key, "", 2);
    }
    metrics(&mut page);
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

/// A key of the top of the file or a section, with everything in it.
fn section(page: &mut String, key: &Key, outer: &str, level: usize) {
    let path = if outer.is_empty() { key.name.clone() } else { format!("{outer}.{}", key.name) };
    let heading = "#".repeat(level);
    let is_section = !key.form.keys().is_empty();
    let title = if is_section { format!("[{path}]") } else { path.clone() };
    let required = if key.required { " (required)" } else { "" };
    line(page, &format!("{heading} `{title}`{required}\n"));
    line(page, &format!("{}\n", about(key)));
    let (sections, plain): (Vec<&Key>, Vec<&Key>) =
        key.form.keys().iter().partition(|key| !key.form.keys().is_empty());
    if !plain.is_empty() {
        line(page, "| key | value | default | meaning |");
        line(page, "| --- | --- | --- | --- |");
        for key in &plain {
            line(page, &row(key));
        }
        line(page, "");
    }
    for key in plain {
        choices(page, key);
        items(page, key, &path, level);
    }
    for key in sections {
        section(page, key, &path, (level + 1).min(4));
    }
}

/// What a key is for, and what its type says beyond that.
fn about(key: &Key) -> String {
    let of_type = match &key.form {
        Form::Section { about, .. } => about.as_str(),
        Form::OneOf(_) => "Exactly one of these sections names the kind.",
        Form::Free
        | Form::Map(_)
        | Form::Choice(_)
        | Form::Whole { .. }
        | Form::Number
        | Form::Text
        | Form::Character
        | Form::Gate
        | Form::Truth
        | Form::List { .. } => "",
    };
    let begins = |text: &str, beginning: &str| text.starts_with(beginning.trim_end_matches('.'));
    if begins(of_type, &key.about) {
        return of_type.to_owned();
    }
    let (first, rest) = of_type.split_once(". ").unwrap_or((of_type, ""));
    let beyond = if begins(&key.about, first) { rest } else { of_type };
    format!("{} {beyond}", key.about).trim_end().to_owned()
}

fn row(key: &Key) -> String {
    let value = match &key.form {
        // They are listed below the table.
        Form::Choice(_) => "a word".to_owned(),
        form => form.expected(),
    };
    let default = match &key.default {
        _ if key.required => "**required**".to_owned(),
        Some(default) => format!("`{}`", toml_value(default)),
        None => "–".to_owned(),
    };
    format!("| `{}` | {value} | {default} | {} |", key.name, key.about.replace('|', "\\|"))
}

/// A default as a job file would write it.
fn toml_value(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(toml_value).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(key, value)| format!("{key} = {}", toml_value(value))).collect();
            format!("{{ {} }}", fields.join(", ")).replace("{  }", "{}")
        }
        value => value.to_string(),
    }
}

/// What the items of a list of tables may be.
fn items(page: &mut String, key: &Key, outer: &str, level: usize) {
    let Form::List { item, .. } = &key.form else { return };
    let Form::OneOf(kinds) = item.as_ref() else { return };
    let heading = "#".repeat((level + 1).min(4));
    line(page, &format!("{heading} `{outer}.{}`\n", key.name));
    line(page, &format!("{} Each item of the list is a table with one of these keys.\n", key.about));
    line(page, "| key | value | meaning |");
    line(page, "| --- | --- | --- |");
    for kind in kinds {
        let keys: Vec<String> = kind.form.keys().iter().map(item_key).collect();
        let value = match keys.as_slice() {
            [] => kind.form.expected(),
            keys => keys.join(", "),
        };
        line(page, &format!("| `{}` | {value} | {} |", kind.name, about(kind).replace('|', "\\|")));
    }
    line(page, "");
    for kind in kinds {
        explained(page, kind);
    }
}

/// A key of a step: optional ones in brackets.
fn item_key(key: &Key) -> String {
    if key.required { format!("`{}`", key.name) } else { format!("[`{}`]", key.name) }
}

/// The keys of a step, each with its meaning; the same ones are told once, at the first step that has them.
fn explained(page: &mut String, kind: &Key) {
    if kind.form.keys().is_empty() {
        return;
    }
    line(page, &format!("`{}`:\n", kind.name));
    for key in kind.form.keys() {
        let value = match &key.form {
            Form::Choice(choices) => {
                let named = choices.iter().map(|choice| format!("`\"{}\"`: {}", choice.name, choice.about));
                named.collect::<Vec<_>>().join(" ")
            }
            form => form.expected(),
        };
        let default = match &key.default {
            Some(default) if !key.required => format!(", default `{}`", toml_value(default)),
            _ => String::new(),
        };
        line(page, &format!("- `{}`{default}: {} ({})", key.name, key.about, value.trim_end_matches('.')));
    }
    line(page, "");
}

fn choices(page: &mut String, key: &Key) {
    let choices = key.form.choices();
    if choices.is_empty() {
        return;
    }
    let verb = if matches!(key.form, Form::Choice(_)) { "is one of" } else { "holds" };
    line(page, &format!("`{}` {verb}\n", key.name));
    for choice in choices {
        line(page, &format!("- `\"{}\"`: {}", choice.name, choice.about));
    }
    line(page, "");
}

fn metrics(page: &mut String) {
    line(page, "## Metrics\n");
    for text in [
        "What `evaluate.gates`, `evaluate.metrics` and `train.early_stop` may name, and what `phalanx-evaluate` computes as",
        "scikit-learn does. A name may go on, in this order, with",
        "",
        "- an average over the classes, where the table names some: `f1_weighted`. `macro` is the mean over the classes and",
        "  what a name without average says, `weighted` weighs it by the rows of each class, `micro` counts every row once, and `binary` is",
        "  the second class of two. What comes from the order of scores (`roc_auc`, `average_precision`, `lift` and their like) is,",
        "  where there are two classes, that of the second under any average;",
        "- a number behind an `@`, where the table has one: `f_beta@2`, `top_k_accuracy@5`. It has a default where the table shows one;",
        "- one class in brackets, where the table says *per class*: `f1[yes]`, `precision_at_recall@0.9[>50K]`.",
        "",
        "A metric that has no value on a split (the ROC-AUC of rows that are all of one class) is reported with the reason, and a gate",
        "on it does not hold.",
        "",
        "| metric | measured on | better when | range | forms | |",
        "| --- | --- | --- | --- | --- | --- |",
    ] {
        line(page, text);
    }
    for metric in METRICS {
        let Metric { name, about, measured_on, range: (least, greatest), .. } = metric;
        let better = if metric.more_is_better { "higher" } else { "lower" };
        let range = match (least.is_finite(), greatest.is_finite()) {
            (true, true) => format!("{least} to {greatest}"),
            (true, false) => format!("≥ {least}"),
            (false, true) => format!("≤ {greatest}"),
            (false, false) => "any".to_owned(),
        };
        let (on, forms) = (measured_on.noun(), forms(metric));
        line(page, &format!("| `{name}` | {on} | {better} | {range} | {forms} | {about} |"));
    }
}

/// What may follow a metric's name.
fn forms(metric: &Metric) -> String {
    let parameter = metric.parameter.map(|parameter| {
        let default = parameter.default.map_or(String::new(), |default| format!(" ({default})"));
        format!("`@` {}{default}", parameter.meaning)
    });
    let averages = (!metric.averages.is_empty()).then(|| {
        let names: Vec<_> = metric.averages.iter().map(|average| format!("`_{}`", average.name())).collect();
        names.join(" ")
    });
    let per_class = metric.per_class.then(|| "per class".to_owned());
    let forms: Vec<String> = [averages, parameter, per_class].into_iter().flatten().collect();
    forms.join(", ")
}

fn line(page: &mut String, text: &str) {
    writeln!(page, "{text}").expect("invariant: a text can be written to");
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::spec::JobFile;

    #[test]
    fn the_page_in_docs_is_the_one_that_the_types_make() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/job-file.md");
        let page = reference_page();
        if std::env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1") {
            std::fs::write(&path, &page).expect("docs/ can be written");
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            written == page,
            "docs/job-file.md is not what the types say; `UPDATE_DOCS=1 cargo test -p phalanx-protocol` rewrites it"
        );
    }

    #[test]
    fn the_example_on_the_page_is_right() {
        let job = JobFile::parse(EXAMPLE, Path::new("/jobs/example.toml"), &[]);
        assert!(job.is_ok(), "{}", job.expect_err("it is wrong"));
    }
}
