//! What a report does not say, and how to ask for it. Owns no state.

use maud::html;

use super::parts::Section;
use crate::{Predictions, Report};

/// What could be asked for: whether it applies and is absent, what it is, and what to write in the job file.
pub(super) fn section(report: &Report) -> Option<Section> {
    let predictions = report.predictions.as_ref().map(|on| &on.found);
    let classes = match predictions {
        Some(Predictions::Classes(part)) => Some(part),
        Some(Predictions::Numbers(_) | Predictions::Text(_)) | None => None,
    };
    let is_table = !matches!(predictions, Some(Predictions::Text(_)));
    let all = [
        (report.verdict.is_none(), "Gates: what the model must reach", "gates = [\"accuracy >= 0.9\"]"),
        (
            classes.is_some_and(|part| part.threshold.is_none() && part.curves.len() == 1),
            "A decision threshold, chosen on the validation split for a goal",
            "threshold = { goal = \"recall\", at_least = 0.9 }",
        ),
        (
            classes.is_some_and(|part| part.calibration.as_ref().is_none_or(|of| of.mended.is_empty())),
            "Mended probabilities, so that they mean what they say",
            "calibration = \"temperature\"",
        ),
        (
            is_table && report.slices.is_empty(),
            "Slices: where the model does badly",
            "slices = [\"country\", \"age < 30\"]",
        ),
        (
            is_table && report.fairness.is_none(),
            "Fairness: how it treats groups of people",
            "sensitive = [\"sex\"]",
        ),
        (
            is_table && report.importance.is_empty(),
            "Importance: which columns it rests on",
            "importance = {}",
        ),
        (
            is_table && report.robustness.is_empty(),
            "Robustness: what disturbed inputs cost",
            "robustness = {}",
        ),
        (
            report.comparison.is_none(),
            "A comparison with another version",
            "gates = [\"accuracy >= @champion - 0.002 at 95%\"]",
        ),
    ];
    let absent: Vec<_> = all.iter().filter(|(is_absent, _, _)| *is_absent).collect();
    if absent.is_empty() || report.is_of_several_jobs() {
        return None;
    }
    let body = html! {
        p { "The job did not ask for these. In its file, below " code { "[evaluate]" } ":" }
        ul.absent { @for (_, what, how) in absent { li { (what) ": " code.example { (how) } } } }
    };
    Some(Section { id: "absent", title: "What else could be asked for", body })
}
