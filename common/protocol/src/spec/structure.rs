//! Checks a job file's tree against the form: unknown and missing keys, values
//! of the wrong kind. It finds all of them in one walk.
//!
//! What is wrong is mended on the way, so that the rest can still be read and
//! checked: a misspelt key gets its right name, a wrong value is taken out or
//! replaced by a stand-in. What was mended is remembered as *spoilt*: no rule
//! that looks at it may speak, since it would speak about the stand-in.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeArray, DeFloat, DeTable, DeValue},
};

use super::{
    Gate,
    schema::{Form, Key, job_file},
    suggest::{listed, nearest},
};

/// What a walk has found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Offset and message of each mistake.
    pub(super) mistakes: Vec<(usize, String)>,
    /// Dotted paths of keys that are missing.
    pub(super) missing: Vec<(String, usize, String)>,
    /// Dotted paths of what was mended.
    pub(super) spoilt: Vec<String>,
}

/// Checks and mends the tree of a whole job file.
pub(super) fn check(table: &mut DeTable<'_>) -> Findings {
    let mut findings = Findings::default();
    findings.moved(table);
    findings.section(table, job_file().keys(), "", 0);
    findings
}

/// Sections of `[data]` that once held [`COLUMN_KEYS`] themselves.
const TABLES: [&str; 2] = ["csv", "parquet"];

/// Keys of `[data]` that hold for every source.
const COLUMN_KEYS: [&str; 6] = ["target", "objective", "features", "ignore", "categorical", "shape"];

impl Findings {
    /// Puts keys where they belong now that stood in a section of their own before.
    fn moved(&mut self, table: &mut DeTable<'_>) {
        let Some(DeValue::Table(data)) = table.get_mut("data").map(Spanned::get_mut) else { return };
        for (section, key) in TABLES.into_iter().flat_map(|section| COLUMN_KEYS.map(|key| (section, key))) {
            let Some(DeValue::Table(source)) = data.get_mut(section).map(Spanned::get_mut) else { continue };
            let Some((written, value)) = source.remove_entry(key) else { continue };
            let message = format!("`data.{section}.{key}` has moved to `data.{key}`");
            self.mistakes.push((written.span().start, message));
            if !data.contains_key(key) {
                data.insert(written, value);
            }
        }
    }

    /// Checks a table with a fixed set of keys, which begins at `start`.
    fn section(&mut self, table: &mut DeTable<'_>, keys: &'static [Key], path: &str, start: usize) {
        self.unknown_keys(table, keys, path);
        for key in keys {
            let path = if path.is_empty() { key.name.clone() } else { format!("{path}.{}", key.name) };
            match table.get_mut(key.name.as_str()) {
                Some(value) => {
                    let span = value.span();
                    if self.value(value.get_mut(), &key.form, &path, span.clone()) {
                        continue;
                    }
                    self.spoilt.push(path);
                    table.remove(key.name.as_str());
                    stand_in(table, key, span);
                }
                None if key.required => {
                    self.missing.push((path, start, missing(key)));
                    stand_in(table, key, start..start);
                }
                None => {}
            }
        }
    }

    fn unknown_keys(&mut self, table: &mut DeTable<'_>, keys: &'static [Key], path: &str) {
        let known = |name: &str| keys.iter().any(|key| key.name == name);
        let unknown: Vec<(String, usize)> = table
            .keys()
            .filter(|name| !known(name.get_ref()))
            .map(|name| (name.get_ref().to_string(), name.span().start))
            .collect();
        for (name, start) in unknown {
            let free = keys.iter().map(|key| key.name.as_str()).filter(|key| !table.contains_key(*key));
            let meant = nearest(&name, free);
            self.mistakes.push((start, unknown_key(&name, meant, keys, path)));
            if let (Some((written, value)), Some(meant)) = (table.remove_entry(name.as_str()), meant) {
                table.insert(Spanned::new(written.span(), meant.into()), value);
            }
        }
    }

    /// Checks one value; `false` if it is of no use.
    fn value(
        &mut self,
        value: &mut DeValue<'_>,
        form: &'static Form,
        path: &str,
        span: Range<usize>,
    ) -> bool {
        match (form, value) {
            (Form::Section { keys, .. }, DeValue::Table(table)) => {
                self.section(table, keys, path, span.start);
                true
            }
            (Form::OneOf(keys), DeValue::Table(table)) => self.one_of(table, keys, path, span),
            (Form::List { item, length }, DeValue::Array(items))
                if length.is_none_or(|length| length == items.len()) =>
            {
                self.list(items, item, path);
                true
            }
            (Form::Map(item), DeValue::Table(table)) => {
                self.map(table, item, path);
                true
            }
            (form, value) => {
                let misfit = misfit(form, value);
                let fits = misfit.is_none();
                self.mistakes.extend(misfit.map(|misfit| (span.start, format!("`{path}` {misfit}"))));
                fits
            }
        }
    }

