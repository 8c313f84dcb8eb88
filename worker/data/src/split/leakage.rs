//! Leakage: rows with equal features, groups and times that are in more than one split, so that a model is measured on
//! what it was trained on.
//!
//! Rows of the validation and test splits are remembered by a hash of their features while the encoder is fitted; rows of
//! the training split are looked up while they are written. Where there are too many to be remembered, every second,
//! fourth, … hash is: the same on both sides, so that what is found is a sample of what there is.

use std::{collections::HashMap, fmt, path::Path};

use phalanx_protocol::spec::{Leakage, SplitBy, SplitSpec};
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::{
    GROUPS_MAX, Role, Split, SplitPlan,
    division::{each_cell, hash, time},
};
use crate::{
    error::{Place, PrepareError, shown},
    source::{Cells, Chunk, ListValues},
};

/// Rows that are remembered: about 150 MiB.
const REMEMBERED_MAX: usize = 2 << 20;

/// What is in two splits, as it stands in the manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeakageFinding {
    /// What it is.
    pub kind: LeakageKind,
    /// How many there are: rows, or cells of groups; for times, splits that begin too early.
    pub count: u64,
    /// The share of all rows that was looked at, of 0 to 1.
    pub checked: f64,
    /// The same for people, with examples.
    pub message: String,
}

/// What may be in two splits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeakageKind {
    /// Rows with equal features.
    EqualRows,
    /// A group.
    EqualGroups,
    /// Times.
    TimeOrder,
}

/// Looks for leakage in two passes.
#[derive(Debug)]
pub(crate) struct LeakageCheck {
    rows: Option<EqualRows>,
    groups: Option<EqualGroups>,
    times: Option<[Option<Span>; 3]>,
    chosen: Option<Leakage>,
    findings: Vec<LeakageFinding>,
}

/// Where a row stands, and in which split.
#[derive(Debug, Clone, Copy)]
struct Seen {
    place: Place,
    split: Split,
}

#[derive(Debug, Default)]
struct EqualRows {
    held_out: HashMap<u128, Seen>,
    /// Hashes with so many zeros at their end are remembered.
    zeros: u32,
    pairs: Pairs,
    row: Vec<u8>,
}

#[derive(Debug, Default)]
struct EqualGroups {
    first: HashMap<u128, Seen>,
    pairs: Pairs,
}

/// Pairs that were found: how many, and the first of them.
#[derive(Debug, Default)]
struct Pairs {
    count: u64,
    first: Option<(String, Seen, Seen)>,
}

/// The first and the last time of a split.
#[derive(Debug, Clone, Copy)]
struct Span {
    first: (f64, Place),
    last: (f64, Place),
}

impl LeakageCheck {
    pub(crate) fn new(spec: &SplitSpec) -> Self {
        let chosen = spec.leakage;
        let is_wanted = chosen != Some(Leakage::Allow);
        // What rows are divided by needs no check.
        let groups = is_wanted && spec.group.is_some() && spec.by != SplitBy::Group;
        let times = is_wanted && spec.time.is_some() && spec.by != SplitBy::Time;
        Self {
            rows: is_wanted.then(EqualRows::default),
            groups: groups.then(EqualGroups::default),
            times: times.then_some([None; 3]),
            chosen,
            findings: Vec::new(),
        }
    }

