//! The definition of the resource for the API server: `k8s/base/trainingjobs.phalanx.dev-customresourcedefinition.yaml`
//! is written by the test below. The schema of `spec` is the job file's own, so that the two cannot drift apart.

use std::fmt::Write as _;

use phalanx_protocol::spec::open_api_schema;
use serde_json::{Value, json};

use crate::resource::{GROUP, KIND, PLURAL, VERSION};

/// What stands above the definition in its file.
const HEAD: &str = "\
# Training jobs as a resource. Written by a test from the types of the job file, whose reference is docs/job-file.md:
# UPDATE_DOCS=1 cargo test -p phalanx-kubernetes
";

/// The definition as JSON.
pub fn definition() -> Value {
    let column = |name: &str, kind: &str, path: &str| json!({"name": name, "type": kind, "jsonPath": path});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{PLURAL}.{GROUP}")},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": format!("{KIND}List"),
                "plural": PLURAL,
                "singular": KIND.to_lowercase(),
                "shortNames": ["tj"],
                "categories": ["all"],
            },
            "versions": [{
                "name": VERSION,
                "served": true,
                "storage": true,
                "subresources": {
                    "status": {},
                    "scale": {"specReplicasPath": ".spec.workers.max", "statusReplicasPath": ".status.workers"},
                },
                "additionalPrinterColumns": [
                    column("State", "string", ".status.state"),
                    column("Step", "integer", ".status.step"),
                    column("Of", "integer", ".status.totalSteps"),
                    column("Loss", "number", ".status.loss"),
                    column("Workers", "integer", ".status.workers"),
                    column("Model", "string", ".status.model"),
                    column("Age", "date", ".metadata.creationTimestamp"),
                    {"name": "Message", "type": "string", "jsonPath": ".status.message", "priority": 1},
                ],
                "schema": {"openAPIV3Schema": schema()},
            }],
        },
    })
}

/// The definition as the text of its file.
pub fn yaml() -> String {
    let mut text = HEAD.to_owned();
    table(&mut text, &definition(), 0);
    text
}

fn schema() -> Value {
    let mut spec = open_api_schema();
    spec["description"] = json!("A job file. What is left out here has the same meaning as there.");
    spec["properties"]["name"]["description"] = json!("Name of the job, if it is not that of the resource.");
    if let Some(required) = spec["required"].as_array_mut() {
        required.retain(|key| key != "name");
    }
    spec["x-kubernetes-validations"] = rules();
    json!({
        "type": "object",
        "description": "A model to be trained, evaluated and registered.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status(),
        },
    })
}

/// What the schema cannot say and an API server of 1.25 or newer can check. The coordinator has these rules and all others.
fn rules() -> Value {
    let lanes = "(has(self.train.lanes) ? self.train.lanes : 4)";
    let bound = |key: &str| format!("!has(self.workers) || !has(self.workers.{key}) || ");
    let ordered = format!("{}!has(self.workers.max) || self.workers.min <= self.workers.max", bound("min"));
    let rule = |rule: String, message: &str| json!({"rule": rule, "message": message});
    json!([
        rule(
            "has(self.train.epochs) != has(self.train.steps)".to_owned(),
            "give either `train.epochs` or `train.steps`"
        ),
        rule(
            format!("self.train.batch_size % {lanes} == 0"),
            "`train.lanes` (4 by default) must divide `train.batch_size`"
        ),
        rule(
            format!("{}self.workers.min <= {lanes}", bound("min")),
            "`workers.min` must be at most `train.lanes`"
        ),
        rule(ordered, "`workers.min` must be at most `workers.max`"),
        rule(
            "self.data == oldSelf.data".to_owned(),
            "`data` decides the result and cannot change: make another resource"
        ),
        rule(
            "self.model == oldSelf.model".to_owned(),
            "`model` decides the result and cannot change: make another resource"
        ),
        rule(
            "self.train == oldSelf.train".to_owned(),
            "`train` decides the result and cannot change: make another resource"
        ),
    ])
}

fn status() -> Value {
    let text = |about: &str| json!({"type": "string", "description": about});
    let whole = |about: &str| json!({"type": "integer", "format": "int64", "description": about});
    let number = |about: &str| json!({"type": "number", "description": about});
    let time = |about: &str| json!({"type": "string", "format": "date-time", "description": about});
    let metrics = |about: &str| json!({"type": "object", "additionalProperties": {"type": "number"}, "description": about});
    let condition = json!({
        "type": "object",
        "required": ["type", "status", "reason", "message", "lastTransitionTime"],
        "properties": {
            "type": text("Accepted, Running, Complete or Failed."),
            "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
            "reason": text("The job's state, or why the spec was refused, as one word."),
            "message": text("The same for people."),
            "lastTransitionTime": time("When `status` last changed."),
        },
    });
    json!({
        "type": "object",
        "properties": {
            "observedGeneration": whole("The generation of the resource that this is about."),
            "job": text("The job's id, for `phalanx job ID`."),
            "state": text("The job's state, or `refused`, or `waiting` while there are too many jobs."),
            "step": whole("Steps finished."),
            "totalSteps": whole("Steps planned; 0 until the data set is known."),
            "epoch": whole("The epoch that the next sample belongs to, from 0."),
            "loss": number("Loss of the last step."),
            "samplesPerSecond": number("Samples a second."),
            "generation": whole("The job's generation: how often its workers have changed."),
            "workers": whole("Workers that serve it now."),
            "metrics": metrics("Metrics of the test split."),
            "validation": metrics("Metrics of the last validation."),
            "stateHash": text("Hash of parameters, optimizer state and cursor at the end, or at the newest checkpoint."),
            "model": text("The model version that it made, as NAME@VERSION."),
            "startedAt": time("When it first trained."),
            "finishedAt": time("When it was over."),
            "specHash": text("Hash of what decides the weights: `data`, `model` and `train`."),
            "message": text("Why it is where it is, or what happened last."),
            "conditions": {
                "type": "array",
                "items": condition,
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
            },
        },
    })
}

/// Writes the fields of an object, a line each; texts as JSON, which YAML reads.
fn table(text: &mut String, value: &Value, indent: usize) {
    for (key, value) in value.as_object().into_iter().flatten() {
        let key = if is_plain(key) { key.clone() } else { Value::from(key.as_str()).to_string() };
        let _infallible = write!(text, "{:indent$}{key}:", "");
        nested(text, value, indent);
    }
}

/// Writes a value behind its key or its dash.
fn nested(text: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            text.push('\n');
            table(text, value, indent + 2);
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            text.push('\n');
            for item in items {
                let mut lines = String::new();
                table(&mut lines, item, indent + 4);
                lines.replace_range(indent + 2..indent + 3, "-");
                text.push_str(&lines);
            }
        }
        Value::String(plain) if is_plain(plain) => {
            let _infallible = writeln!(text, " {plain}");
        }
        other => {
            let _infallible = writeln!(text, " {other}");
        }
    }
}

/// Whether a text can stand without quotes: a word that means nothing else in YAML.
fn is_plain(text: &str) -> bool {
    let means_something = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c))
        && !means_something.contains(&text.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_definition_in_k8s_is_the_one_that_the_types_make() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../k8s/base/trainingjobs.phalanx.dev-customresourcedefinition.yaml");
        let text = yaml();
        if std::env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1") {
            std::fs::write(&path, &text).expect("k8s/ can be written");
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            written == text,
            "{} is not what the types say; `UPDATE_DOCS=1 cargo test -p phalanx-kubernetes` rewrites it",
            path.display()
        );
    }
}
