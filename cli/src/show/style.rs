//! The few looks that text can have.

use anstyle::{AnsiColor, Style};

/// Headings and the names of things.
pub(crate) const STRONG: Style = Style::new().bold();

/// What is there but seldom read.
pub(crate) const DIM: Style = Style::new().dimmed();

/// What went well.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();

/// What went wrong.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();

/// `text` in a look.
pub(crate) fn styled(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}
