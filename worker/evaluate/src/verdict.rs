//! Whether a model passes: gates beside the figures that were measured. Owns no state.
//!
//! A gate names one figure ([`Gate::measured`]); whoever measures puts it under that name.
//! Figures of the model alone come from the evaluation, slices, fairness and intervals; those
//! against another version from [`against`].

use std::collections::BTreeMap;

use phalanx_protocol::spec::{Bound, Gate};
use serde::{Deserialize, Serialize};

use crate::{
    compare::one_sided,
    interval::{Bootstrap, Interval, IntervalError},
    row_metric::{DifferenceMetric, RowMetric, all_rows},
};

/// What became of one gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateResult {
    /// The gate, as it is written.
    pub gate: String,
    /// The name of the figure that it needs.
    pub figure: String,
    /// That figure, where it was measured.
    pub value: Option<f64>,
    /// The number beside it.
    pub bound: f64,
    /// How far the figure is on the right side of the bound; below 0 on the wrong one.
    pub slack: Option<f64>,
    /// Whether the gate is met. A figure that was not measured meets none, unless there is nothing to
    /// compare it with.
    pub holds: bool,
    /// The outcome in words.
    pub summary: String,
}

/// What became of all gates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Gate by gate, in the job file's order.
    pub gates: Vec<GateResult>,
    /// Whether all are met.
    pub passes: bool,
}

impl Verdict {
    /// Decides `gates` by `figures`. `undefined` tells why a figure is absent, and `moot` why one is that
    /// has nothing to be compared with, as that of a model's first version: gates on it hold.
    pub fn new(
        gates: &[Gate],
        figures: &BTreeMap<String, f64>,
        undefined: &BTreeMap<String, String>,
        moot: &BTreeMap<String, String>,
    ) -> Self {
        let gates: Vec<GateResult> =
            gates.iter().map(|gate| decide(gate, figures, undefined, moot)).collect();
        let passes = gates.iter().all(|gate| gate.holds);
        Self { gates, passes }
    }
}

fn decide(
    gate: &Gate,
    figures: &BTreeMap<String, f64>,
    undefined: &BTreeMap<String, String>,
    moot: &BTreeMap<String, String>,
) -> GateResult {
    let (figure, bound) = (gate.measured(), gate.bound.number());
    let value = figures.get(&figure).copied().filter(|value| value.is_finite());
    let nothing = moot.get(&figure).filter(|_| value.is_none());
    let holds = nothing.is_some() || value.is_some_and(|value| gate.holds(value));
    let slack = value.map(|value| {
        let above = value - bound;
        if gate.comparison.asks_for_more() { above } else { -above }
    });
    let summary = match (value, nothing) {
        (Some(value), _) => {
            format!("`{gate}` {}: {figure} is {value}", if holds { "holds" } else { "fails" })
        }
        (None, Some(why)) => format!("`{gate}` holds: {why}"),
        (None, None) => {
            let why = undefined.get(&figure).map_or("it was not measured", String::as_str);
            format!("`{gate}` fails: there is no {figure}: {why}")
        }
    };
    GateResult { gate: gate.to_string(), figure, value, bound, slack, holds, summary }
}

/// What a gate against another version needs: how far `new` is from `old`, or with a level the
/// end of that difference's interval on the safe side; and the interval, where there is one.
/// `None` where the gate compares with a number.
///
/// # Errors
///
/// Where the two metrics are not of one table, the settings do not fit, or one has no value.
pub fn against(
    gate: &Gate,
    new: &dyn RowMetric,
    old: &dyn RowMetric,
    settings: &Bootstrap,
) -> Result<Option<(f64, Option<Interval>)>, IntervalError> {
    let percent = match &gate.bound {
        Bound::Number(_) => return Ok(None),
        Bound::Version { percent, .. } => *percent,
    };
    let Some(percent) = percent else {
        crate::input::as_long("rows of the other version", new.rows(), old.rows())?;
        let rows = all_rows(new.rows());
        let difference = DifferenceMetric { of: new, less: old };
        let value = difference.value(&rows).filter(|value| value.is_finite());
        return Ok(Some((value.ok_or(IntervalError::Undefined)?, None)));
    };
    let interval = one_sided(new, old, &Bootstrap { level: percent / 100.0, ..*settings })?;
    let end = if gate.comparison.asks_for_more() { interval.lower } else { interval.upper };
    Ok(Some((end, Some(interval))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row_metric::MeanMetric;

    fn gate(text: &str) -> Gate {
        text.parse().unwrap()
    }

    #[test]
    fn every_gate_says_how_far_it_holds_or_why_it_fails() {
        let gates = ["accuracy >= 0.75", "loss <= 0.25", "roc_auc.lower > 0.5", "f1 > 0", "f1 >= @best"];
        let gates = gates.map(gate);
        let figures = [("accuracy", 0.875), ("loss", 0.5)];
        let figures = figures.map(|(name, value)| (name.to_owned(), value)).into();
        let undefined = [("f1".to_owned(), "no row is of class `a`".to_owned())].into();
        let moot = [("f1 - @best".to_owned(), "the model has no version yet".to_owned())].into();
        let verdict = Verdict::new(&gates, &figures, &undefined, &moot);
        assert!(!verdict.passes);
        let seen: Vec<_> = verdict.gates.iter().map(|gate| (gate.holds, gate.slack)).collect();
        let expected =
            [(true, Some(0.125)), (false, Some(-0.25)), (false, None), (false, None), (true, None)];
        assert_eq!(seen, expected);
        let said: Vec<_> = verdict.gates.into_iter().map(|gate| gate.summary).collect();
        assert_eq!(
            said,
            [
                "`accuracy >= 0.75` holds: accuracy is 0.875",
                "`loss <= 0.25` fails: loss is 0.5",
                "`roc_auc.lower > 0.5` fails: there is no roc_auc.lower: it was not measured",
                "`f1 > 0` fails: there is no f1: no row is of class `a`",
                "`f1 >= @best` holds: the model has no version yet",
            ]
        );
        assert!(Verdict::new(&[], &BTreeMap::new(), &BTreeMap::new(), &BTreeMap::new()).passes);
    }

    #[test]
    fn against_a_version_the_safe_end_of_the_difference_decides() {
        let hits = |count: usize| -> Vec<f64> {
            (0..2_000).map(|row| f64::from(u8::from(row * 7 % 2_000 < count))).collect()
        };
        let (old, new) = (hits(1_600), hits(1_606));
        let (old, new) = (MeanMetric::new(&old).unwrap(), MeanMetric::new(&new).unwrap());
        let settings = Bootstrap::default();
        let measured = |text: &str| against(&gate(text), &new, &old, &settings).unwrap();
        assert_eq!(measured("accuracy >= 0.5"), None);
        let (plain, interval) = measured("accuracy >= @champion").unwrap();
        assert!((plain - 0.003).abs() < 1e-12 && interval.is_none());
        let (lower, interval) = measured("accuracy >= @champion - 0.002 at 95%").unwrap();
        assert!(lower < plain && lower == interval.unwrap().lower);
        assert!(gate("accuracy >= @champion - 0.002 at 95%").holds(lower));
        let (upper, _) = measured("error <= @champion at 95%").unwrap();
        assert!(upper > plain && !gate("error <= @champion at 95%").holds(upper));
    }
}
