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
    line(page, "What `evaluate.gates`, `evaluate.metrics` and `train.early_stop` may name.");
    line(page, "`precision`, `recall`, `f1` and `roc_auc` are averages over the classes; a single class is");
    line(page, "named in brackets, as in `f1[yes]`.\n");
    line(page, "| metric | measured on | better when |");
    line(page, "| --- | --- | --- |");
    for Metric { name, more_is_better, measured_on, .. } in METRICS {
        let better = if *more_is_better { "higher" } else { "lower" };
        line(page, &format!("| `{name}` | {} | {better} |", measured_on.noun()));
    }
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
