//! Leakage: equal rows, groups and times that are in more than one split, so that a model is measured on what it was
//! trained on.
//!
//! Rows are equal if their features and their target are. Rows of the validation and test splits are remembered by a hash
//! while the encoder is fitted; rows of the training split are looked up while they are written. Where there are too many
//! to be remembered, every second, fourth, … hash is: the same on both sides, so that what is found is a sample of what
//! there is.

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
    source::{Cells, Chunk, ListValues, Places},
};

/// Rows that are remembered: as many as a hash map takes before it grows beyond 130 MiB.
const REMEMBERED_MAX: usize = 7 << 18;

/// Rows measured on that may equal others: a few do by chance, and change no verdict.
const EQUAL_ROWS_MAX: u64 = 10;

/// The share of the rows measured on that may equal others, where that is more.
const EQUAL_SHARE_MAX: f64 = 0.01;

/// What is in two splits, as it stands in the manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeakageFinding {
    /// What it is.
    pub kind: LeakageKind,
    /// How many there are: rows of the validation and test splits that the model was trained on or chosen by; rows that
    /// are in another split than the first one of their group; splits that begin too early.
    pub count: u64,
    /// Of how many: rows of the validation and test splits; rows; pairs of splits.
    pub of: u64,
    /// The share of all rows that was looked at, of 0 to 1.
    pub checked: f64,
    /// The same for people, with examples.
    pub message: String,
}

/// What may be in two splits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeakageKind {
    /// Rows.
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
    held_out: HashMap<u128, HeldOut>,
    /// Hashes with so many zeros at their end are remembered.
    zeros: u32,
    /// A row of the training split, and one that it equals; else one of each of the other two.
    example: Option<(Seen, Seen)>,
}

/// Rows of a chunk, each with the hash of its features and its target.
pub(crate) type RowHashes = Vec<(usize, u128)>;

/// Equal rows, at least one of which is measured on.
#[derive(Debug)]
struct HeldOut {
    /// The first that is.
    first: Seen,
    /// By split.
    rows: [u32; 3],
}

#[derive(Debug, Default)]
struct EqualGroups {
    first: HashMap<u128, Seen>,
    rows: u64,
    /// Rows in another split than the first one of their group.
    astray: u64,
    /// The first of them: its group, the first row of that, and itself.
    example: Option<(String, Seen, Seen)>,
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

    /// Whether equal rows are looked for, so that rows must be hashed.
    pub(crate) fn is_about_rows(&self) -> bool {
        self.rows.is_some()
    }

    /// The pass over all rows in which the encoder is fitted; `hashes` are those of rows that are measured on.
    pub(crate) fn fitting(
        &mut self,
        plan: &SplitPlan,
        chunk: &Chunk,
        splits: &[Option<Split>],
        hashes: &RowHashes,
        path: &Path,
    ) -> Result<(), PrepareError> {
        if let Some(rows) = &mut self.rows {
            for (row, hash) in hashes {
                let Some(split) = splits[*row] else { continue };
                rows.remember(Seen { place: chunk.places.at(*row), split }, *hash);
            }
        }
        let changed = || PrepareError::Changed { path: path.to_owned() };
        if let Some(groups) = &mut self.groups {
            let (column, cells) = plan.cells(Role::Group, chunk).ok_or_else(changed)?;
            let names = each_cell(column, cells, chunk, path, |cell| Ok(cell.to_owned()))?;
            for (row, split) in of_splits(splits) {
                groups.observe(&names[row], Seen { place: chunk.places.at(row), split });
            }
        }
        if let Some(times) = &mut self.times {
            let (column, cells) = plan.cells(Role::Time, chunk).ok_or_else(changed)?;
            let found = each_cell(column, cells, chunk, path, time)?;
            for (row, split) in of_splits(splits) {
                Span::add(&mut times[split as usize], found[row], chunk.places.at(row));
            }
        }
        Ok(())
    }