    /// Checks each item of a list and leaves out the wrong ones.
    fn list<'i>(&mut self, items: &mut DeArray<'i>, item: &'static Form, path: &str) {
        let before = items.len();
        let mut kept = Vec::with_capacity(before);
        let has_keys = !item.keys().is_empty();
        for (index, mut value) in std::mem::replace(items, DeArray::<'i>::new()).into_iter().enumerate() {
            let span = value.span();
            let numbered = if has_keys { format!("{path}[{index}]") } else { path.to_owned() };
            if self.value(value.get_mut(), item, &numbered, span) {
                kept.push(value);
            }
        }
        if kept.len() < before {
            self.spoilt.push(path.to_owned());
            // The others have other numbers now, by which their keys would be looked for.
            let numbers = if has_keys { 0..before } else { 0..0 };
            self.spoilt.extend(numbers.map(|index| format!("{path}[{index}]")));
        }
        *items = kept.into_iter().collect();
    }

    /// Checks each value of a table whose keys are its author's, and leaves out the wrong ones.
    fn map(&mut self, table: &mut DeTable<'_>, item: &'static Form, path: &str) {
        let mut wrong = Vec::new();
        for (key, value) in table.iter_mut() {
            let span = value.span();
            if !self.value(value.get_mut(), item, &format!("{path}.{}", key.get_ref()), span) {
                wrong.push(key.get_ref().to_string());
            }
        }
        for key in wrong {
            table.remove(key.as_str());
            self.spoilt.push(path.to_owned());
        }
    }

    /// Checks a table that has exactly one of `keys`.
    fn one_of(
        &mut self,
        table: &mut DeTable<'_>,
        keys: &'static [Key],
        path: &str,
        span: Range<usize>,
    ) -> bool {
        let was_empty = table.is_empty();
        self.section(table, keys, path, span.start);
        let mut given: Vec<(&str, usize)> =
            table.iter().map(|(name, value)| (name.get_ref().as_ref(), value.span().start)).collect();
        given.sort_by_key(|(_, start)| *start);
        let message = match given.as_slice() {
            [_] => return true,
            // What was taken out for being wrong has been reported.
            [] if !was_empty => return false,
            [] => {
                // An item of a list is written inline.
                let named = |key: &Key| match path.ends_with(']') {
                    true => key.name.clone(),
                    false => format!("[{path}.{}]", key.name),
                };
                let sections: Vec<String> = keys.iter().map(named).collect();
                format!(
                    "`{path}` names nothing: expected {}",
                    listed(sections.iter().map(String::as_str), "or")
                )
            }
            [_, (_, second), ..] => {
                let names = listed(given.iter().map(|(name, _)| *name), "and");
                self.mistakes
                    .push((*second, format!("`{path}` must be one of its kinds, got {names}: keep one")));
                return false;
            }
        };
        self.mistakes.push((span.start, message));
        false
    }
}

/// Something of the right kind in the place of a required key, so that the rest of its section can be read.
fn stand_in(table: &mut DeTable<'_>, key: &'static Key, span: Range<usize>) {
    if !key.required {
        return;
    }
    let value = match &key.form {
        Form::Text => DeValue::String("stand-in".into()),
        Form::Whole { .. } | Form::Number => {
            DeValue::parse("1").expect("invariant: it is a TOML value").into_inner()
        }
        Form::Choice(choices) => {
            let Some(first) = choices.first() else { return };
            DeValue::String(first.name.as_str().into())
        }
        Form::List { length: None, .. } => DeValue::Array(DeArray::new()),
        // A whole section cannot be made up; it stays unread. The rest is never required.
        Form::Section { .. }
        | Form::OneOf(_)
        | Form::Free
        | Form::Map(_)
        | Form::Character
        | Form::Gate
        | Form::Truth
        | Form::List { .. } => return,
    };
    table.insert(Spanned::new(span.clone(), key.name.as_str().into()), Spanned::new(span, value));
}

