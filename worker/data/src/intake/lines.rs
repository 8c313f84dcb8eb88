//! Text cut into pieces of whole rows. Where a piece ends is decided by the text
//! alone; what a row is, by whoever cuts: a line, or the row of a CSV file, which
//! may hold line ends in quotes.

use std::io::Read;

use super::{SourceFile, open_plain, plain::is_bomb};
use crate::{
    PrepareError,
    error::LineProblem,
    source::{ROW_BYTES_MAX, unreadable},
};

/// Bytes of a piece, about.
const PIECE_BYTES: usize = 1 << 20;

/// Bytes that are taken from a file at once.
const READ_BYTES: usize = 256 << 10;

/// Whole rows of one file.
#[derive(Debug)]
pub(super) struct Lines {
    /// The number of the file.
    pub(super) file: usize,
    /// The line on which the first row begins, from 1.
    pub(super) first_line: u64,
    /// The rows.
    pub(super) bytes: Vec<u8>,
}

/// Finds where the last row in some bytes ends.
pub(super) trait Cut: Send {
    /// The end of the last whole row in `bytes`, which begin with a row; 0 if none is whole.
    fn last_end(&self, bytes: &[u8]) -> usize;
}

/// Rows that are lines.
pub(super) struct ByLine;

impl Cut for ByLine {
    fn last_end(&self, bytes: &[u8]) -> usize {
        bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
    }
}

/// The pieces of one file.
pub(super) struct Pieces<'a, C> {
    cut: C,
    file: usize,
    source: &'a SourceFile,
    reader: Option<Box<dyn Read + Send>>,
    next_line: u64,
    /// What was read and not given yet; begins with a row.
    left: Vec<u8>,
    done: bool,
}

impl<'a, C: Cut> Pieces<'a, C> {
    pub(super) fn new(cut: C, file: usize, source: &'a SourceFile) -> Self {
        Self { cut, file, source, reader: None, next_line: 1, left: Vec::new(), done: false }
    }

    fn read(&mut self) -> Result<Option<Lines>, PrepareError> {
        let failed = |error: std::io::Error| match is_bomb(&error) {
            true => PrepareError::Bomb { path: self.source.name.clone() },
            false => unreadable(&self.source.name, error),
        };
        let reader = match &mut self.reader {
            Some(reader) => reader,
            None => self.reader.insert(open_plain(self.source)?),
        };
        let mut wanted = PIECE_BYTES;
        loop {
            let before = self.left.len();
            let mut ended = false;
            while self.left.len() < wanted && !ended {
                let from = self.left.len();
                self.left.resize(from + READ_BYTES, 0);
                let read = reader.read(&mut self.left[from..]);
                self.left.truncate(from + *read.as_ref().unwrap_or(&0));
                ended = read.map_err(failed)? == 0;
            }
            if ended {
                self.done = true;
                let bytes = std::mem::take(&mut self.left);
                let lines = Lines { file: self.file, first_line: self.next_line, bytes };
                return Ok((!lines.bytes.is_empty()).then_some(lines));
            }
            let end = self.cut.last_end(&self.left);
            if end > 0 {
                let rest = self.left.split_off(end);
                let bytes = std::mem::replace(&mut self.left, rest);
                let first_line = self.next_line;
                self.next_line += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
                return Ok(Some(Lines { file: self.file, first_line, bytes }));
            }
            // One row fills the piece: it may go on for a while, but not for ever.
            if before > PIECE_BYTES + ROW_BYTES_MAX || wanted > PIECE_BYTES + ROW_BYTES_MAX {
                let problem = LineProblem::TooLong { max: ROW_BYTES_MAX };
                return Err(PrepareError::Line {
                    path: self.source.name.clone(),
                    line: self.next_line,
                    problem,
                });
            }
            wanted += ROW_BYTES_MAX;
        }
    }
}

impl<C: Cut> Iterator for Pieces<'_, C> {
    type Item = Result<Lines, PrepareError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let piece = self.read().transpose();
        self.done |= !matches!(piece, Some(Ok(_)));
        piece
    }
}
