//! Whether it is better than another version. Owns no state.

use maud::{Markup, html};
use phalanx_evaluate::compare::{Comparison, Contrast, PairedTests, Side};

use super::{
    figure::{count, difference, figure},
    parts::{Section, code, facts, table},
};
use crate::{
    OnSplit,
    digits::Shown,
    plot::{RowScale, Tone},
    pointer::Pointer,
};

pub(super) fn section(comparison: &OnSplit<Comparison>) -> Section {
    let (found, at) = (&comparison.found, Pointer::root().fields("comparison/found"));
    let body = html! {
        p { (found.summary) "." }
        (contrasts(found, &at))
        (tests(&found.tests, &at.field("tests")))
        p.note { "On the " (count(&Pointer::root().fields("comparison/rows"), comparison.rows)) " rows of the split "
            (comparison.split) ", the same for both." }
    };
    Section { id: "comparison", title: "Against another version", body }
}

fn contrasts(found: &Comparison, at: &Pointer) -> Markup {
    let better =
        |of: &Contrast| if of.more_is_better { of.difference.estimate } else { -of.difference.estimate };
    let ends = |of: &Contrast| {
        let (lower, upper) = (of.difference.lower, of.difference.upper);
        if of.more_is_better { (lower, upper) } else { (-upper, -lower) }
    };
    // Shares of a metric's own size, so that metrics of all sizes have one scale.
    let share = |of: &Contrast, value: f64| value / of.a.abs().max(of.b.abs()).max(f64::MIN_POSITIVE);
    let all = found.contrasts.iter().flat_map(|of| [share(of, ends(of).0), share(of, ends(of).1)]);
    let scale = RowScale::over(all, Some(0.0));
    let head = html! {
        th { "Metric" } th.number { (code(&found.a)) } th.number { (code(&found.b)) }
        th.drawing aria-hidden="true" { "worse | better" }
        th.number { "Difference" } th.number { "p, adjusted" } th { "Better" }
    };
    let rows = html! {
        @for (at, of) in at.field("contrasts").items(&found.contrasts) {
            @let (lower, upper) = ends(of);
            tr {
                th scope="row" { code { (of.metric) } }
                td.number { (figure(&at.field("a"), of.a, Shown::Number)) }
                td.number { (figure(&at.field("b"), of.b, Shown::Number)) }
                td.drawing {
                    @if let Some(scale) = scale {
                        (scale.dot(share(of, better(of)), Some((share(of, lower), share(of, upper))), tone(of)))
                    }
                }
                td.number {
                    (difference((&at.fields("difference/estimate"), of.difference.estimate),
                        (&at.field("difference"), Some(&of.difference))))
                }
                td.number { (figure(&at.field("p_adjusted"), of.p_adjusted, Shown::Probability)) }
                td { @match of.better {
                    Some(Side::A) => { (code(&found.a)) }
                    Some(Side::B) => { (code(&found.b)) }
                    None => { "not to be told apart" }
                } }
            }
        }
    };
    table("Metrics of both", head, rows)
}

fn tone(of: &Contrast) -> Tone {
    match of.better {
        Some(Side::A) => Tone::Bad,
        Some(Side::B) => Tone::Good,
        None => Tone::Plain,
    }
}

fn tests(tests: &PairedTests, at: &Pointer) -> Markup {
    let mut rows = Vec::new();
    if let Some(of) = &tests.mcnemar {
        let at = at.field("mcnemar");
        rows.push((
            "Rows that only the first predicts rightly",
            count(&at.field("only_a_right"), of.only_a_right),
        ));
        rows.push((
            "Rows that only the second predicts rightly",
            count(&at.field("only_b_right"), of.only_b_right),
        ));
        rows.push(("By chance (McNemar)", figure(&at.field("exact_p"), of.exact_p, Shown::Probability)));
    }
    if let Some(of) = &tests.delong {
        rows.push(("ROC-AUC by chance (DeLong)", figure(&at.fields("delong/p"), of.p, Shown::Probability)));
    }
    if let Some(of) = &tests.paired_t {
        rows.push((
            "Absolute error by chance (paired t)",
            figure(&at.fields("paired_t/p"), of.p, Shown::Probability),
        ));
    }
    if let Some(of) = &tests.wilcoxon {
        rows.push((
            "Its ranks by chance (Wilcoxon)",
            figure(&at.fields("wilcoxon/p"), of.p, Shown::Probability),
        ));
    }
    html! { @if !rows.is_empty() { (facts(rows)) } }
}