fn missing(key: &Key) -> String {
    let mut about = key.about.trim_end_matches('.').chars();
    let about: String = about.next().into_iter().flat_map(char::to_lowercase).chain(about).collect();
    match key.form.keys() {
        [] => format!("missing key `{}`: expected {}, {about}", key.name, key.form.expected()),
        _ => format!("missing section `[{}]`: {about}", key.name),
    }
}

fn unknown_key(name: &str, meant: Option<&str>, keys: &[Key], path: &str) -> String {
    let place = if path.is_empty() { String::new() } else { format!(" in [{path}]") };
    if let Some(meant) = meant {
        return format!("unknown key `{name}`{place}; did you mean `{meant}`?");
    }
    let mut homes = Vec::new();
    sections_with(name, job_file().keys(), "", &mut homes);
    match homes.as_slice() {
        [] => {
            let names = listed(keys.iter().map(|key| key.name.as_str()), "or");
            format!("unknown key `{name}`{place}; expected {names}")
        }
        homes => {
            let homes = listed(homes.iter().map(String::as_str), "or");
            format!("unknown key `{name}`{place}; it belongs to {homes}")
        }
    }
}

/// Collects the sections that have a key called `name`, as `[train]`.
fn sections_with(name: &str, keys: &[Key], path: &str, found: &mut Vec<String>) {
    if keys.iter().any(|key| key.name == name) {
        found.push(if path.is_empty() { "the top of the file".to_owned() } else { format!("[{path}]") });
    }
    for key in keys {
        let path = if path.is_empty() { key.name.clone() } else { format!("{path}.{}", key.name) };
        sections_with(name, key.form.keys(), &path, found);
    }
}

/// Why a value without keys or items of its own does not fit.
fn misfit(form: &Form, value: &DeValue<'_>) -> Option<String> {
    match (form, value) {
        (Form::Free, DeValue::Table(_)) => free_value(value),
        (Form::Choice(choices), DeValue::String(text)) => {
            let names = choices.iter().map(|choice| choice.name.as_str());
            if names.clone().any(|name| name == text.as_ref()) {
                return None;
            }
            let meant = nearest(text, names).map(|meant| format!("; did you mean `{meant}`?"));
            Some(mismatch(form, value) + &meant.unwrap_or_default())
        }
        (Form::Gate, DeValue::String(text)) => {
            text.parse::<Gate>().err().map(|error| format!("does not fit: {error}"))
        }
        (Form::Text, DeValue::String(_)) | (Form::Truth, DeValue::Boolean(_)) => None,
        (Form::Character, DeValue::String(text)) if text.chars().count() == 1 => None,
        (Form::Whole { min, max }, DeValue::Integer(number)) => {
            let fits = i128::from_str_radix(number.as_str(), number.radix())
                .is_ok_and(|number| (i128::from(*min)..=i128::from(*max)).contains(&number));
            (!fits).then(|| format!("must be a whole number from {min} to {max}, got {number}"))
        }
        (Form::Number, DeValue::Integer(_)) => None,
        (Form::Number, DeValue::Float(number)) => infinite(number),
        _ => Some(mismatch(form, value)),
    }
}

fn infinite(number: &DeFloat<'_>) -> Option<String> {
    let finite = number.as_str().parse::<f64>().is_ok_and(f64::is_finite);
    (!finite).then(|| format!("must be a finite number, got {number}"))
}

/// What is wrong with free settings, which become JSON: it has no dates and no infinite numbers.
fn free_value(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::Table(table) => table.values().find_map(|value| free_value(value.get_ref())),
        DeValue::Array(items) => items.iter().find_map(|item| free_value(item.get_ref())),
        DeValue::Datetime(date) => Some(format!("cannot hold the date {date}: write it as a text")),
        DeValue::Float(number) => infinite(number),
        DeValue::Integer(number) => {
            let fits = i64::from_str_radix(number.as_str(), number.radix()).is_ok();
            (!fits).then(|| format!("must hold numbers of 64 bits, got {number}"))
        }
        DeValue::String(_) | DeValue::Boolean(_) => None,
    }
}

fn mismatch(form: &Form, value: &DeValue<'_>) -> String {
    let got = match value {
        DeValue::String(text) if text.chars().count() <= 40 => format!("the text \"{text}\""),
        DeValue::String(_) => "a long text".to_owned(),
        DeValue::Integer(number) => format!("the number {number}"),
        DeValue::Float(number) => format!("the number {number}"),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(items) => format!("a list of {}", items.len()),
        DeValue::Table(_) => "a section".to_owned(),
    };
    format!("must be {}, got {got}", form.expected())
}
