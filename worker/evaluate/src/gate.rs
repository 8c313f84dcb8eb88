//! The conditions that a model must meet to be registered. Owns no state.

use phalanx_protocol::{message::Metrics, spec::Gate};

/// The most metrics that a message lists: a data set with a thousand classes has
/// thousands.
const LISTED_MAX: usize = 40;

/// A gate that a model does not pass.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GateFailure {
    /// The metric is on the wrong side of the bound.
    #[error("gate `{gate}` failed: {} is {actual}", gate.metric)]
    NotMet {
        /// The condition.
        gate: Gate,
        /// The metric's value.
        actual: f64,
    },
    /// The metric does not fit the target, or has no value on these rows.
    #[error("gate `{gate}` failed: the test split has no {}; it has {known}", gate.metric)]
    NoSuchMetric {
        /// The condition.
        gate: Gate,
        /// The metrics that there are.
        known: String,
    },
}

/// The gates that `metrics` do not meet, in the order of `gates`.
pub fn gate_failures(gates: &[Gate], metrics: &Metrics) -> Vec<GateFailure> {
    gates.iter().filter_map(|gate| failure(gate, metrics)).collect()
}

fn failure(gate: &Gate, metrics: &Metrics) -> Option<GateFailure> {
    match metrics.get(&gate.metric) {
        Some(value) if gate.holds(*value) => None,
        Some(value) => Some(GateFailure::NotMet { gate: gate.clone(), actual: *value }),
        None => Some(GateFailure::NoSuchMetric { gate: gate.clone(), known: listed(metrics) }),
    }
}

/// The names of `metrics`, those of single classes last.
fn listed(metrics: &Metrics) -> String {
    if metrics.is_empty() {
        return "none".to_owned();
    }
    let (of_classes, mut names): (Vec<&str>, Vec<&str>) =
        metrics.keys().map(String::as_str).partition(|name| name.ends_with(']'));
    names.extend(of_classes);
    let left_out = names.len().saturating_sub(LISTED_MAX);
    names.truncate(LISTED_MAX);
    let more = if left_out == 0 { String::new() } else { format!(" and {left_out} more") };
    format!("{}{more}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(gates: &[&str], metrics: &[(&str, f64)], expected: &[&str]) {
        let gates: Vec<Gate> = gates.iter().map(|gate| gate.parse().unwrap()).collect();
        let metrics = metrics.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        let failures = gate_failures(&gates, &metrics);
        assert_eq!(failures.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn met_gates_are_not_reported() {
        check(&["accuracy >= 0.95", "log_loss < 0.2"], &[("accuracy", 0.95), ("log_loss", 0.1)], &[]);
    }

    #[test]
    fn missed_gates_are_reported_in_order_with_the_value() {
        check(
            &["log_loss < 0.1", "accuracy > 0.5", "f1[a] >= 0.5"],
            &[("log_loss", 0.1), ("accuracy", 0.7), ("f1[a]", 0.25)],
            &["gate `log_loss < 0.1` failed: log_loss is 0.1", "gate `f1[a] >= 0.5` failed: f1[a] is 0.25"],
        );
    }

    #[test]
    fn a_gate_on_an_unknown_metric_fails_and_lists_the_known_ones() {
        check(
            &["acuracy >= 0.9"],
            &[("accuracy", 1.0), ("f1[a]", 1.0), ("log_loss", 0.1)],
            &[
                "gate `acuracy >= 0.9` failed: the test split has no acuracy; it has accuracy, log_loss, f1[a]",
            ],
        );
        check(&["mse < 1"], &[], &["gate `mse < 1` failed: the test split has no mse; it has none"]);
    }

    #[test]
    fn nan_meets_no_gate() {
        check(&["mse < 1"], &[("mse", f64::NAN)], &["gate `mse < 1` failed: mse is NaN"]);
    }

    #[test]
    fn a_thousand_metrics_are_not_all_listed() {
        let metrics: Metrics = (0..1_000).map(|class| (format!("f1[{class}]"), 0.0)).collect();
        assert!(listed(&metrics).ends_with(" and 960 more"));
    }
}
