//! From which probability on to act. Owns no state.

use maud::{Markup, html};
use phalanx_evaluate::threshold::{AtThreshold, Goal};

use super::{
    figure::{count, figure},
    parts::{Section, mark, table},
};
use crate::{ThresholdPart, digits::Shown, pointer::Pointer};

pub(super) fn section(part: &ThresholdPart, split: &str, at: &Pointer) -> Section {
    let chosen = at.field("chosen");
    let threshold = part.chosen.validation.threshold;
    let body = html! {
        p {
            "Rows with a probability of " b { (part.class) } " of at least "
            b { (figure(&chosen.fields("validation/threshold"), threshold, Shown::Number)) }
            " are taken for it. Chosen on the split " (part.chosen_on) " for "
            (goal(&part.chosen.goal, &chosen.field("goal"))) ": "
            (mark(part.chosen.reached, "reached there", "out of reach there; this comes nearest")) "."
        }
        (outcomes(part, split, at))
    };
    Section { id: "threshold", title: "Decision threshold", body }
}

fn goal(goal: &Goal, at: &Pointer) -> Markup {
    let number = |names: &str, value: f64| figure(&at.fields(names), value, Shown::Chosen);
    match goal {
        Goal::FBeta { beta } => html! { "the highest F score with beta " (number("f_beta/beta", *beta)) },
        Goal::Accuracy => html! { "the highest accuracy" },
        Goal::BalancedAccuracy => html! { "the highest balanced accuracy" },
        Goal::Youden => html! { "the largest gap of true and false positive rate (Youden)" },
        Goal::EqualErrorRate => html! { "equal rates of false positives and false negatives" },
        Goal::Recall { at_least } => {
            html! { "the highest precision with a recall of at least " (number("recall/at_least", *at_least)) }
        }
        Goal::Precision { at_least } => {
            html! { "the highest recall with a precision of at least " (number("precision/at_least", *at_least)) }
        }
        Goal::Cost { false_positive, false_negative, true_positive, true_negative } => html! {
            "the least cost, with a false positive at " (number("cost/false_positive", *false_positive))
            ", a false negative at " (number("cost/false_negative", *false_negative))
            ", a true positive at " (number("cost/true_positive", *true_positive))
            " and a true negative at " (number("cost/true_negative", *true_negative))
        },
    }
}

/// A figure's name for people, its field, and the figure.
type Entry<T> = (&'static str, &'static str, fn(&AtThreshold) -> T);

fn outcomes(part: &ThresholdPart, split: &str, at: &Pointer) -> Markup {
    let chosen = at.fields("chosen/validation");
    let mut columns = vec![(format!("chosen, on {}", part.chosen_on), chosen, &part.chosen.validation)];
    let measured = part.measured.as_ref().map(|of| (format!("chosen, on {split}"), at.field("measured"), of));
    let usual = part.usual.as_ref().map(|of| (format!("the usual one, on {split}"), at.field("usual"), of));
    columns.extend(measured.into_iter().chain(usual));
    let head = html! { th { "" } @for (name, _, _) in &columns { th.number { (name) } } };
    let shares: [Entry<f64>; 6] = [
        ("Precision", "precision", |of| of.precision),
        ("Recall", "recall", |of| of.recall),
        ("F1", "f1", |of| of.f1),
        ("Accuracy", "accuracy", |of| of.accuracy),
        ("Balanced accuracy", "balanced_accuracy", |of| of.balanced_accuracy),
        ("False positive rate", "false_positive_rate", |of| of.false_positive_rate),
    ];
    let counts: [Entry<u64>; 4] = [
        ("True positives", "true_positives", |of| of.true_positives),
        ("False positives", "false_positives", |of| of.false_positives),
        ("True negatives", "true_negatives", |of| of.true_negatives),
        ("False negatives", "false_negatives", |of| of.false_negatives),
    ];
    let rows = html! {
        tr {
            th scope="row" { "Threshold" }
            @for (_, at, of) in &columns { td.number { (figure(&at.field("threshold"), of.threshold, Shown::Number)) } }
        }
        @for (label, name, get) in shares {
            tr {
                th scope="row" { (label) }
                @for (_, at, of) in &columns { td.number { (figure(&at.field(name), get(of), Shown::Decimals(4))) } }
            }
        }
        @for (label, name, get) in counts {
            tr {
                th scope="row" { (label) }
                @for (_, at, of) in &columns { td.number { (count(&at.field(name), get(of))) } }
            }
        }
    };
    table("What thresholds come to", head, rows)
}