    /// The end of that pass: groups and times are known.
    pub(crate) fn fitted(&mut self, path: &Path) -> Result<(), PrepareError> {
        let groups = self.groups.take().and_then(EqualGroups::finding);
        let times = self.times.take().and_then(|times| time_order(&times));
        groups.into_iter().chain(times).try_for_each(|finding| self.found(finding, path))
    }

    /// The pass over all rows in which they are written; `hashes` are those of rows that are trained on.
    pub(crate) fn writing(&mut self, places: &Places, hashes: &RowHashes) {
        let Some(rows) = &mut self.rows else { return };
        for (row, hash) in hashes {
            rows.look_up(|| places.at(*row), *hash);
        }
    }

    /// The end of that pass, and everything that was found.
    pub(crate) fn written(mut self, path: &Path) -> Result<Vec<LeakageFinding>, PrepareError> {
        if let Some(finding) = self.rows.take().and_then(EqualRows::finding) {
            self.found(finding, path)?;
        }
        Ok(self.findings)
    }

    fn found(&mut self, finding: LeakageFinding, path: &Path) -> Result<(), PrepareError> {
        match self.chosen.unwrap_or_else(|| finding.by_default()) {
            Leakage::Refuse => {
                let remedy = finding.kind.remedy();
                Err(PrepareError::Leakage { path: path.to_owned(), problem: finding.message, remedy })
            }
            Leakage::Warn | Leakage::Allow => {
                warn!(path = %path.display(), "{}", finding.message);
                self.findings.push(finding);
                Ok(())
            }
        }
    }
}

impl LeakageFinding {
    /// What is done about it unless the job file says otherwise. In tables of few values some rows are equal by chance.
    fn by_default(&self) -> Leakage {
        let is_much = self.count > EQUAL_ROWS_MAX && self.count as f64 > EQUAL_SHARE_MAX * self.of as f64;
        match self.kind {
            LeakageKind::EqualRows if !is_much => Leakage::Warn,
            LeakageKind::EqualRows | LeakageKind::EqualGroups | LeakageKind::TimeOrder => Leakage::Refuse,
        }
    }
}

impl LeakageKind {
    /// What to do about it.
    fn remedy(self) -> &'static str {
        match self {
            Self::EqualRows => {
                "keep one of each, or divide by a column that equal rows have in common (`data.split.by = \"group\"`)"
            }
            Self::EqualGroups => "divide by it: `data.split.by = \"group\"`",
            Self::TimeOrder => "divide by it: `data.split.by = \"time\"`",
        }
    }
}

impl EqualRows {
    /// Remembers a row of a split that is measured on; it may equal one of the other such split.
    fn remember(&mut self, seen: Seen, hash: u128) {
        if hash.trailing_zeros() < self.zeros {
            return;
        }
        let held_out = self.held_out.entry(hash).or_insert(HeldOut { first: seen, rows: [0; 3] });
        held_out.count(seen.split);
        if held_out.first.split != seen.split {
            self.example.get_or_insert((seen, held_out.first));
        }
        while self.held_out.len() >= REMEMBERED_MAX {
            self.zeros += 1;
            let zeros = self.zeros;
            self.held_out.retain(|hash, _| hash.trailing_zeros() >= zeros);
        }
    }

    /// Looks for a row of the training split among those.
    fn look_up(&mut self, place: impl Fn() -> Place, hash: u128) {
        let Some(held_out) = self.held_out.get_mut(&hash) else { return };
        held_out.count(Split::Train);
        let seen = Seen { place: place(), split: Split::Train };
        if self.example.is_none_or(|(one, _)| one.split != Split::Train) {
            self.example = Some((seen, held_out.first));
        }
    }

