//! Why a file cannot become a data set. Every message names the file, then the
//! place in it as far as there is one, what was expected there and what was
//! found, and where the job file can say otherwise.

mod problem;

use std::{fmt, io, path::PathBuf};

use phalanx_storage::StorageError;

pub use self::problem::{CellProblem, ColumnProblem, LineProblem};
use crate::Split;

/// Why a file cannot become a data set, or features for a model.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// Not there.
    #[error("{}: no such file", path.display())]
    NotFound {
        /// The file.
        path: PathBuf,
    },
    /// A folder, a socket, a device.
    #[error("{}: expected a file, found something else", path.display())]
    NotAFile {
        /// What is no file.
        path: PathBuf,
    },
    /// The operating system does not let us read it.
    #[error("{}: cannot be read: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// No bytes, or none but blank lines.
    #[error("{}: the file is empty; expected {expected}", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// What should be in it.
        expected: &'static str,
    },
    /// A text that is to become tokens is not made of characters.
    #[error(
        "{}: expected UTF-8 for tokens, found other bytes at byte {byte}; save it as UTF-8, or set \
         `encode.text = \"bytes\"`",
        path.display()
    )]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The first byte that is wrong, from 0.
        byte: u64,
    },
    /// Columns, but no rows.
    #[error("{}: there are no rows, only the names of {columns} columns", path.display())]
    NoRows {
        /// The file.
        path: PathBuf,
        /// How many columns there are.
        columns: usize,
    },
    /// Something else was written to the file while it was read.
    #[error("{}: the file was changed while it was read; prepare it again", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A line of a CSV file is wrong as a whole.
    #[error("{}, line {line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        problem: LineProblem,
    },
    /// Not a Parquet file, or half of one.
    #[error("{}: not a whole Parquet file: {reason}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        reason: String,
    },
    /// More columns than can be meant.
    #[error("{}: expected at most {max} columns, found {actual}", path.display())]
    TooManyColumns {
        /// The file.
        path: PathBuf,
        /// Columns in the file.
        actual: usize,
        /// The most allowed.
        max: usize,
    },
    /// A column that the job file names is not in the file.
    #[error(
        "{}: there is no column `{column}`, which {role} names; {}the columns are {columns}",
        path.display(),
        nearest.as_ref().map(|name| format!("did you mean `{name}`? ")).unwrap_or_default(),
    )]
    ColumnAbsent {
        /// The file.
        path: PathBuf,
        /// The setting that names it.
        role: &'static str,
        /// The column.
        column: String,
        /// A column with a similar name.
        nearest: Option<String>,
        /// The columns that are there, for people.
        columns: String,
    },
    /// A column is wrong as a whole.
    #[error("{}, column `{column}`: {problem}", path.display())]
    Column {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// What is wrong with it.
        problem: ColumnProblem,
    },
    /// One cell is wrong.
    #[error("{}, {place}, column `{column}`: {problem}", path.display())]
    Cell {
        /// The file.
        path: PathBuf,
        /// Where in it.
        place: Place,
        /// The column.
        column: String,
        /// What is wrong with the cell.
        problem: CellProblem,
    },
    /// Nothing is left to learn from.
    #[error("{}: no column is left as a feature beside the target `{target}`", path.display())]
    NoFeatures {
        /// The file.
        path: PathBuf,
        /// The target column.
        target: String,
    },
    /// A row would become more numbers than can be meant.
    #[error("{}: a row becomes {actual} numbers; expected at most {max}", path.display())]
    TooWide {
        /// The file.
        path: PathBuf,
        /// Numbers in an encoded row.
        actual: usize,
        /// The most allowed.
        max: usize,
    },
    /// A split that was asked for gets no rows.
    #[error(
        "{}: the {split} split gets no row: {fraction} of {rows} {unit}; give it a larger fraction or more data",
        path.display()
    )]
    EmptySplit {
        /// The file.
        path: PathBuf,
        /// The split.
        split: Split,
        /// The fraction that it asks for.
        fraction: f64,
        /// How much there is.
        rows: u64,
        /// Of what: `rows` or `bytes`.
        unit: &'static str,
    },
    /// A glob that stands for nothing.
    #[error("{pattern}: no file is like this")]
    NoMatch {
        /// The glob.
        pattern: String,
    },
    /// An object store, a database or an interface does not give what is asked of it.
    #[error("{url}: {reason}")]
    Fetch {
        /// The address, without secrets.
        url: String,
        /// What it said.
        reason: String,
    },
    /// A packed file that would unpack to more than can be meant.
    #[error("{}: it unpacks to more than {max} times its size; unpack it yourself if that is right", path.display(), max = crate::intake::RATIO_MAX)]
    Bomb {
        /// The file.
        path: PathBuf,
    },
    /// One of several files is not like the first.
    #[error("{}: {reason}, unlike {}", path.display(), first.display())]
    Drift {
        /// The file.
        path: PathBuf,
        /// The first file.
        first: PathBuf,
        /// What is different.
        reason: String,
    },
    /// Not a file of its kind, or half of one.
    #[error("{}: it cannot be read: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        reason: String,
    },
    /// No image, or another one than is expected.
    #[error("{}: {reason}", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A step of cleaning, or an expectation, does not fit the data.
    #[error("[data] {step}: {reason}")]
    Step {
        /// Which one.
        step: String,
        /// What does not fit.
        reason: String,
    },
    /// Cleaning has dropped every row.
    #[error("[data] clean: none of {rows} rows is left; `phalanx data validate` shows which step drops them")]
    NothingLeft {
        /// Rows of the source.
        rows: u64,
    },
    /// Expectations are not met.
    #[error("the data is not as expected:\n  {}", reasons.join("\n  "))]
    Expectations {
        /// What is not, one line for each expectation.
        reasons: Vec<String>,
    },
    /// What is made on the way cannot be kept on this machine.
    #[error("{}: cannot be used while preparing: {reason}; `TMPDIR` names another folder", path.display())]
    Scratch {
        /// A file of ours.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The splits are not apart from each other.
    #[error("{}: leakage: {problem}; {remedy}; or let it pass by `data.split.leakage = \"warn\"`", path.display())]
    Leakage {
        /// The file.
        path: PathBuf,
        /// What is in two splits.
        problem: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The job file's `[data]` cannot be followed; a checked job file has none of these.
    #[error("[data]: {reason}")]
    Recipe {
        /// What is wrong.
        reason: String,
    },
    /// The store does not take what was prepared, or lost it.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A reader gave up in a way that it should not.
    #[error("{}: reading it ended in a crash; it may be damaged", path.display())]
    Crashed {
        /// The file.
        path: PathBuf,
    },
}

impl PrepareError {
    /// What is wrong, without the place where it is.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Line { problem, .. } => problem.to_string(),
            Self::Image { reason, .. } => reason.clone(),
            other => other.to_string(),
        }
    }
}

/// Where in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A line of a text file, from 1; the first one of a row that has several.
    Line(u64),
    /// A row of a Parquet file, from 1.
    Row(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Row(row) => write!(f, "row {row}"),
        }
    }
}

/// `text` for an error message: cut where it is too long to be read.
pub(crate) fn shown(text: &str) -> String {
    cut(text, 60)
}

/// The first `chars_max` characters of `text`.
pub(crate) fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
