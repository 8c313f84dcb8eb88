//! A job file's text as a tree that knows where each part of it was written,
//! with the settings given beside it (`--set key=value`) put in.
//!
//! Every part keeps a byte offset. Offsets up to the text's length lie in the
//! text; each setting has a stretch of its own behind it.

use std::{borrow::Cow, ops::Range, path::PathBuf};

use serde::de::DeserializeOwned;
use toml::{
    Spanned,
    de::{DeTable, DeValue, ValueDeserializer},
};

use super::mistake::{MISTAKES_MAX, Place, printable};

/// The text with the lines that cannot be read blanked out, offsets staying as they are; and what
/// is wrong with them, an offset and a message for each mistake.
///
/// The parser recovers from a mistake, but one often makes it see others further down. So the
/// first alone is believed, its line is taken away, and the rest is read again.
pub(super) fn readable(text: &str) -> (Cow<'_, str>, Vec<(usize, String)>) {
    let mut readable = Cow::Borrowed(text);
    let mut mistakes = Vec::new();
    while mistakes.len() < MISTAKES_MAX {
        let (_, errors) = DeTable::parse_recoverable(&readable);
        let offset = |error: &toml::de::Error| error.span().map_or(text.len(), |span| span.start);
        let Some(first) = errors.iter().min_by_key(|error| offset(error)) else { break };
        mistakes.push((offset(first), first.message().to_owned()));
        let lost = lines_lost(&readable, offset(first));
        if readable[lost.clone()].trim().is_empty() {
            // Nothing is left to take away: a text that never ends, for example.
            break;
        }
        let blank = |byte: &u8| if *byte == b'\n' { '\n' } else { ' ' };
        let blank: String = readable.as_bytes()[lost.clone()].iter().map(blank).collect();
        readable.to_mut().replace_range(lost, &blank);
    }
    (readable, mistakes)
}

/// The line of a mistake; where that is a `[section]`, all up to the next one, since its keys would
/// be taken for those of the section above.
fn lines_lost(text: &str, offset: usize) -> Range<usize> {
    let line = line_around(text, offset);
    if !text[line.clone()].trim_start().starts_with('[') {
        return line;
    }
    let next = text[line.end..].find("\n[").map_or(text.len(), |next| line.end + next);
    line.start..next
}

/// The line in which an offset lies, without its end.
fn line_around(text: &str, offset: usize) -> Range<usize> {
    let bytes = text.as_bytes();
    let offset = offset.min(bytes.len());
    let start = bytes[..offset].iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let length = bytes[start..].iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len() - start);
    start..start + length
}

/// A job file as it was written.
pub(super) struct Document<'i> {
    /// Its tree.
    pub(super) table: DeTable<'i>,
    text: &'i str,
    path: PathBuf,
    /// Settings, and the offset at which the stretch of each begins.
    settings: Vec<(usize, String)>,
}

impl<'i> Document<'i> {
    /// The tree of `readable`, which [`readable`] made of `text`.
    pub(super) fn new(text: &'i str, readable: &'i str, path: PathBuf) -> Self {
        let (table, _) = DeTable::parse_recoverable(readable);
        Self { table: table.into_inner(), text, path, settings: Vec::new() }
    }

    /// Puts the setting `key = value` in the place of what the file says. The value is read as
    /// TOML, or else taken as a text; an empty one takes the key out.
    pub(super) fn set(&mut self, key: &'i str, value: &'i str) -> Result<(), (usize, String)> {
        let start = self.end() + 1;
        self.settings.push((start, format!("{key}={value}")));
        let names: Vec<&str> = key.split('.').collect();
        let Some((last, sections)) = names.split_last().filter(|_| !names.contains(&"")) else {
            let expected = "expected a dotted path to a key, as in `train.epochs=3`";
            return Err((start, format!("`{key}` names no key; {expected}")));
        };
        let span = start..start + 1;
        let mut table = &mut self.table;
        for name in sections {
            let section = table
                .entry(Spanned::new(span.clone(), (*name).into()))
                .or_insert_with(|| Spanned::new(span.clone(), DeValue::Table(DeTable::new())));
            let DeValue::Table(inner) = section.get_mut() else {
                return Err((start, format!("`{name}` is a value and no section")));
            };
            table = inner;
        }
        table.remove(*last);
        if !value.is_empty() {
            table.insert(Spanned::new(span, (*last).into()), setting_value(value, start));
        }
        Ok(())
    }

    /// A top-level key as its type; `None` where it is absent.
    pub(super) fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, (usize, String)> {
        let Some(value) = self.table.get(key) else { return Ok(None) };
        T::deserialize(ValueDeserializer::from(value.clone())).map(Some).map_err(|error| {
            let start = error.span().unwrap_or(value.span()).start;
            (start, error.message().to_owned())
        })
    }

    /// The offset of the part at a dotted path such as `train.lanes` or `evaluate.gates[1]`, or of
    /// the innermost section around it that was written.
    pub(super) fn offset(&self, path: &str) -> usize {
        let mut table = &self.table;
        let mut found = 0;
        for segment in path.split('.') {
            let (name, index) = match segment.split_once('[') {
                Some((name, rest)) => (name, rest.trim_end_matches(']').parse::<usize>().ok()),
                None => (segment, None),
            };
            let Some(value) = table.get(name) else { break };
            let value = index.and_then(|index| value.get_ref().get(index)).unwrap_or(value);
            found = value.span().start;
            let DeValue::Table(inner) = value.get_ref() else { break };
            table = inner;
        }
        found
    }

    /// Where an offset is, for people.
    pub(super) fn place(&self, offset: usize) -> Place {
        if let Some((_, setting)) = self.settings.iter().rev().find(|(start, _)| *start <= offset) {
            return Place::Setting(printable(setting));
        }
        // An offset may be the end of the text, or inside of a character if the text is broken there.
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        Place::File { path: self.path.clone(), line, column }
    }

    /// The top-level section in whose lines an offset lies.
    pub(super) fn section_at(&self, offset: usize) -> Option<&str> {
        let sections = self.table.iter().filter(|(_, value)| value.get_ref().is_table());
        let before = sections.filter(|(_, value)| value.span().start <= offset);
        before.max_by_key(|(_, value)| value.span().start).map(|(name, _)| name.get_ref().as_ref())
    }

    /// The offset behind everything that was read so far.
    fn end(&self) -> usize {
        match self.settings.last() {
            Some((start, setting)) => start + setting.len(),
            None => self.text.len(),
        }
    }
}

/// The value of a setting, its parts moved to the stretch of offsets that begins at `start`.
fn setting_value(value: &str, start: usize) -> Spanned<DeValue<'_>> {
    match DeValue::parse(value) {
        Ok(parsed) => moved(parsed, start),
        Err(_) => Spanned::new(start..start + value.len(), DeValue::String(value.into())),
    }
}

fn moved(value: Spanned<DeValue<'_>>, by: usize) -> Spanned<DeValue<'_>> {
    let shifted = |span: Range<usize>| span.start + by..span.end + by;
    let span = shifted(value.span());
    let inner = match value.into_inner() {
        DeValue::Array(items) => DeValue::Array(items.into_iter().map(|item| moved(item, by)).collect()),
        DeValue::Table(table) => DeValue::Table(
            table
                .into_iter()
                .map(|(key, value)| (Spanned::new(shifted(key.span()), key.into_inner()), moved(value, by)))
                .collect(),
        ),
        leaf => leaf,
    };
    Spanned::new(span, inner)
}
