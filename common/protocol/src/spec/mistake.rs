//! What is wrong with a job file, and where: one line for each mistake, as compilers print them.

use std::{fmt, path::PathBuf};

/// The most mistakes that one reading reports; the rest are counted.
pub const MISTAKES_MAX: usize = 100;

/// Where a mistake is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the job file.
    File {
        /// The job file, as the caller named it.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
    },
    /// In a setting given beside the job file: `train.epochs=x`.
    Setting(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Setting(setting) => write!(f, "--set {setting}"),
        }
    }
}

/// One mistake. Prints as `mnist.toml:12:3: unknown key …`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct Mistake {
    /// Where it is.
    pub place: Place,
    /// What is wrong and what was expected.
    pub message: String,
}

/// The most characters in one message.
const MESSAGE_CHARS_MAX: usize = 600;

/// `message` as one line of bounded length: it may quote anything that a file holds, also what
/// would steer a terminal.
pub(super) fn printable(message: &str) -> String {
    let mut line = String::new();
    for c in message.chars().take(MESSAGE_CHARS_MAX) {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    if message.chars().nth(MESSAGE_CHARS_MAX).is_some() {
        line.push('…');
    }
    line
}

/// All mistakes of a job file in the order of its lines, those of settings last; never empty.
/// Prints as one line for each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Mistakes {
    /// The mistakes, at most [`MISTAKES_MAX`].
    pub mistakes: Vec<Mistake>,
    /// How many more there are.
    pub left_out: usize,
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, mistake) in self.mistakes.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            mistake.fmt(f)?;
        }
        match self.left_out {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}
