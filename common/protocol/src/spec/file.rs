//! Reading a job file (placeholder written by the architect; being replaced).
use super::JobSpec;

/// A job file that was read and found right.
#[derive(Debug, Clone)]
pub struct JobFile {
    /// The job.
    pub spec: JobSpec,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Line, from 1.
    pub line: Option<usize>,
    /// Column, from 1.
    pub column: Option<usize>,
    /// Message.
    pub message: String,
}

/// All of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes {
    /// They.
    pub mistakes: Vec<Mistake>,
}
