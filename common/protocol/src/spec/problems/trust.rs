//! Rules of `[evaluate]` about how far to trust a model: slices, groups, intervals, thresholds,
//! importance and robustness.

use super::{Rules, Sections};
use crate::spec::{
    EvaluateSpec, ImportanceSpec, IntervalsSpec, MeasuredOn, RobustnessSpec, ThresholdGoal, ThresholdSpec,
    suggest::listed,
};

/// The most slices, and the most characters of a condition.
const SLICES_MAX: usize = 100;
const CONDITION_CHARS_MAX: usize = 1_000;

/// The most sensitive columns: their intersections are looked at, too.
const SENSITIVE_MAX: usize = 8;

/// The most sizes of one kind of disturbance.
const SIZES_MAX: usize = 20;

/// Rows looked at for importance and robustness, each of them many times.
const ROWS_MAX: u64 = 1_000_000;

/// `target` is what the job file alone tells of it.
pub(super) fn check(sections: &Sections<'_>, target: Option<MeasuredOn>, rules: &mut Rules) {
    let Some(evaluate) = sections.evaluate else { return };
    let EvaluateSpec { slices, sensitive, small_below, intervals, .. } = evaluate;
    texts("evaluate.slices", slices, SLICES_MAX, rules);
    texts("evaluate.sensitive", sensitive, SENSITIVE_MAX, rules);
    rules.whole("evaluate.small_below", *small_below, 1..=1_000_000);
    self::intervals(intervals, rules);
    if let Some(threshold) = &evaluate.threshold {
        self::threshold(threshold, rules);
    }
    if let Some(ImportanceSpec { repeats, rows, gradient_steps }) = evaluate.importance {
        rules.whole("evaluate.importance.repeats", repeats, 1..=100);
        rules.whole("evaluate.importance.rows", rows, 1..=ROWS_MAX);
        rules.whole("evaluate.importance.gradient_steps", gradient_steps, 0..=1_000);
    }
    if let Some(robustness) = &evaluate.robustness {
        self::robustness(robustness, rules);
    }
    fitting_target(evaluate, target, rules);
    reweigh(sections, target, rules);
    let split = sections.data.map(|data| &data.split);
    let has_validation = split.is_none_or(|split| split.sizes_are_given() || split.validation != 0.0);
    for (setting, is_asked) in chosen_on_validation(evaluate) {
        rules.require(!is_asked || has_validation, ["data.split.validation", setting], || {
            format!("`data.split.validation` must be above 0, since `{setting}` is chosen on that split")
        });
    }
}

/// Weights are for classes, and what comes of them is measured.
fn reweigh(sections: &Sections<'_>, target: Option<MeasuredOn>, rules: &mut Rules) {
    let (Some(data), Some(evaluate)) = (sections.data, sections.evaluate) else { return };
    texts("data.reweigh", &data.reweigh, SENSITIVE_MAX, rules);
    for column in &data.reweigh {
        rules.require(evaluate.sensitive.contains(column), ["data.reweigh", "evaluate.sensitive"], || {
            format!("`data.reweigh` names `{column}`, which must be in `evaluate.sensitive`, too: that shows what comes of it")
        });
    }
    let has_classes = matches!(target, None | Some(MeasuredOn::Classes));
    rules.require(data.reweigh.is_empty() || has_classes, ["data.reweigh", "data"], || {
        let noun = target.map_or("the target", MeasuredOn::noun);
        format!("`data.reweigh` is about classes, which {noun} does not have: take it out")
    });
}