    fn finding(self) -> Option<LeakageFinding> {
        let (one, other) = self.example?;
        let rows = || self.held_out.values().map(HeldOut::leaked);
        let count: u64 = rows().map(|(leaked, _)| u64::from(leaked)).sum();
        let of: u64 = rows().map(|(_, measured)| u64::from(measured)).sum();
        if count == 0 {
            // The sample has become so small that the example is not in it any more.
            return None;
        }
        let checked = 0.5_f64.powi(self.zeros.try_into().unwrap_or(i32::MAX));
        let sample = match self.zeros {
            0 => String::new(),
            _ => format!(", of a sample of {:.1} %", checked * 100.0),
        };
        let equal = if count == 1 { "row equals" } else { "rows equal" };
        let share = count as f64 / of as f64 * 100.0;
        let message = format!(
            "{count} of {of} validation and test {equal} one of another split ({share:.1} %{sample}): {one} and {other}, \
             for one"
        );
        Some(LeakageFinding { kind: LeakageKind::EqualRows, count, of, checked, message })
    }
}

impl HeldOut {
    fn count(&mut self, split: Split) {
        let rows = &mut self.rows[split as usize];
        *rows = rows.saturating_add(1);
    }

    /// How many of the rows measured on say nothing new, as the model was trained on them or chosen by them, and how many
    /// there are.
    fn leaked(&self) -> (u32, u32) {
        let [train, validation, test] = self.rows;
        let measured = validation.saturating_add(test);
        let leaked = match (train, validation) {
            (1.., _) => measured,
            (0, 1..) => test,
            (0, 0) => 0,
        };
        (leaked, measured)
    }
}

impl EqualGroups {
    fn observe(&mut self, name: &str, seen: Seen) {
        self.rows += 1;
        let hash = hash(name);
        match self.first.get(&hash) {
            Some(first) if first.split != seen.split => {
                self.astray += 1;
                self.example.get_or_insert_with(|| (shown(name), *first, seen));
            }
            Some(_) => {}
            // More than can be kept apart: what is known already is still checked.
            None if self.first.len() >= GROUPS_MAX => {}
            None => drop(self.first.insert(hash, seen)),
        }
    }

    fn finding(self) -> Option<LeakageFinding> {
        let (name, one, other) = self.example?;
        let count = self.astray;
        let rows = if count == 1 { "row is" } else { "rows are" };
        let message = format!(
            "{count} {rows} in another split than the first row of their group: `{name}`, {one} and {other}, for one"
        );
        let of = self.rows;
        Some(LeakageFinding { kind: LeakageKind::EqualGroups, count, of, checked: 1.0, message })
    }
}

/// The rows that are in a split, by their numbers.
fn of_splits(splits: &[Option<Split>]) -> impl Iterator<Item = (usize, Split)> {
    splits.iter().enumerate().filter_map(|(row, split)| Some((row, (*split)?)))
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
    let (count, of) = (found.len() as u64, present.len() as u64 - 1);
    Some(LeakageFinding { kind: LeakageKind::TimeOrder, count, of, checked: 1.0, message })
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

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.place, self.split)
    }
}

/// The hashes of some rows, over the first `features` columns and the target.
pub(crate) fn row_hashes(chunk: &Chunk, features: usize, rows: impl Iterator<Item = usize>) -> RowHashes {
    let mut bytes = Vec::new();
    let mut hashed = |row: usize| {
        bytes.clear();
        // The target is the last column, behind those that decide the division.
        for cells in chunk.columns.iter().take(features).chain(chunk.columns.last()) {
            write_cell(cells, row, &mut bytes);
        }
        if let Some(lists) = &chunk.lists {
            let values = row * lists.width..(row + 1) * lists.width;
            match &lists.values {
                ListValues::Bytes(all) => bytes.extend_from_slice(&all[values]),
                ListValues::Floats(all) => {
                    all[values].iter().for_each(|value| bytes.extend(value.to_bits().to_le_bytes()));
                }
            }
        }
        (row, hash(&bytes))
    };
    rows.map(&mut hashed).collect()
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
