//! Rows that were put aside, one JSON object on a line: the file and the line on
//! which it stood, why, and the row itself.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::{
    PrepareError,
    intake::{Reject, SourceFile, place},
};

/// The most bytes that are put aside: more means that the source is not what the job file takes it for.
const BYTES_MAX: u64 = 256 << 20;

/// A file of rows that were put aside, made when there is one.
#[derive(Debug)]
pub(crate) struct Quarantine {
    path: PathBuf,
    file: Option<BufWriter<File>>,
    rows: u64,
    bytes: u64,
}

impl Quarantine {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), file: None, rows: 0, bytes: 0 }
    }

    /// How many rows were put aside.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    pub(super) fn add(&mut self, rejects: &[Reject], files: &[SourceFile]) -> Result<(), PrepareError> {
        for reject in rejects {
            let (file, place) = place(files, reject.at);
            let line = json!({
                "file": file.display().to_string(), "place": place.to_string(), "reason": reject.reason, "row": reject.row,
            });
            let line = format!("{line}\n");
            self.rows += 1;
            self.bytes += line.len() as u64;
            if self.bytes > BYTES_MAX {
                return Err(PrepareError::Step {
                    step: "quarantine".to_owned(),
                    reason: format!(
                        "more than {BYTES_MAX} bytes of rows would be put aside, {} so far",
                        self.rows
                    ),
                });
            }
            let failed = |error: std::io::Error| PrepareError::Scratch {
                path: self.path.clone(),
                reason: error.to_string(),
            };
            if self.file.is_none() {
                self.file = Some(BufWriter::new(File::create(&self.path).map_err(failed)?));
            }
            if let Some(file) = &mut self.file {
                file.write_all(line.as_bytes()).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// What was put aside, if anything was.
    pub(crate) fn finish(self) -> Result<Option<Vec<u8>>, PrepareError> {
        let Some(file) = self.file else { return Ok(None) };
        let failed = |error: &std::io::Error| PrepareError::Scratch {
            path: self.path.clone(),
            reason: error.to_string(),
        };
        file.into_inner().map_err(|error| failed(error.error()))?;
        std::fs::read(&self.path).map(Some).map_err(|error| failed(&error))
    }
}
