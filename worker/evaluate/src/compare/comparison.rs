//! All metrics of two models together, in fields and in one sentence. Owns no state.

use serde::{Deserialize, Serialize};

use super::{Contrast, DeLongTest, McNemar, PairedT, Wilcoxon};

/// One of two models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The first.
    A,
    /// The second.
    B,
}

/// Tests of the predictions themselves, beside the contrasts of metrics; those that fit the target.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct PairedTests {
    /// Which rows each predicts rightly.
    pub mcnemar: Option<McNemar>,
    /// The ROC-AUC.
    pub delong: Option<DeLongTest>,
    /// The mean of the absolute error.
    pub paired_t: Option<PairedT>,
    /// The ranks of the absolute error.
    pub wilcoxon: Option<Wilcoxon>,
}

/// How two models compare.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// What the first is called.
    pub a: String,
    /// What the second is called.
    pub b: String,
    /// One contrast a metric.
    pub contrasts: Vec<Contrast>,
    /// Tests of the predictions.
    pub tests: PairedTests,
    /// The one that is better on some metric and worse on none.
    pub better: Option<Side>,
    /// All of it in words.
    pub summary: String,
}

impl Comparison {
    /// Of the contrasts of `b` with `a`. Their `p_adjusted` are set here: of many metrics, one
    /// differs by chance (Holm 1979).
    pub fn new(a: &str, b: &str, mut contrasts: Vec<Contrast>, tests: PairedTests) -> Self {
        let mut order: Vec<usize> = (0..contrasts.len()).collect();
        order.sort_by(|left, right| contrasts[*left].p.total_cmp(&contrasts[*right].p));
        let mut least = 0.0_f64;
        for (place, at) in order.iter().enumerate() {
            least = least.max((contrasts[*at].p * (contrasts.len() - place) as f64).min(1.0));
            contrasts[*at].p_adjusted = least;
            contrasts[*at].decide();
        }
        let wins = |side| contrasts.iter().any(|contrast| contrast.better == Some(side));
        let better = match (wins(Side::A), wins(Side::B)) {
            (true, false) => Some(Side::A),
            (false, true) => Some(Side::B),
            (true, true) | (false, false) => None,
        };
        let summary = summary(a, b, &contrasts);
        Self { a: a.to_owned(), b: b.to_owned(), contrasts, tests, better, summary }
    }
}

fn summary(a: &str, b: &str, contrasts: &[Contrast]) -> String {
    let won = |side| -> Vec<String> {
        contrasts.iter().filter(|contrast| contrast.better == Some(side)).map(told).collect()
    };
    let open: Vec<&str> = contrasts
        .iter()
        .filter(|contrast| contrast.better.is_none())
        .map(|contrast| contrast.metric.as_str())
        .collect();
    let mut clauses = Vec::new();
    for (name, won) in [(b, won(Side::B)), (a, won(Side::A))] {
        if !won.is_empty() {
            clauses.push(format!("{name} is better on {}", won.join(", ")));
        }
    }
    if !open.is_empty() {
        clauses.push(format!("{a} and {b} are not told apart on {}", open.join(", ")));
    }
    if clauses.is_empty() { format!("nothing of {a} and {b} was compared") } else { clauses.join("; ") }
}

fn told(contrast: &Contrast) -> String {
    let Contrast { metric, a, b, difference, p_adjusted, .. } = contrast;
    let p = if *p_adjusted < 0.001 { "p < 0.001".to_owned() } else { format!("p = {p_adjusted:.3}") };
    format!(
        "{metric} ({b:.4} and {a:.4}, difference {:+.4}, {} % interval {:+.4} to {:+.4}, {p})",
        // As the winner sees it would turn the interval round; it is always B less A.
        difference.estimate,
        percent(difference.level),
        difference.lower,
        difference.upper
    )
}

/// A share in percent, without the rounding of the multiplication.
fn percent(share: f64) -> f64 {
    (share * 1e8).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        compare::{contrast, non_inferiority},
        interval::Bootstrap,
        row_metric::MeanMetric,
    };

    fn hits(count: usize) -> Vec<f64> {
        (0..1_000).map(|row| f64::from(u8::from(row * 7 % 1_000 < count))).collect()
    }

    #[test]
    fn a_comparison_says_who_is_better_and_what_is_open() {
        let (a, b, c) = (hits(800), hits(860), hits(803));
        let settings = Bootstrap::default();
        let [a, b, c] = [&a, &b, &c].map(|values| MeanMetric::new(values).unwrap());
        let clear = contrast("accuracy", true, &a, &b, &settings).unwrap();
        let open = contrast("recall", true, &a, &c, &settings).unwrap();
        assert!(clear.b_better > 0.999 && clear.p < 1e-6, "{clear:?}");
        let comparison = Comparison::new("adult@1", "adult@2", vec![clear, open], PairedTests::default());
        assert_eq!(comparison.better, Some(Side::B));
        assert!(
            comparison.summary.starts_with(
                "adult@2 is better on accuracy (0.8600 and 0.8000, difference +0.0600, 95 % interval "
            ) && comparison.summary.ends_with("; adult@1 and adult@2 are not told apart on recall"),
            "{}",
            comparison.summary
        );
        let worse = contrast("error", false, &a, &b, &settings).unwrap();
        assert_eq!(Comparison::new("a", "b", vec![worse], PairedTests::default()).better, Some(Side::A));
        assert_eq!(
            Comparison::new("a", "b", Vec::new(), PairedTests::default()).summary,
            "nothing of a and b was compared"
        );
    }

    #[test]
    fn a_little_worse_is_not_inferior_within_the_margin_only() {
        let (old, new) = (hits(803), hits(800));
        let (old, new) = (MeanMetric::new(&old).unwrap(), MeanMetric::new(&new).unwrap());
        let test = |margin| non_inferiority(&new, &old, true, margin, &Bootstrap::default()).unwrap();
        assert!(test(0.02).holds && !test(0.002).holds);
        assert!((test(0.0).gain + 0.003).abs() < 1e-12);
        let error = non_inferiority(&new, &old, true, -1.0, &Bootstrap::default()).unwrap_err();
        assert_eq!(error.to_string(), "`margin` is -1, expected a finite number of at least 0");
    }
}
