//! What else is safe than one compute thread: the gradient's bits must not depend
//! on how many threads burn's kernels spread over.

use phalanx_data::{Batch, FeatureKind, Features, Schema, TargetKind, Targets};
use phalanx_protocol::spec::JobSpec;
use phalanx_train::Tasks;

fn spec(model: &str) -> JobSpec {
    let json = format!(
        r#"{{"name": "threads", "data": {{}}, "model": {model},
            "train": {{"batch_size": 32, "steps": 1, "learning_rate": 0.001}}}}"#
    );
    serde_json::from_str(&json).expect("a job")
}

fn classes() -> TargetKind {
    TargetKind::Classes((0..10).map(|class| class.to_string()).collect())
}

fn check(model: &str, schema: &Schema, batch: &Batch) {
    let mut learner = Tasks::new().build(&spec(model), schema).expect("the model fits");
    let mut bits = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be had");
        let (send, buckets) = std::sync::mpsc::channel();
        let memory = learner.layout().buckets();
        let gradient = || {
            let ready = Box::new(move |_, bucket: phalanx_collective::Buffer| {
                send.send(bucket.to_vec()).expect("it is received");
            });
            learner.gradient(batch, 7, memory, ready).expect("it has a gradient");
        };
        pool.install(gradient);
        buckets.into_iter().flatten().map(f32::to_bits).collect::<Vec<_>>()
    };
    let expected = bits(1);
    for threads in [2, 3, 4, 8] {
        assert!(bits(threads) == expected, "{model}: {threads} threads give other bits than one");
    }
}

fn pixels(rows: usize) -> Vec<u8> {
    (0..rows * 784).map(|at| (at * at % 251) as u8).collect()
}

/// One test, not three: burn has one random generator per process, and these
/// models draw from it.
#[test]
fn gradients_have_the_same_bits_on_any_number_of_threads() {
    let rows = 32;
    let labels = Targets::Classes((0..rows as u32).map(|row| row % 10).collect());

    let images = Schema {
        features: FeatureKind::Image { shape: [1, 28, 28], mean: vec![0.13], deviation: vec![0.3] },
        target: classes(),
    };
    let batch = Batch::new(rows, Features::Bytes(pixels(rows)), labels.clone());
    check(r#"{"cnn": {"norm": "batch", "dropout": 0.1}}"#, &images, &batch);

    let dense = Schema { features: FeatureKind::Dense { width: 784 }, target: classes() };
    let floats = pixels(rows).into_iter().map(|pixel| f32::from(pixel) / 255.0).collect();
    let batch = Batch::new(rows, Features::Floats(floats), labels);
    check(r#"{"mlp": {"hidden": [512, 512], "dropout": 0.1}}"#, &dense, &batch);

    let text = Schema { features: FeatureKind::Bytes { context: 128 }, target: TargetKind::NextByte };
    let bytes = pixels(2)[..8 * 128].to_vec();
    let batch = Batch::new(8, Features::Bytes(bytes.clone()), Targets::Bytes(bytes));
    check(r#"{"gpt": {"layers": 2, "dropout": 0.1}}"#, &text, &batch);
}
