//! A ledger's verdict, and a bar while its files are read, on standard error.

use std::fmt::Write as _;

use indicatif::{ProgressBar, ProgressStyle};
use phalanx_protocol::{
    ledger::{Verdict, Violation},
    view::{JobState, JobView},
};

use super::{
    number::count,
    style::{BAD, GOOD},
};

/// The bar; nothing where standard error is no terminal.
#[derive(Debug)]
pub(crate) struct AuditProgress(ProgressBar);

impl AuditProgress {
    /// So many files are to be read.
    pub(crate) fn begin(files: usize) -> Self {
        let style = ProgressStyle::with_template("reading the ledger {bar:30} {pos} of {len} files")
            .expect("a right template");
        Self(ProgressBar::new(files as u64).with_style(style))
    }

    /// One of them is read.
    pub(crate) fn read_one(&self) {
        self.0.inc(1);
    }

    /// Takes the bar away.
    pub(crate) fn end(self) {
        self.0.finish_and_clear();
    }
}

/// What the ledger shows.
pub(crate) fn audit(job: &JobView, verdict: &Verdict) -> String {
    let Verdict { steps, samples, epochs, generations, steps_repeated, records, violation_count, violations } =
        verdict;
    let (id, mut text) = (&job.id, String::new());
    let up_to = if job.state == JobState::Done { "" } else { " up to its newest checkpoint" };
    let say =
        |text: &mut String, line: std::fmt::Arguments<'_>| writeln!(text, "{line}").expect("a string grows");
    if verdict.is_right() {
        say(
            &mut text,
            format_args!(
                "{GOOD}exactly once{GOOD:#}: {id} has trained on every sample of its batches exactly once{up_to}"
            ),
        );
    } else {
        let count = count(*violation_count);
        say(
            &mut text,
            format_args!(
                "{BAD}not exactly once{BAD:#}: the ledger of {id} is wrong in {count} places{up_to}"
            ),
        );
    }
    for (what, number) in [
        ("steps", steps),
        ("samples", samples),
        ("epochs", epochs),
        ("generations", generations),
        ("steps made by several generations", steps_repeated),
        ("records", records),
    ] {
        say(&mut text, format_args!("  {what:<34} {:>14}", count(*number)));
    }
    for Violation { step, lane, what } in violations {
        let lane = lane.map_or(String::new(), |lane| format!(", lane {lane}"));
        say(&mut text, format_args!("  step {step}{lane}: {what}"));
    }
    let untold = violation_count - violations.len() as u64;
    if untold > 0 {
        say(&mut text, format_args!("  and {} more", count(untold)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::fixture;

    fn shown(verdict: &Verdict) -> String {
        anstream::adapter::strip_str(&audit(&fixture::training(), verdict)).to_string()
    }

    fn right() -> Verdict {
        Verdict {
            steps: 300,
            samples: 19_200,
            epochs: 2,
            generations: 3,
            steps_repeated: 4,
            records: 2_400,
            ..Verdict::default()
        }
    }

    #[test]
    fn a_right_ledger_is_told_with_its_counts() {
        let text = shown(&right());
        assert!(text.starts_with("exactly once: mnist-3 has trained on every sample"), "{text}");
        assert!(text.contains("up to its newest checkpoint\n"), "{text}");
        assert!(text.contains("  samples                                    19,200\n"), "{text}");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let violations =
            vec![Violation { step: 7, lane: Some(2), what: "nobody has recorded it".to_owned() }];
        let text = shown(&Verdict { violation_count: 1_001, violations, ..right() });
        assert!(
            text.starts_with("not exactly once: the ledger of mnist-3 is wrong in 1,001 places"),
            "{text}"
        );
        assert!(text.ends_with("  step 7, lane 2: nobody has recorded it\n  and 1,000 more\n"), "{text}");
    }
}
