//! `report.json`: the report as it is kept. Owns the checks that keep figures whole on the way.

use serde::Deserialize;

use crate::{FORMAT, Report};

/// The most bytes of a `report.json`.
pub const REPORT_BYTES_MAX: usize = 64 << 20;

/// A report that cannot be written or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// JSON has no such numbers.
    #[error("`{place}` of the report is not a finite number")]
    NotFinite {
        /// The field.
        place: String,
    },
    /// Too large to be one.
    #[error("the report has {actual} bytes, expected at most {REPORT_BYTES_MAX}")]
    TooLarge {
        /// Its size.
        actual: usize,
    },
    /// Another layout.
    #[error(
        "the report has format {actual}, expected {FORMAT}: read it with the version of Phalanx that wrote it"
    )]
    Format {
        /// Its layout.
        actual: u32,
    },
    /// No report.
    #[error("`{place}` is not as a report has it: {reason}")]
    Invalid {
        /// The field.
        place: String,
        /// What is wrong.
        reason: String,
    },
}

impl Report {
    /// The report as JSON, indented.
    ///
    /// # Errors
    ///
    /// Where a number is not finite, or the report is too large.
    pub fn to_json(&self) -> Result<String, ReportError> {
        let invalid = |error: serde_json::Error| ReportError::Invalid {
            place: "report".to_owned(),
            reason: error.to_string(),
        };
        let json = serde_json::to_string_pretty(self).map_err(invalid)?;
        check_size(&json)?;
        // serde_json writes `null` for a number that JSON has not. It can be read back for an absent figure, but
        // not as the same report.
        match parse(&json) {
            Err(ReportError::Invalid { place, .. }) => Err(ReportError::NotFinite { place }),
            Err(other) => Err(other),
            Ok(read) if read != *self => {
                Err(ReportError::NotFinite { place: "an optional figure".to_owned() })
            }
            Ok(_) => Ok(json),
        }
    }

    /// The report that `json` holds.
    ///
    /// # Errors
    ///
    /// Where it is none, or one of another layout.
    pub fn from_json(json: &str) -> Result<Self, ReportError> {
        #[derive(Deserialize)]
        struct Layout {
            format: u32,
        }
        check_size(json)?;
        match serde_json::from_str::<Layout>(json) {
            Ok(Layout { format }) if format != FORMAT => Err(ReportError::Format { actual: format }),
            // What is no JSON or has no format is told with its place.
            Ok(_) | Err(_) => parse(json),
        }
    }
}

fn check_size(json: &str) -> Result<(), ReportError> {
    if json.len() > REPORT_BYTES_MAX { Err(ReportError::TooLarge { actual: json.len() }) } else { Ok(()) }
}

fn parse(json: &str) -> Result<Report, ReportError> {
    let mut reader = serde_json::Deserializer::from_str(json);
    let read: Result<Report, _> = serde_path_to_error::deserialize(&mut reader);
    let invalid = |place: String, reason: String| ReportError::Invalid { place, reason };
    let report = read.map_err(|error| invalid(error.path().to_string(), error.inner().to_string()))?;
    reader.end().map_err(|error| invalid("report".to_owned(), error.to_string()))?;
    Ok(report)
}