    /// The pass over all rows in which the encoder is fitted.
    pub(crate) fn fitting(
        &mut self,
        plan: &SplitPlan,
        features: usize,
        chunk: &Chunk,
        splits: &[Split],
        path: &Path,
    ) -> Result<(), PrepareError> {
        if let Some(rows) = &mut self.rows {
            for (row, split) in splits.iter().enumerate().filter(|(_, split)| **split != Split::Train) {
                rows.remember(chunk, features, row, *split);
            }
        }
        let changed = || PrepareError::Changed { path: path.to_owned() };
        if let Some(groups) = &mut self.groups {
            let (column, cells) = plan.cells(Role::Group, chunk).ok_or_else(changed)?;
            let names = each_cell(column, cells, chunk, path, |cell| Ok(cell.to_owned()))?;
            for (row, (name, split)) in names.iter().zip(splits).enumerate() {
                groups.observe(name, Seen { place: chunk.places.at(row), split: *split });
            }
        }
        if let Some(times) = &mut self.times {
            let (column, cells) = plan.cells(Role::Time, chunk).ok_or_else(changed)?;
            for (row, (time, split)) in
                each_cell(column, cells, chunk, path, time)?.iter().zip(splits).enumerate()
            {
                Span::add(&mut times[*split as usize], *time, chunk.places.at(row));
            }
        }
        Ok(())
    }

    /// The end of that pass: groups and times are known.
    pub(crate) fn fitted(&mut self, path: &Path) -> Result<(), PrepareError> {
        let groups = self.groups.take().and_then(EqualGroups::finding);
        let times = self.times.take().and_then(|times| time_order(&times));
        for finding in groups.into_iter().chain(times) {
            self.found(finding, Leakage::Refuse, path)?;
        }
        Ok(())
    }

    /// The pass over all rows in which they are written.
    pub(crate) fn writing(&mut self, features: usize, chunk: &Chunk, splits: &[Split]) {
        let Some(rows) = &mut self.rows else { return };
        for row in (0..chunk.rows).filter(|row| splits[*row] == Split::Train) {
            rows.look_up(chunk, features, row);
        }
    }

    /// The end of that pass, and everything that was found.
    pub(crate) fn written(mut self, path: &Path) -> Result<Vec<LeakageFinding>, PrepareError> {
        if let Some(finding) = self.rows.take().and_then(EqualRows::finding) {
            self.found(finding, Leakage::Warn, path)?;
        }
        Ok(self.findings)
    }

    fn found(&mut self, finding: LeakageFinding, default: Leakage, path: &Path) -> Result<(), PrepareError> {
        match self.chosen.unwrap_or(default) {
            Leakage::Refuse => Err(PrepareError::Leakage { path: path.to_owned(), problem: finding.message }),
            Leakage::Warn | Leakage::Allow => {
                warn!(path = %path.display(), "{}", finding.message);
                self.findings.push(finding);
                Ok(())
            }
        }
    }
}

impl EqualRows {
    /// Remembers a row of a split that is measured on; it may equal one of the other such split.
    fn remember(&mut self, chunk: &Chunk, features: usize, row: usize, split: Split) {
        let Some(hash) = self.hash(chunk, features, row) else { return };
        let seen = Seen { place: chunk.places.at(row), split };
        match self.held_out.get(&hash) {
            Some(other) if other.split != split => self.pairs.add(String::new(), *other, seen),
            Some(_) => {}
            None => drop(self.held_out.insert(hash, seen)),
        }
        while self.held_out.len() > REMEMBERED_MAX {
            self.zeros += 1;
            let zeros = self.zeros;
            self.held_out.retain(|hash, _| hash.trailing_zeros() >= zeros);
        }
    }

    /// Looks for a row of the training split among those.
    fn look_up(&mut self, chunk: &Chunk, features: usize, row: usize) {
        let Some(hash) = self.hash(chunk, features, row) else { return };
        if let Some(other) = self.held_out.get(&hash) {
            self.pairs.add(String::new(), *other, Seen { place: chunk.places.at(row), split: Split::Train });
        }
    }

    /// The hash of a row's features, if it is one of those that are looked at.
    fn hash(&mut self, chunk: &Chunk, features: usize, row: usize) -> Option<u128> {
        self.row.clear();
        for cells in chunk.columns.iter().take(features) {
            write_cell(cells, row, &mut self.row);
        }
        if let Some(lists) = &chunk.lists {
            let values = row * lists.width..(row + 1) * lists.width;
            match &lists.values {
                ListValues::Bytes(bytes) => self.row.extend_from_slice(&bytes[values]),
                ListValues::Floats(floats) => {
                    floats[values].iter().for_each(|value| self.row.extend(value.to_bits().to_le_bytes()));
                }
            }
        }
        let hash = hash(&self.row);
        (hash.trailing_zeros() >= self.zeros).then_some(hash)
    }