fn chosen_on_validation(evaluate: &EvaluateSpec) -> [(&'static str, bool); 2] {
    [
        ("evaluate.threshold", evaluate.threshold.is_some()),
        ("evaluate.calibration", evaluate.calibration.is_some()),
    ]
}

/// What there is only of some targets.
fn fitting_target(evaluate: &EvaluateSpec, target: Option<MeasuredOn>, rules: &mut Rules) {
    let of_columns = [
        ("evaluate.slices", !evaluate.slices.is_empty()),
        ("evaluate.sensitive", !evaluate.sensitive.is_empty()),
        ("evaluate.importance", evaluate.importance.is_some()),
        ("evaluate.robustness", evaluate.robustness.is_some()),
    ];
    for (setting, is_asked) in of_columns {
        rules.require(!is_asked || target != Some(MeasuredOn::Text), [setting, "data"], || {
            format!("`{setting}` is about columns, and a text has none: take it out")
        });
    }
    let has_classes = matches!(target, None | Some(MeasuredOn::Classes));
    for (setting, is_asked) in chosen_on_validation(evaluate) {
        rules.require(!is_asked || has_classes, [setting, "data"], || {
            let noun = target.map_or("the target", MeasuredOn::noun);
            format!("`{setting}` is about probabilities of classes, which {noun} does not have: take it out")
        });
    }
}

fn texts(path: &str, texts: &[String], most: usize, rules: &mut Rules) {
    rules.require(texts.len() <= most, [path], || {
        format!("`{path}` must have at most {most} entries, got {}", texts.len())
    });
    for (index, text) in texts.iter().enumerate().take(most) {
        let place = format!("{path}[{index}]");
        let fits = !text.trim().is_empty() && text.chars().count() <= CONDITION_CHARS_MAX;
        rules.require(fits, [&place], || {
            let count = text.chars().count();
            format!("`{path}` must have texts of 1 to {CONDITION_CHARS_MAX} characters, got one of {count}")
        });
        rules.require(!texts[..index].contains(text), [&place], || {
            format!("`{path}` names `{text}` twice: keep one")
        });
    }
}

fn intervals(intervals: &IntervalsSpec, rules: &mut Rules) {
    let IntervalsSpec { level, replicates, seed: _ } = *intervals;
    let fits = level > 0.5 && level < 1.0;
    rules.number("evaluate.intervals.level", level, fits, "above 0.5 and below 1, as in 0.95");
    if let Some(replicates) = replicates {
        rules.whole("evaluate.intervals.replicates", replicates, 100..=100_000);
    }
}

fn threshold(threshold: &ThresholdSpec, rules: &mut Rules) {
    use ThresholdGoal::{Accuracy, BalancedAccuracy, Cost, EqualErrorRate, FBeta, Precision, Recall, Youden};
    let given = [
        ("beta", threshold.beta),
        ("at_least", threshold.at_least),
        ("false_positive", threshold.false_positive),
        ("false_negative", threshold.false_negative),
        ("true_positive", threshold.true_positive),
        ("true_negative", threshold.true_negative),
    ];
    let (name, used, needed): (_, &[&str], &[&str]) = match threshold.goal {
        FBeta => ("f_beta", &["beta"], &[]),
        Recall => ("recall", &["at_least"], &["at_least"]),
        Precision => ("precision", &["at_least"], &["at_least"]),
        Cost => (
            "cost",
            &["false_positive", "false_negative", "true_positive", "true_negative"],
            &["false_positive", "false_negative"],
        ),
        Accuracy => ("accuracy", &[], &[]),
        BalancedAccuracy => ("balanced_accuracy", &[], &[]),
        Youden => ("youden", &[], &[]),
        EqualErrorRate => ("equal_error_rate", &[], &[]),
    };
    for (key, value) in given {
        let path = format!("evaluate.threshold.{key}");
        rules.require(value.is_none() || used.contains(&key), [&path, "evaluate.threshold.goal"], || {
            let takes =
                if used.is_empty() { "no number".to_owned() } else { listed(used.iter().copied(), "and") };
            format!("`{path}` does not belong to the goal `{name}`, which takes {takes}")
        });
        rules.require(value.is_some() || !needed.contains(&key), ["evaluate.threshold", &path], || {
            format!("`evaluate.threshold` needs `{key}` for the goal `{name}`")
        });
        let Some(value) = value.filter(|_| used.contains(&key)) else { continue };
        match key {
            "beta" => {
                rules.number(&path, value, value > 0.0 && value <= 1e6, "above 0 and at most 1,000,000");
            }
            "at_least" => rules.number(&path, value, (0.0..=1.0).contains(&value), "from 0 to 1"),
            _ => rules.number(&path, value, true, "a finite number"),
        }
    }
}

fn robustness(robustness: &RobustnessSpec, rules: &mut Rules) {
    let RobustnessSpec { noise, missing: _, fgsm, pgd, pgd_steps, tolerated_loss, rows } = robustness;
    for (key, sizes) in [("noise", noise), ("fgsm", fgsm), ("pgd", pgd)] {
        let path = format!("evaluate.robustness.{key}");
        rules.require(sizes.len() <= SIZES_MAX, [&path], || {
            format!("`{path}` must have at most {SIZES_MAX} sizes, got {}", sizes.len())
        });
        for (index, size) in sizes.iter().enumerate().take(SIZES_MAX) {
            let fits = *size > 0.0 && size.is_finite();
            rules.require(fits, [&format!("{path}[{index}]")], || {
                format!("`{path}` must have sizes above 0, got {size}")
            });
        }
    }
    rules.whole("evaluate.robustness.pgd_steps", *pgd_steps, 1..=1_000);
    let (path, loss) = ("evaluate.robustness.tolerated_loss", *tolerated_loss);
    rules.number(path, loss, (0.0..=1.0).contains(&loss), "from 0 to 1");
    rules.whole("evaluate.robustness.rows", *rows, 1..=ROWS_MAX);
}
