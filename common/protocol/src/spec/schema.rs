//! The form of a job file, as a tree of sections and keys.
//!
//! It is derived from the types through their JSON schema, so that the check of
//! a file and the reference page cannot drift from them. It knows names, types
//! and texts; the rules between settings are in `problems`.

use std::sync::LazyLock;

use serde_json::Value;

use super::{JobSpec, suggest::listed};

/// One key of a section.
#[derive(Debug)]
pub(super) struct Key {
    /// Its name.
    pub(super) name: String,
    /// What it means: the documentation of the field.
    pub(super) about: String,
    /// Whether it must be there.
    pub(super) required: bool,
    /// What holds where it is not there, if that is one value.
    pub(super) default: Option<Value>,
    /// What it may hold.
    pub(super) form: Form,
}

/// One word of a set of allowed words.
#[derive(Debug)]
pub(super) struct Choice {
    /// The word.
    pub(super) name: String,
    /// What it means.
    pub(super) about: String,
}

/// What a key may hold.
#[derive(Debug)]
pub(super) enum Form {
    /// A table with these keys and no others.
    Section {
        /// What the section is about: the documentation of its type.
        about: String,
        /// Its keys.
        keys: Vec<Key>,
    },
    /// A table with exactly one of these keys.
    OneOf(Vec<Key>),
    /// A table with any content.
    Free,
    /// A table of keys that its author chooses, with a value of one form each.
    Map(Box<Form>),
    /// One of a set of words.
    Choice(Vec<Choice>),
    /// A whole number from `min` to `max`.
    Whole {
        /// The smallest that fits.
        min: i64,
        /// The largest that fits.
        max: u64,
    },
    /// A finite number.
    Number,
    /// A text.
    Text,
    /// A text of one character.
    Character,
    /// A text that is a [`Gate`](super::Gate).
    Gate,
    /// `true` or `false`.
    Truth,
    /// A list.
    List {
        /// What each item may be.
        item: Box<Form>,
        /// How many items there must be, if that is fixed.
        length: Option<usize>,
    },
}

impl Form {
    /// What is expected here, for messages and the reference page.
    pub(super) fn expected(&self) -> String {
        match self {
            Self::Section { .. } | Self::OneOf(_) => "a section".to_owned(),
            Self::Free => "a table".to_owned(),
            Self::Map(item) => format!("a table of {}", item.plural()),
            Self::Choice(choices) => listed(choices.iter().map(|choice| choice.name.as_str()), "or"),
            Self::Whole { .. } => "a whole number".to_owned(),
            Self::Number => "a number".to_owned(),
            Self::Text => "a text".to_owned(),
            Self::Character => "one character".to_owned(),
            Self::Gate => "a condition such as `accuracy >= 0.95`".to_owned(),
            Self::Truth => "`true` or `false`".to_owned(),
            Self::List { item, length: Some(length) } => format!("a list of {length} {}", item.plural()),
            Self::List { item, length: None } => format!("a list of {}", item.plural()),
        }
    }

    /// Several of these, for people.
    fn plural(&self) -> &'static str {
        match self {
            Self::Whole { .. } => "whole numbers",
            Self::Number => "numbers",
            Self::Gate => "conditions",
            Self::Choice(_) => "words",
            Self::Text | Self::Character => "texts",
            Self::Section { .. } | Self::OneOf(_) | Self::Free | Self::Map(_) => "tables",
            Self::Truth => "`true` or `false`",
            Self::List { .. } => "lists",
        }
    }

    /// The words that it may be, or that each of its values may be.
    pub(super) fn choices(&self) -> &[Choice] {
        match self {
            Self::Choice(choices) => choices,
            Self::List { item, .. } | Self::Map(item) => item.choices(),
            Self::Section { .. }
            | Self::OneOf(_)
            | Self::Free
            | Self::Whole { .. }
            | Self::Number
            | Self::Text
            | Self::Character
            | Self::Gate
            | Self::Truth => &[],
        }
    }

    /// The keys of a table that has a fixed set of them.
    pub(super) fn keys(&self) -> &[Key] {
        match self {
            Self::Section { keys, .. } | Self::OneOf(keys) => keys,
            Self::Free
            | Self::Map(_)
            | Self::Choice(_)
            | Self::Whole { .. }
            | Self::Number
            | Self::Text
            | Self::Character
            | Self::Gate
            | Self::Truth
            | Self::List { .. } => &[],
        }
    }
}

