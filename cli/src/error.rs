//! How a command ends: an exit code, and for whatever went wrong a message with
//! place and remedy. Errors of the layers below become one of these at the
//! border of the command that met them.

use std::process::ExitCode;

use anstyle::{AnsiColor, Style};

/// How the process ends. The codes are part of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// What was asked for is done.
    Done,
    /// The job failed, or something else did.
    Failed,
    /// The command line, the job file or its data are wrong. Nothing was begun.
    Usage,
    /// A signal ended it; a job was saved if there was time.
    Interrupted,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Interrupted => 130,
        })
    }
}

/// Why a command could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct CliError {
    exit: Exit,
    message: String,
    hint: Option<String>,
}

impl CliError {
    /// Something failed that the user may not have caused.
    pub(crate) fn failed(message: impl ToString) -> Self {
        Self { exit: Exit::Failed, message: message.to_string(), hint: None }
    }

    /// The user asked for something that cannot be.
    pub(crate) fn usage(message: impl ToString) -> Self {
        Self { exit: Exit::Usage, message: message.to_string(), hint: None }
    }

    /// Adds what the user can do about it.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl ToString) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// The exit code that belongs to it.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// Prints message and hint to standard error.
    pub(crate) fn print(&self) {
        let red = Style::new().fg_color(Some(AnsiColor::Red.into())).bold();
        anstream::eprintln!("{red}error{red:#}: {}", self.message);
        if let Some(hint) = &self.hint {
            let cyan = Style::new().fg_color(Some(AnsiColor::Cyan.into())).bold();
            anstream::eprintln!("{cyan}hint{cyan:#}: {hint}");
        }
    }
}
