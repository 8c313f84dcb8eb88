//! What all ranks find out together when training is over.

use phalanx_evaluate::robustness::Disturbance;
use phalanx_protocol::spec::{
    CalibrationSpec, EvaluateSpec, ImportanceSpec, RobustnessSpec, ThresholdGoal, ThresholdSpec,
};
use phalanx_train::Examined;

use crate::{
    MLP, finished, metrics,
    support::{ground, train},
};

/// Asks for everything.
fn everything() -> EvaluateSpec {
    EvaluateSpec {
        focus: Some("accuracy".to_owned()),
        threshold: Some(ThresholdSpec { goal: ThresholdGoal::Youden, ..ThresholdSpec::default() }),
        calibration: Some(CalibrationSpec::Temperature),
        importance: Some(ImportanceSpec { repeats: 2, gradient_steps: 20, ..ImportanceSpec::default() }),
        robustness: Some(RobustnessSpec {
            noise: vec![0.1, 1.0],
            fgsm: vec![0.5],
            pgd: vec![0.5],
            ..RobustnessSpec::default()
        }),
        ..EvaluateSpec::default()
    }
}

#[test]
fn everything_has_the_same_bits_on_any_number_of_ranks() {
    let mut ground = ground(MLP, r#""epochs": 20"#);
    ground.spec.evaluate = everything();
    let expected = finished(train(&ground, 1, None, None).0);
    for ranks in 2..=4 {
        assert_eq!(
            finished(train(&ground, ranks, None, None).0).examined,
            expected.examined,
            "{ranks} ranks"
        );
    }
    let Examined { decision, importance, gradients, robustness, without, .. } = &expected.examined;
    assert!(without.is_empty(), "{without:?}");
    assert!(decision.temperature.is_some() && decision.threshold.is_some());
    let accuracy = metrics(&expected)["accuracy"];
    assert!(accuracy > 0.85, "it has learned: {accuracy}");

    let (rows, importance) = importance.as_ref().expect("it was asked for");
    assert_eq!((*rows, importance.baseline), (60, accuracy));
    assert!(importance.columns.iter().all(|column| column.importance > 0.1), "both matter: {importance:?}");

    let (_, below) = &gradients["below"];
    assert!(below.completeness_gap < 0.02, "attributions sum to the change: {below:?}");
    assert!(below.columns.iter().all(|column| column.share > 0.2), "both contribute: {below:?}");

    let (_, robustness) = robustness.as_ref().expect("it was asked for");
    let value = |wanted: &dyn Fn(&Disturbance) -> bool| {
        let found = robustness.disturbed.iter().find(|disturbed| wanted(&disturbed.disturbance));
        found.expect("it is there").value
    };
    let fgsm = value(&|disturbance| matches!(disturbance, Disturbance::Fgsm { .. }));
    let pgd = value(&|disturbance| matches!(disturbance, Disturbance::Pgd { .. }));
    let noise = value(&|disturbance| *disturbance == Disturbance::Noise { deviation: 0.1 });
    assert!(fgsm < accuracy - 0.1, "a step along the gradient hurts: {fgsm} of {accuracy}");
    assert!(pgd <= fgsm + 0.02, "many steps hurt no less: {pgd} after {fgsm}");
    assert!(noise > fgsm, "a little noise hurts less: {noise}");
    let missing = |disturbed: &&phalanx_evaluate::robustness::Disturbed| {
        matches!(disturbed.disturbance, Disturbance::MissingColumn { .. })
    };
    assert_eq!(robustness.disturbed.iter().filter(missing).count(), 2);
}

#[test]
fn gradients_by_features_are_what_a_small_change_brings() {
    let ground = ground(MLP, r#""steps": 60"#);
    let learner = phalanx_train::Tasks::new().build(&ground.spec, ground.dataset.schema());
    let learner = learner.expect("the model is built");
    let batch = ground.dataset.gather(phalanx_data::Split::Test, &[0, 1, 2]).expect("it is mapped");
    let output = phalanx_train::Output::Class(1);
    let gradient = learner.input_gradient(&batch, output).expect("it asks for vectors");
    let phalanx_data::Features::Floats(values) = &batch.features else { panic!("a table has numbers") };
    let probabilities = |values: Vec<f32>| -> f64 {
        let batch = phalanx_data::Batch { features: phalanx_data::Features::Floats(values), ..batch.clone() };
        let scores = learner.scores(&batch);
        let of = |row: &[f32]| 1.0 / (1.0 + f64::from(row[0] - row[1]).exp());
        scores.chunks_exact(2).map(of).sum()
    };
    for (at, slope) in gradient.iter().enumerate() {
        let moved = |by: f32| {
            let mut values = values.clone();
            values[at] += by;
            probabilities(values)
        };
        let expected = (moved(0.01) - moved(-0.01)) / 0.02;
        assert!((f64::from(*slope) - expected).abs() < 2e-3, "feature {at}: {slope}, expected {expected}");
    }
}