/// The form of a whole job file.
pub(super) fn job_file() -> &'static Form {
    static FORM: LazyLock<Form> = LazyLock::new(|| {
        let schema = schemars::schema_for!(JobSpec);
        let root = schema.as_value();
        Reader { definitions: &root["$defs"] }.form(root)
    });
    &FORM
}

/// Reads schemas into forms. It knows the constructs that the job file's types use; a new one is
/// added here before it can be used there, as every test of this crate would tell.
struct Reader<'s> {
    definitions: &'s Value,
}

impl Reader<'_> {
    fn form(&self, schema: &Value) -> Form {
        if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
            return self.form(&self.definitions[name.trim_start_matches("#/$defs/")]);
        }
        if let Some(alternatives) = schema.get("anyOf").and_then(Value::as_array) {
            // What is optional is itself or null.
            return self.form(&alternatives[0]);
        }
        if let Some(variants) = schema.get("oneOf").and_then(Value::as_array) {
            return self.one_of(variants);
        }
        let format = schema.get("format").and_then(Value::as_str);
        match type_name(schema) {
            "object" if schema.get("properties").is_some() => {
                Form::Section { about: text(schema, "description"), keys: self.keys(schema) }
            }
            "object" => match schema.get("additionalProperties").filter(|value| value.is_object()) {
                Some(value) => Form::Map(Box::new(self.form(value))),
                None => Form::Free,
            },
            "integer" if format == Some("int32") => {
                Form::Whole { min: i64::from(i32::MIN), max: i32::MAX.unsigned_abs().into() }
            }
            "integer" if format == Some("uint32") => Form::Whole { min: 0, max: u64::from(u32::MAX) },
            "integer" => Form::Whole { min: 0, max: u64::MAX },
            "number" => Form::Number,
            "boolean" => Form::Truth,
            "string" if format == Some("gate") => Form::Gate,
            "string" if schema.get("maxLength").is_some() => Form::Character,
            "string" => Form::Text,
            "array" => Form::List {
                item: Box::new(self.form(&schema["items"])),
                length: schema.get("minItems").and_then(Value::as_u64).map(|length| length as usize),
            },
            other => unreachable!("a job file's type has the schema type {other:?}: {schema}"),
        }
    }

    fn one_of(&self, variants: &[Value]) -> Form {
        if variants.iter().all(|variant| variant.get("const").is_some()) {
            let choice =
                |variant| Choice { name: text(variant, "const"), about: text(variant, "description") };
            return Form::Choice(variants.iter().map(choice).collect());
        }
        // Each key is required by its variant, but none by the table.
        let documented = |variant, key: Key| match key.about.is_empty() {
            true => Key { about: text(variant, "description"), required: false, ..key },
            false => Key { required: false, ..key },
        };
        let keys = |variant| self.keys(variant).into_iter().map(move |key| documented(variant, key));
        Form::OneOf(variants.iter().flat_map(keys).collect())
    }

    fn keys(&self, schema: &Value) -> Vec<Key> {
        let required = |name: &str| {
            let required = schema.get("required").and_then(Value::as_array);
            required.is_some_and(|names| names.iter().any(|required| required == name))
        };
        let properties = schema.get("properties").and_then(Value::as_object);
        properties
            .into_iter()
            .flatten()
            .map(|(name, property)| Key {
                name: name.clone(),
                about: text(property, "description"),
                required: required(name),
                default: property.get("default").cloned(),
                form: self.form(property),
            })
            .collect()
    }
}

/// The schema's type, leaving out that it may be null.
fn type_name(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::Array(types)) => types.first().and_then(Value::as_str),
        Some(name) => name.as_str(),
        None => None,
    }
    .unwrap_or_default()
}

/// A text of the schema on one line.
fn text(schema: &Value, field: &str) -> String {
    let text = schema.get(field).and_then(Value::as_str).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_has_the_sections_of_a_job_file_in_their_order() {
        let names: Vec<&str> = job_file().keys().iter().map(|key| key.name.as_str()).collect();
        assert_eq!(
            names,
            ["name", "data", "model", "train", "workers", "schedule", "checkpoint", "evaluate", "register"]
        );
    }

    #[test]
    fn every_key_is_documented() {
        fn visit(path: &str, form: &Form) {
            for key in form.keys() {
                let path = format!("{path}.{}", key.name);
                assert!(!key.about.is_empty() || !key.form.keys().is_empty(), "{path} says nothing");
                visit(&path, &key.form);
            }
        }
        visit("", job_file());
    }
}
