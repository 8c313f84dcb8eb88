//! The form of a job file as an OpenAPI schema, as Kubernetes takes it for a resource: a tree of plain types, without
//! references and without defaults, since what is left out means the same there as in a file. And a job in that form.

use serde_json::{Map, Value, json};

use super::{
    JobSpec,
    schema::{Choice, Form, Key, job_file},
};

/// Whole numbers are 64 bits with a sign there, and their bounds floats: a greater one would turn into nonsense.
const BOUND_MAX: u64 = 1 << 53;

/// The schema of a whole job. What it cannot say are the rules between settings, which
/// [`problems`](super::JobSpec::problems) has.
pub fn open_api_schema() -> Value {
    of(job_file())
}

impl JobSpec {
    /// The job as JSON, as somebody would write it: without what is not set, and without what would hold anyway.
    pub fn to_written(&self) -> Value {
        let mut value = serde_json::to_value(self)
            .expect("invariant: a job is made of plain values, which JSON can hold");
        leave_out(&mut value, job_file());
        value
    }
}

/// Takes everything out of a value of this form that need not be said.
fn leave_out(value: &mut Value, form: &Form) {
    match (form, value) {
        (Form::Section { keys, .. } | Form::OneOf(keys), Value::Object(fields)) => {
            for key in keys {
                let said = fields.get(&key.name);
                if said.is_some_and(|said| said.is_null() || key.default.as_ref() == Some(said)) {
                    fields.remove(&key.name);
                } else if let Some(said) = fields.get_mut(&key.name) {
                    leave_out(said, &key.form);
                }
            }
        }
        (Form::List { item, .. }, Value::Array(items)) => {
            items.iter_mut().for_each(|value| leave_out(value, item));
        }
        (Form::Map(item), Value::Object(fields)) => {
            fields.values_mut().for_each(|value| leave_out(value, item));
        }
        // They are said as a whole.
        (_whole, _value) => {}
    }
}

fn of(form: &Form) -> Value {
    match form {
        Form::Section { about, keys } => {
            let required: Vec<&str> =
                keys.iter().filter(|key| key.required).map(|key| key.name.as_str()).collect();
            let mut schema = table(keys);
            schema["description"] = json!(about);
            if !required.is_empty() {
                schema["required"] = json!(required);
            }
            schema
        }
        Form::OneOf(keys) => {
            let mut schema = table(keys);
            // Each key is a variant: there is one, and no second.
            (schema["minProperties"], schema["maxProperties"]) = (json!(1), json!(1));
            schema
        }
        Form::Free => json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
        Form::Map(item) => json!({"type": "object", "additionalProperties": of(item)}),
        Form::Choice(choices) => {
            let names: Vec<&str> = choices.iter().map(|Choice { name, .. }| name.as_str()).collect();
            json!({"type": "string", "enum": names})
        }
        Form::Whole { min, max } => {
            let mut schema = json!({"type": "integer", "format": "int64", "minimum": min});
            if *max <= BOUND_MAX {
                schema["maximum"] = json!(max);
            }
            schema
        }
        Form::Number => json!({"type": "number"}),
        Form::Text | Form::Gate => json!({"type": "string"}),
        Form::Character => json!({"type": "string", "minLength": 1, "maxLength": 1}),
        Form::Truth => json!({"type": "boolean"}),
        Form::List { item, length } => {
            let mut schema = json!({"type": "array", "items": of(item)});
            if let Some(length) = length {
                (schema["minItems"], schema["maxItems"]) = (json!(length), json!(length));
            }
            schema
        }
    }
}

fn table(keys: &[Key]) -> Value {
    let property = |key: &Key| {
        let mut schema = of(&key.form);
        if !key.about.is_empty() {
            schema["description"] = json!(key.about);
        }
        (key.name.clone(), schema)
    };
    let properties: Map<String, Value> = keys.iter().map(property).collect();
    match properties.is_empty() {
        true => json!({"type": "object"}),
        false => json!({"type": "object", "properties": properties}),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::spec::JobFile;

    /// Visits each schema of a tree.
    fn visit(schema: &Value, look: &mut impl FnMut(&Value)) {
        look(schema);
        let properties = schema["properties"].as_object().into_iter().flat_map(Map::values);
        for inner in properties.chain(schema.get("items")).chain(schema.get("additionalProperties")) {
            visit(inner, look);
        }
    }

    #[test]
    fn every_part_has_a_plain_type_and_a_table_names_its_keys_or_leaves_them_to_its_author() {
        visit(&open_api_schema(), &mut |schema| {
            assert!(schema["type"].is_string(), "{schema}");
            let both = schema.get("properties").is_some() && schema.get("additionalProperties").is_some();
            assert!(!both, "{schema}");
        });
    }

    #[test]
    fn a_job_is_written_without_what_holds_anyway_and_reads_as_the_same() {
        let text = "name = \"a\"\n[data]\ntarget = \"y\"\n[data.csv]\npath = \"/a.csv\"\n[model.mlp]\nhidden = [8]\n\
                    [train]\nbatch_size = 8\nsteps = 3\nlearning_rate = 0.1\n";
        let spec = JobFile::parse(text, Path::new("/job.toml"), &[]).expect("it is right").spec;
        let written = spec.to_written();
        assert_eq!(
            written,
            json!({
                "name": "a",
                "data": {"target": "y", "csv": {"path": "/a.csv"}},
                "model": {"mlp": {"hidden": [8]}},
                "train": {"batch_size": 8, "steps": 3, "learning_rate": 0.1},
            })
        );
        assert_eq!(serde_json::from_value::<JobSpec>(written).expect("it is a job"), spec);
    }

    #[test]
    fn what_is_one_of_several_has_exactly_one() {
        let schema = open_api_schema();
        let model = &schema["properties"]["model"];
        assert_eq!((&model["minProperties"], &model["maxProperties"]), (&json!(1), &json!(1)));
        assert!(model["properties"]["mlp"]["properties"]["hidden"]["items"]["type"] == "integer");
    }
}
