//! What a caller sees of [`evaluate`]: small cases worked out by hand, degenerate
//! ones, and predictions that are refused.

use phalanx_evaluate::{
    ClassColumns, ClassScores, EvaluateError, NextBytes, NumberColumns, Numbers, Predictions, evaluate,
    evaluate_also, metrics::classes::ClassMeasure,
};
use phalanx_protocol::{
    message::Metrics,
    spec::{METRICS, MeasuredOn, Metric, MetricName},
};
use proptest::prelude::*;

fn classes(names: &[&str], rows: &[(&[f32], u32)]) -> Predictions {
    Predictions::Classes(ClassScores {
        classes: names.iter().map(ToString::to_string).collect(),
        probabilities: rows.iter().flat_map(|(probabilities, _)| probabilities.iter().copied()).collect(),
        truths: rows.iter().map(|(_, truth)| *truth).collect(),
        threshold: None,
    })
}

fn numbers(rows: &[(f64, f64)]) -> Predictions {
    let (predictions, truths) = rows.iter().copied().unzip();
    Predictions::Numbers(Numbers { predictions, truths })
}

fn next_bytes(loss_nats: f64, bytes: u32) -> Predictions {
    Predictions::NextBytes(NextBytes { loss_nats: vec![loss_nats], bytes: vec![bytes] })
}

/// Asserts metrics to 1e-12, and which are undefined for which reason.
fn check(predictions: &Predictions, expected: &[(&str, f64)], undefined: &[(&str, &str)]) {
    let evaluation = evaluate(predictions).expect("the predictions can be measured");
    for (name, value) in expected {
        let actual = evaluation.metrics[*name];
        assert!((actual - value).abs() <= 1e-12, "{name} is {actual}, expected {value}");
    }
    let actual: Vec<_> =
        evaluation.undefined.iter().map(|(name, reason)| (name.as_str(), reason.as_str())).collect();
    assert_eq!(actual, undefined);
    assert!(undefined.iter().all(|(name, _)| !evaluation.metrics.contains_key(*name)));
}

fn check_refused(predictions: &Predictions, message: &str) {
    assert_eq!(evaluate(predictions).map_err(|error| error.to_string()), Err(message.to_owned()));
}

#[test]
fn binary_metrics_are_those_worked_out_by_hand() {
    let predictions = classes(
        &["no", "yes"],
        &[(&[0.75, 0.25], 0), (&[0.25, 0.75], 0), (&[0.25, 0.75], 1), (&[0.0, 1.0], 1)],
    );
    check(
        &predictions,
        &[
            ("accuracy", 0.75),
            ("precision[no]", 1.0),
            ("precision[yes]", 2.0 / 3.0),
            ("precision", 5.0 / 6.0),
            ("recall[no]", 0.5),
            ("recall[yes]", 1.0),
            ("recall", 0.75),
            ("f1[no]", 2.0 / 3.0),
            ("f1[yes]", 0.8),
            ("f1", (2.0 / 3.0 + 0.8) / 2.0),
            ("roc_auc", 0.875),
            ("log_loss", (0.75_f64.ln() * -2.0 - 0.25_f64.ln() + f64::from(f32::EPSILON)) / 4.0),
        ],
        &[],
    );
    let confusion = evaluate(&predictions).unwrap().confusion.unwrap();
    assert_eq!(confusion.classes, ["no", "yes"]);
    assert_eq!(confusion.counts, [[1, 1], [0, 2]]);
}

#[test]
fn the_first_of_equally_probable_classes_is_predicted() {
    let predictions = classes(&["a", "b", "c"], &[(&[0.2, 0.4, 0.4], 1), (&[0.2, 0.4, 0.4], 2)]);
    assert_eq!(evaluate(&predictions).unwrap().confusion.unwrap().counts, [[0, 0, 0], [0, 1, 0], [0, 1, 0]]);
}

#[test]
fn a_class_without_rows_leaves_its_roc_auc_and_the_mean_undefined() {
    let predictions = classes(&["a", "b", "c"], &[(&[0.5, 0.25, 0.25], 0), (&[0.25, 0.5, 0.25], 1)]);
    check(
        &predictions,
        &[("roc_auc[a]", 1.0), ("roc_auc[b]", 1.0), ("recall[c]", 0.0), ("f1", 2.0 / 3.0)],
        &[("roc_auc", "no row is of class `c`"), ("roc_auc[c]", "no row is of class `c`")],
    );
}

#[test]
fn rows_of_one_class_only_leave_the_roc_auc_undefined() {
    let all = classes(&["no", "yes"], &[(&[0.5, 0.5], 1)]);
    check(
        &all,
        &[("accuracy", 0.0), ("log_loss", 2.0_f64.ln())],
        &[("roc_auc", "every row is of class `yes`")],
    );
    let none = classes(&["no", "yes"], &[(&[0.5, 0.5], 0)]);
    check(&none, &[("accuracy", 1.0)], &[("roc_auc", "no row is of class `yes`")]);
}

