//! The form of a job file as an OpenAPI schema, as Kubernetes takes it for a resource: a tree of plain types, without
//! references and without defaults, since what is left out means the same there as in a file.

use serde_json::{Map, Value, json};

use super::schema::{Choice, Form, Key, job_file};

/// Whole numbers are 64 bits with a sign there, and their bounds floats: a greater one would turn into nonsense.
const BOUND_MAX: u64 = 1 << 53;

/// The schema of a whole job. What it cannot say are the rules between settings, which
/// [`problems`](super::JobSpec::problems) has.
pub fn open_api_schema() -> Value {
    of(job_file())
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
    use super::*;

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
    fn what_is_one_of_several_has_exactly_one() {
        let schema = open_api_schema();
        let model = &schema["properties"]["model"];
        assert_eq!((&model["minProperties"], &model["maxProperties"]), (&json!(1), &json!(1)));
        assert!(model["properties"]["mlp"]["properties"]["hidden"]["items"]["type"] == "integer");
    }
}
