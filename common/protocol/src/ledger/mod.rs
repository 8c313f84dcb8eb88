//! The ledger of a job with `[train] ledger`: which samples each lane took in each committed
//! step, as its loader has gathered them. Here are the records, the text that files hold, and the
//! [check](Audit) that every sample was taken exactly once.
//!
//! A file is a CSV of one rank's records, with [`HEADER`] as its first line. It lies at
//! [`path`]; nothing else lies in that [`folder`]. Files are immutable and independent: a record
//! may stand in several of them, and a step that was computed again is recorded again.

mod audit;

use std::{fmt, num::ParseIntError, str::FromStr};

use serde::{Deserialize, Serialize};

pub use audit::{Audit, Expected, Verdict, Violation};

use crate::id::{Generation, JobId, Rank};

/// The first line of every file.
pub const HEADER: &str = "step,lane,generation,epoch,first,rows,digest";

/// The most bytes of a file.
pub const FILE_BYTES_MAX: u64 = 256 << 20;

/// What one lane took in one committed step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The step, from 1.
    pub step: u64,
    /// The lane, from 0.
    pub lane: u32,
    /// The generation that made the step.
    pub generation: Generation,
    /// What was taken.
    pub taken: Taken,
}

/// Samples that stand one after the other in an epoch's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Taken {
    /// The epoch, from 0.
    pub epoch: u64,
    /// Place of the first sample in the epoch's order, from 0.
    pub first: u64,
    /// How many.
    pub rows: u32,
    /// Of the numbers of the rows that were read there: a step that is computed again must have
    /// read the same ones.
    pub digest: u64,
}

/// A ledger's file that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the ledger: expected {expected}, found `{found}`")]
pub struct NoLedger {
    /// The line, from 1.
    pub line: usize,
    /// What should be there.
    pub expected: &'static str,
    /// What is there, at most its beginning.
    pub found: String,
}

/// The folder of a job's ledger.
pub fn folder(job: &JobId) -> String {
    format!("ledgers/{job}")
}

/// The `segment`th file that a rank of a generation writes.
pub fn path(job: &JobId, generation: Generation, rank: Rank, segment: u32) -> String {
    format!("{}/g{generation}-r{rank}-{segment}.csv", folder(job))
}

/// A file with these records.
pub fn to_text<'e>(entries: impl IntoIterator<Item = &'e Entry>) -> String {
    let mut text = HEADER.to_owned() + "\n";
    for entry in entries {
        text.push_str(&entry.to_string());
        text.push('\n');
    }
    text
}

/// The records in a file.
///
/// # Errors
///
/// [`NoLedger`] where a line is not what it should be.
pub fn from_text(text: &str) -> Result<Vec<Entry>, NoLedger> {
    let wrong = |(index, line): (usize, &str), expected| NoLedger {
        line: index + 1,
        expected,
        found: line.chars().take(80).collect(),
    };
    let mut lines = text.lines().enumerate();
    let head = lines.next().unwrap_or((0, ""));
    if head.1 != HEADER {
        return Err(wrong(head, HEADER));
    }
    lines.map(|line| line.1.parse().map_err(|_| wrong(line, "seven numbers"))).collect()
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, lane, generation, taken: Taken { epoch, first, rows, digest } } = self;
        write!(f, "{step},{lane},{generation},{epoch},{first},{rows},{digest:016x}")
    }
}

/// A line that is no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no record of a ledger")]
pub struct NoEntry;

impl From<ParseIntError> for NoEntry {
    fn from(_: ParseIntError) -> Self {
        Self
    }
}

impl FromStr for Entry {
    type Err = NoEntry;

    fn from_str(line: &str) -> Result<Self, NoEntry> {
        let mut fields = line.split(',');
        let mut next = || fields.next().ok_or(NoEntry);
        let entry = Self {
            step: next()?.parse()?,
            lane: next()?.parse()?,
            generation: Generation::new(next()?.parse()?),
            taken: Taken {
                epoch: next()?.parse()?,
                first: next()?.parse()?,
                rows: next()?.parse()?,
                digest: u64::from_str_radix(next()?, 16)?,
            },
        };
        if fields.next().is_none() { Ok(entry) } else { Err(NoEntry) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn entry()(step: u64, lane: u32, generation: u64, epoch: u64, first: u64, rows: u32, digest: u64) -> Entry {
            let taken = Taken { epoch, first, rows, digest };
            Entry { step, lane, generation: Generation::new(generation), taken }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(entries in prop::collection::vec(entry(), 0..8)) {
            prop_assert_eq!(from_text(&to_text(&entries)), Ok(entries));
        }

        #[test]
        fn anything_else_is_refused_and_not_a_panic(text in ".*") {
            prop_assert!(from_text(&text).is_err());
        }
    }

    #[test]
    fn a_wrong_line_is_named() {
        let text = |line: &str| format!("{HEADER}\n1,0,1,0,0,8,00000000000000ff\n{line}\n");
        assert_eq!(from_text(&text("1,1,1,0,8,8,ff")).map(|entries| entries.len()), Ok(2));
        for wrong in
            ["", "1", "1,1,1,0,8,8", "1,1,1,0,8,8,ff,1", "1,1,1,0,-8,8,ff", "1,1,1,0,8,5000000000,ff"]
        {
            let refused = from_text(&text(wrong)).expect_err(wrong);
            assert_eq!((refused.line, refused.found.as_str()), (3, wrong));
        }
    }
}