#[test]
fn a_single_class_has_neither_log_loss_nor_roc_auc() {
    let reason = "it needs at least two classes";
    check(
        &classes(&["only"], &[(&[1.0], 0)]),
        &[("accuracy", 1.0)],
        &[("log_loss", reason), ("roc_auc", reason)],
    );
}

#[test]
fn regression_metrics_are_those_worked_out_by_hand() {
    check(
        &numbers(&[(2.0, 1.0), (2.0, 2.0), (2.0, 3.0), (6.0, 4.0)]),
        &[("mse", 1.5), ("rmse", 1.5_f64.sqrt()), ("mae", 1.0), ("r2", 1.0 - 6.0 / 5.0)],
        &[],
    );
}

#[test]
fn truths_that_do_not_vary_have_an_r2_of_one_or_zero() {
    check(&numbers(&[(0.1, 0.1), (0.1, 0.1), (0.1, 0.1)]), &[("r2", 1.0), ("mse", 0.0)], &[]);
    check(&numbers(&[(0.2, 0.1), (0.1, 0.1), (0.1, 0.1)]), &[("r2", 0.0)], &[]);
    check(&numbers(&[(1.0, 3.0)]), &[("mse", 4.0)], &[("r2", "it needs at least two rows")]);
}

#[test]
fn values_too_large_for_a_float_are_undefined_and_not_infinite() {
    let reason = "its value is too large for a 64-bit float";
    check(
        &numbers(&[(1e200, -1e200), (0.0, 0.0)]),
        &[("mae", 1e200)],
        &[("mse", reason), ("r2", reason), ("rmse", reason)],
    );
    check(&next_bytes(1e6, 1), &[("bits_per_byte", 1e6 / 2.0_f64.ln())], &[("perplexity", reason)]);
}

#[test]
fn bits_per_byte_and_perplexity_of_a_uniform_guess_are_8_and_256() {
    let predictions = next_bytes(1_000.0 * 256.0_f64.ln(), 1_000);
    check(&predictions, &[("bits_per_byte", 8.0)], &[]);
    assert!((evaluate(&predictions).unwrap().metrics["perplexity"] - 256.0).abs() < 1e-9);
}

#[test]
fn predictions_that_are_none_are_refused_with_their_row() {
    let check = |row: &[f32], message| {
        check_refused(&classes(&["a", "b"], &[(&[0.5, 0.5], 0), (row, 1)]), message);
    };
    check(&[0.5, f32::NAN], "row 1: the model gives class `b` the probability NaN, expected 0 to 1");
    check(&[1.5, -0.5], "row 1: the model gives class `a` the probability 1.5, expected 0 to 1");
    check(&[0.25, 0.25], "row 1: the probabilities sum to 0.5, expected 1");
    let nan = numbers(&[(1.0, 1.0), (f64::NAN, 1.0)]);
    check_refused(&nan, "row 1: the model predicts NaN, expected a finite number");
    let infinite = numbers(&[(1.0, f64::INFINITY)]);
    check_refused(&infinite, "row 0: the truth is inf, expected a finite number");
    check_refused(
        &next_bytes(f64::NAN, 7),
        "the loss over 7 bytes is NaN nats, expected a finite number of at least 0",
    );
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    check_refused(&classes(&["a", "b"], &[]), "there is no row to evaluate: expected at least one");
    check_refused(&numbers(&[]), "there is no row to evaluate: expected at least one");
    check_refused(&next_bytes(0.0, 0), "there is no row to evaluate: expected at least one");
    check_refused(&classes(&[], &[(&[], 0)]), "0 classes cannot be evaluated: expected 1 to 1000");
    let one_short = classes(&["a", "b"], &[(&[1.0], 0)]);
    check_refused(&one_short, "1 rows need 2 predictions, found 1");
    let unknown = classes(&["a", "b"], &[(&[0.5, 0.5], 2)]);
    check_refused(&unknown, "row 0: the true class has index 2, but there are 2 classes");
    let twice = classes(&["a", "a"], &[(&[0.5, 0.5], 0)]);
    check_refused(&twice, "two classes are called `a`: every class needs a name of its own");
}

/// Every metric's name, as short as may be.
fn all_names() -> Vec<MetricName> {
    let name = |metric: &Metric| {
        let parsed = MetricName::parse(metric.name);
        parsed.or_else(|_| MetricName::parse(&format!("{}@1", metric.name))).expect("a name of the table")
    };
    METRICS.iter().map(name).collect()
}

