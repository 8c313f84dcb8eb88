//! What people see: text made from the views of the HTTP interface. Functions
//! here return text or write it; they ask nobody and decide nothing.
//!
//! Results go to standard output, everything on the way to standard error.
//! Colours are part of the text and taken out where it does not reach a terminal
//! or `NO_COLOR` is set.

mod assessment;
mod audit;
mod chart;
mod data;
mod dataset_page;
#[cfg(test)]
pub(crate) mod fixture;
mod garbage;
mod lists;
mod metrics;
mod model;
mod number;
mod ranks;
mod report;
mod screen;
mod style;
mod table;

use std::{
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::Path,
};

use serde::Serialize;

pub(crate) use assessment::{assessment, comparison, folds, learning_curves};
pub(crate) use audit::{AuditProgress, audit};
pub(crate) use data::{dataset, diff, validation};
pub(crate) use dataset_page::dataset_page;
pub(crate) use garbage::{GcProgress, garbage};
pub(crate) use lists::{jobs, models, workers};
pub(crate) use model::{model, version};
pub(crate) use number::{bytes, count};
pub(crate) use report::{Place, report};
pub(crate) use screen::Screen;
pub(crate) use style::{BAD, DIM, GOOD, STRONG};

use crate::error::CliError;

/// Writes `text` to standard output. A reader that has gone away (`| head`) is no error.
pub(crate) fn print(text: &str) -> Result<(), CliError> {
    let mut out = anstream::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(CliError::failed(format!("cannot write to standard output: {e}")))
        }
        _ => Ok(()),
    }
}

/// Writes `value` to standard output as JSON.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), CliError> {
    let json = serde_json::to_string_pretty(value).map_err(CliError::failed)?;
    print(&(json + "\n"))
}

/// A path as short as it can be: below the current folder, from there.
pub(crate) fn path(path: &Path) -> String {
    let here = std::env::current_dir().ok();
    let below = here.as_deref().and_then(|here| path.strip_prefix(here).ok());
    below.unwrap_or(path).display().to_string()
}

/// Columns of the terminal that standard output goes to; 100 where it is none.
pub(crate) fn columns() -> usize {
    let size = console::Term::stdout().size_checked();
    size.map_or(100, |(_, columns)| usize::from(columns)).clamp(40, 120)
}

/// The last `lines` lines of a log; nothing if it cannot be read.
pub(crate) fn tail(log: &Path, lines: usize) -> Vec<String> {
    const TAIL_BYTES: u64 = 16 << 10;
    let read = || -> io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(log)?;
        let bytes = file.metadata()?.len();
        file.seek(SeekFrom::Start(bytes.saturating_sub(TAIL_BYTES)))?;
        let mut end = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut end)?;
        Ok(end)
    };
    let end = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&end);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].iter().map(|line| (*line).to_owned()).collect()
}
