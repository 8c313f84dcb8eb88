//! The rules of a job file that its types cannot say.

use super::JobSpec;

/// Something wrong with a job file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Dotted path of the setting: `train.lanes`.
    pub path: String,
    /// What is wrong with it and what was expected.
    pub message: String,
}

impl JobSpec {
    /// Everything that is wrong with this job; nothing if it can run.
    pub fn problems(&self) -> Vec<Problem> {
        Vec::new()
    }
}