#[test]
fn every_metric_of_the_table_is_measured_or_undefined_where_it_fits() {
    let two = classes(&["no", "yes"], &[(&[0.75, 0.25], 0), (&[0.25, 0.75], 0), (&[0.25, 0.75], 1)]);
    let three =
        classes(&["a", "b", "c"], &[(&[0.5, 0.25, 0.25], 0), (&[0.0, 1.0, 0.0], 1), (&[0.0, 0.5, 0.5], 2)]);
    let values = numbers(&[(1.0, 1.0), (1.0, 2.0), (2.5, 4.0)]);
    for (predictions, on, unfit) in [
        (two, MeasuredOn::Classes, "it is not one of a target of classes"),
        (three, MeasuredOn::Classes, "it is not one of a target of classes"),
        (values, MeasuredOn::Numbers, "it is not one of a target of numbers"),
        (next_bytes(1.0, 1), MeasuredOn::Text, "it is not one of a text"),
    ] {
        let evaluation = evaluate_also(&predictions, &all_names()).unwrap();
        for name in all_names() {
            let (written, measured_on) = (name.to_string(), name.metric.measured_on);
            let reason = evaluation.undefined.get(&written).map(String::as_str);
            let is_there = evaluation.metrics.contains_key(&written);
            if measured_on == MeasuredOn::Everything {
                assert!(!is_there && reason.is_none(), "loss is training's");
            } else if measured_on == on {
                assert!(is_there != (reason.is_some() && reason != Some(unfit)), "{written}: {reason:?}");
            } else {
                assert_eq!((is_there, reason), (false, Some(unfit)), "{written}");
            }
        }
    }
}

#[test]
fn a_name_of_no_class_is_undefined_with_the_classes() {
    let predictions = classes(&["a", "b"], &[(&[0.5, 0.5], 0), (&[0.0, 1.0], 1)]);
    let names = [MetricName::parse("f1[c]").unwrap(), MetricName::parse("f_beta@2[b]").unwrap()];
    let evaluation = evaluate_also(&predictions, &names).unwrap();
    assert_eq!(evaluation.undefined["f1[c]"], "it names none of the classes, which are `a`, `b`");
    assert_eq!(evaluation.metrics["f_beta@2[b]"], 1.0);
}

#[test]
fn a_measure_can_travel_before_it_is_merged() {
    let names = vec![MetricName::parse("average_precision").unwrap(), MetricName::parse("mape").unwrap()];
    let known = vec!["a".to_owned(), "b".to_owned()];
    assert!(matches!(
        ClassMeasure::new(known.clone(), names.clone()),
        Err(EvaluateError::NoSuchMetric { .. })
    ));
    let mut measure = ClassMeasure::new(known.clone(), names[..1].to_vec()).unwrap();
    let rows = [0.1, 0.9, 0.7, 0.3, 0.4, 0.6];
    measure.update(&ClassColumns::new(&known, &rows, &[1, 0, 1], Some(&[1.0, 0.1, 0.7])).unwrap()).unwrap();
    let travelled: ClassMeasure = serde_json::from_str(&serde_json::to_string(&measure).unwrap()).unwrap();
    assert_eq!(travelled.finish(), measure.finish());
    let mut other = ClassMeasure::new(known, names[..1].to_vec()).unwrap();
    other.merge(&travelled).unwrap();
    assert_eq!(other.finish(), measure.finish());
}

#[test]
fn weights_that_are_none_are_refused_with_their_row() {
    let refused = |weights: &[f64]| NumberColumns::new(&[1.0, 2.0], &[1.0, 2.0], Some(weights)).unwrap_err();
    let message = "row 1: the weight is -1, expected a finite number of at least 0";
    assert_eq!(refused(&[1.0, -1.0]).to_string(), message);
    assert_eq!(refused(&[1.0]).to_string(), "2 rows need as many weights, found 1");
}

#[test]
fn every_metric_is_named_as_the_protocol_does() {
    let known = |metrics: &Metrics| metrics.keys().all(|name| Metric::named(name).is_some());
    let three =
        classes(&["a", "b", "c"], &[(&[1.0, 0.0, 0.0], 0), (&[0.0, 1.0, 0.0], 1), (&[0.0, 0.0, 1.0], 2)]);
    for predictions in [three, numbers(&[(1.0, 1.0), (1.0, 2.0)]), next_bytes(1.0, 1)] {
        assert!(known(&evaluate(&predictions).unwrap().metrics), "{predictions:?}");
    }
}

proptest! {
    #[test]
    fn whatever_comes_in_is_measured_or_refused_without_a_panic(
        classes in 0_usize..4,
        probabilities in prop::collection::vec(any::<f32>(), 0..12),
        truths in prop::collection::vec(0_u32..4, 0..6),
    ) {
        let classes = (0..classes).map(|class| class.to_string()).collect();
        let scores = Predictions::Classes(ClassScores { classes, probabilities, truths, threshold: None });
        let _: Result<_, EvaluateError> = evaluate(&scores);
    }

    #[test]
    fn whatever_numbers_come_in_no_metric_is_nan_or_infinite(
        rows in prop::collection::vec((any::<f64>(), any::<f64>()), 1..12),
    ) {
        if let Ok(evaluation) = evaluate(&numbers(&rows)) {
            prop_assert!(evaluation.metrics.values().all(|value| value.is_finite()));
        }
    }
}
