//! What has happened in a round, told while it happens and kept for the case that it goes wrong.

use std::time::Instant;

/// The events of one round.
#[derive(Debug)]
pub(crate) struct Log {
    begun: Instant,
    lines: Vec<String>,
}

impl Log {
    /// A round begins.
    pub(crate) fn begin() -> Self {
        Self { begun: Instant::now(), lines: Vec::new() }
    }

    /// Notes an event and prints it.
    pub(crate) fn tell(&mut self, event: impl std::fmt::Display) {
        let line = format!("{:7.2} s  {event}", self.begun.elapsed().as_secs_f64());
        println!("{line}");
        self.lines.push(line);
    }

    /// When it began.
    pub(crate) fn begun(&self) -> Instant {
        self.begun
    }

    /// All events, one a line.
    pub(crate) fn text(&self) -> String {
        self.lines.join("\n")
    }
}