    fn finding(self) -> Option<LeakageFinding> {
        let Pairs { count, first } = self.pairs;
        let (_, one, other) = first?;
        let checked = 0.5_f64.powi(self.zeros.try_into().unwrap_or(i32::MAX));
        let of =
            if self.zeros == 0 { String::new() } else { format!(" among {:.1} % of all", checked * 100.0) };
        let (rows, have) = if count == 1 { ("row", "has") } else { ("rows", "have") };
        let message = format!(
            "{count} {rows}{of} {have} the features of a row of another split: first {other}, which equals {one}"
        );
        Some(LeakageFinding { kind: LeakageKind::EqualRows, count, checked, message })
    }
}

impl EqualGroups {
    fn observe(&mut self, name: &str, seen: Seen) {
        let hash = hash(name);
        match self.first.get(&hash) {
            Some(first) if first.split != seen.split => self.pairs.add(shown(name), *first, seen),
            Some(_) => {}
            // More than can be kept apart: what is known already is still checked.
            None if self.first.len() >= GROUPS_MAX => {}
            None => drop(self.first.insert(hash, seen)),
        }
    }

    fn finding(self) -> Option<LeakageFinding> {
        let Pairs { count, first } = self.pairs;
        let (name, one, other) = first?;
        let rows = if count == 1 { "row is" } else { "rows are" };
        let message = format!(
            "{count} {rows} in another split than the first row of their group: first `{name}`, {other} and {one}"
        );
        Some(LeakageFinding { kind: LeakageKind::EqualGroups, count, checked: 1.0, message })
    }
}

/// What is wrong with the order of the splits, if something is.
fn time_order(spans: &[Option<Span>; 3]) -> Option<LeakageFinding> {
    let present: Vec<(Split, Span)> =
        Split::ALL.into_iter().filter_map(|split| Some((split, spans[split as usize]?))).collect();
    let early = |pair: &&[(Split, Span)]| pair[1].1.first.0 <= pair[0].1.last.0;
    let found: Vec<_> = present.windows(2).filter(early).collect();
    let [(earlier, before), (later, after)] = found.first()? else { return None };
    let message = format!(
        "the {later} split begins before the {earlier} split has ended: {} is of {later} and not later than {}, which is of \
         {earlier}",
        after.first.1, before.last.1
    );
    Some(LeakageFinding { kind: LeakageKind::TimeOrder, count: found.len() as u64, checked: 1.0, message })
}

impl Span {
    fn add(span: &mut Option<Self>, time: f64, place: Place) {
        let span = span.get_or_insert(Self { first: (time, place), last: (time, place) });
        if time < span.first.0 {
            span.first = (time, place);
        }
        if time > span.last.0 {
            span.last = (time, place);
        }
    }
}

impl Pairs {
    fn add(&mut self, name: String, one: Seen, other: Seen) {
        self.count += 1;
        self.first.get_or_insert((name, one, other));
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.place, self.split)
    }
}

/// A cell as bytes that tell it from every other one.
fn write_cell(cells: &Cells, row: usize, out: &mut Vec<u8>) {
    match cells {
        Cells::Numbers(_) => match cells.number(row) {
            Ok(Some(number)) => out.extend(number.to_bits().to_le_bytes()),
            Ok(None) | Err(_) => out.extend(f64::NAN.to_bits().to_le_bytes()),
        },
        Cells::Text(_) => match cells.text(row) {
            Some(text) => {
                out.extend((text.len() as u32 + 1).to_le_bytes());
                out.extend(text.as_bytes());
            }
            None => out.extend(0_u32.to_le_bytes()),
        },
    }
}
