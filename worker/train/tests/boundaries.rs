//! Gradients that are handed over at boundaries have the bits of those that are handed
//! over at the end, and are handed over before it.

use std::{cell::RefCell, rc::Rc};

use burn::{
    module::Module,
    nn::{Linear, LinearConfig},
    tensor::{Device, Tensor},
};
use phalanx_collective::Buffer;
use phalanx_data::{Batch, FeatureKind, Features, Schema, TargetKind, Targets};
use phalanx_protocol::spec::JobSpec;
use phalanx_train::{Learner, Samples, Task, Tasks, TrainError, boundary};

fn learner(model: &str, precision: &str, bucket_bytes: u32, schema: &Schema) -> Box<dyn Learner> {
    let json = format!(
        r#"{{"name": "boundaries", "data": {{}}, "model": {model},
            "train": {{"batch_size": 4, "steps": 1, "learning_rate": 0.001,
                       "precision": "{precision}", "bucket_bytes": {bucket_bytes}}}}}"#
    );
    let spec: JobSpec = serde_json::from_str(&json).expect("a job");
    let tasks = Tasks::new().with("fickle", |_, _, device| Ok(Fickle::new(device)));
    tasks.build(&spec, schema).expect("the model fits")
}

/// The buckets as they come.
fn gradient(learner: &mut dyn Learner, batch: &Batch, seed: u64) -> Result<Vec<Buffer>, TrainError> {
    let buckets = Rc::new(RefCell::new(Vec::new()));
    let ready = {
        let buckets = Rc::clone(&buckets);
        Box::new(move |nth, bucket| {
            let mut buckets = buckets.borrow_mut();
            assert_eq!(nth, buckets.len(), "in order");
            buckets.push(bucket);
        })
    };
    let memory = learner.layout().buckets();
    learner.gradient(batch, seed, memory, ready)?;
    Ok(buckets.take())
}

fn check(model: &str, schema: &Schema, batch: &Batch) {
    for precision in ["f32", "bf16"] {
        check_in(precision, model, schema, batch);
    }
}

fn check_in(precision: &str, model: &str, schema: &Schema, batch: &Batch) {
    let mut whole = learner(model, precision, 1 << 30, schema);
    let mut cut = learner(model, precision, 1_024, schema);
    assert_eq!(whole.layout().bucket_lens().len(), 1);
    assert!(cut.layout().bucket_lens().len() > 4, "{:?}", cut.layout().bucket_lens());
    for seed in 0..3 {
        let expected = gradient(whole.as_mut(), batch, seed).expect("a gradient");
        let actual = gradient(cut.as_mut(), batch, seed).expect("a gradient");
        let slots = whole.layout().slots().iter().zip(cut.layout().slots());
        for (expected_slot, slot) in slots {
            let path = &slot.path;
            assert_eq!(
                slot.place.of(&actual),
                expected_slot.place.of(&expected),
                "{path} of {model} in {precision}"
            );
        }
        assert_eq!(cut.layout().tail().of(&actual), whole.layout().tail().of(&expected));
        on_device(cut.as_mut(), batch, seed, &actual);
    }
}

/// What stays on the device has the bits of what is handed over.
fn on_device(learner: &mut dyn Learner, batch: &Batch, seed: u64, expected: &[Buffer]) {
    let tensors = learner.gradient_on_device(batch, seed, [0.0; 3]);
    let buckets: Vec<Vec<f32>> =
        tensors.into_iter().map(|bucket| bucket.into_data().try_into_vec().expect("f32")).collect();
    assert!(buckets.iter().map(Vec::as_slice).eq(expected.iter().map(AsRef::as_ref)));
}

#[test]
fn every_model_gives_the_same_gradients_in_many_buckets_as_in_one() {
    let classes = TargetKind::Classes(vec!["a".into(), "b".into()]);
    let labels = Targets::Classes(vec![0, 1, 1, 0]);

    let dense = Schema { features: FeatureKind::Dense { width: 20 }, target: classes.clone() };
    let floats = (0..80).map(|at| (at * at % 17) as f32 / 17.0).collect();
    let batch = Batch::new(4, Features::Floats(floats), labels.clone());
    check(r#"{"mlp": {"hidden": [24, 24, 24], "dropout": 0.1}}"#, &dense, &batch);

    let image = FeatureKind::Image { shape: [1, 16, 16], mean: vec![0.5], deviation: vec![0.3] };
    let images = Schema { features: image, target: classes };
    let pixels = (0..4 * 256).map(|at| (at * at % 251) as u8).collect();
    let batch = Batch::new(4, Features::Bytes(pixels), labels);
    check(
        r#"{"cnn": {"norm": "batch", "dropout": 0.1, "channels": [8, 16], "hidden": [16]}}"#,
        &images,
        &batch,
    );

    let text = Schema { features: FeatureKind::Bytes { context: 16 }, target: TargetKind::NextByte };
    let bytes: Vec<u8> = (0..64).map(|at| (at * at % 251) as u8).collect();
    let batch = Batch::new(4, Features::Bytes(bytes.clone()), Targets::Bytes(bytes));
    // Tied: the embedding is used above all boundaries and below.
    for (tied, positions) in [(true, "learned"), (false, "rope")] {
        let model = format!(
            r#"{{"gpt": {{"layers": 3, "heads": 2, "width": 16, "dropout": 0.1, "positions": "{positions}", "tied": {tied}}}}}"#
        );
        check(&model, &text, &batch);
    }
}

/// A model that uses its first layer a second time for a batch that begins with 9.
#[derive(Module, Debug)]
struct Fickle {
    first: Linear,
    second: Linear,
    third: Linear,
}

impl Fickle {
    fn new(device: &Device) -> Self {
        let layer = || LinearConfig::new(20, 20).with_bias(false).init(device);
        Self { first: layer(), second: layer(), third: LinearConfig::new(20, 1).init(device) }
    }
}

impl Task for Fickle {
    fn scores(&self, samples: &Samples<'_>) -> Tensor<2> {
        let x = samples.vectors();
        let odd = x.clone().into_data().as_slice::<f32>().expect("it is of f32")[0] == 9.0;
        let x = self.first.forward(x);
        let x = if odd { self.second.forward(x) } else { x };
        self.third.forward(self.second.forward(boundary(x)))
    }
}

#[test]
fn a_gradient_that_was_not_final_is_an_error_and_not_a_wrong_sum() {
    let target = TargetKind::Number { mean: 0.0, deviation: 1.0 };
    let schema = Schema { features: FeatureKind::Dense { width: 20 }, target };
    let mut learner = learner(r#"{"custom": {"task": "fickle"}}"#, "f32", 1_024, &schema);
    let batch = |first: f32| {
        let mut floats = vec![0.5; 80];
        floats[0] = first;
        Batch::new(4, Features::Floats(floats), Targets::Numbers(vec![1.0; 4]))
    };
    gradient(learner.as_mut(), &batch(1.0), 0).expect("the second layer is used above the boundary only");
    let error = gradient(learner.as_mut(), &batch(9.0), 0).expect_err("it is used below, too");
    assert!(matches!(&error, TrainError::Boundary { path } if path == "second.weight"), "{error}");
}
