//! burn's optimizers from the job file, and their state by parameter path.

use burn::{
    optim::{
        AdaGradConfig, AdamConfig, AdamWConfig, ModuleOptimizer, OptimizerRecord, RmsPropConfig, SgdConfig,
        decay::WeightDecayConfig, momentum::MomentumConfig,
    },
    tensor::TensorData,
};
use burn_pack::{Reader, Scalar, Writer};
use phalanx_protocol::spec::{Optimizer, OptimizerSpec};

use crate::{
    layout::Layout,
    state::{Number, State},
};

/// The usual term in the denominator of Adam (arXiv 1412.6980).
const EPSILON: f64 = 1e-8;

/// The optimizer that the job file describes.
pub(crate) fn build(spec: &OptimizerSpec) -> ModuleOptimizer {
    let decay = (spec.weight_decay > 0.0).then(|| WeightDecayConfig::new(spec.weight_decay as f32));
    let beta_1 = spec.beta_1.unwrap_or(0.9) as f32;
    let beta_2 = spec.beta_2.unwrap_or(0.999) as f32;
    let epsilon = spec.epsilon.unwrap_or(EPSILON) as f32;
    match spec.kind {
        Optimizer::Sgd => {
            let momentum = spec.momentum.map(|momentum| {
                MomentumConfig::new()
                    .with_momentum(momentum)
                    .with_dampening(0.0)
                    .with_nesterov(spec.nesterov.unwrap_or(false))
            });
            SgdConfig::new().with_weight_decay(decay).with_momentum(momentum).init()
        }
        Optimizer::Adam => AdamConfig::new()
            .with_beta_1(beta_1)
            .with_beta_2(beta_2)
            .with_epsilon(epsilon)
            .with_weight_decay(decay)
            .init(),
        Optimizer::Adamw => AdamWConfig::new()
            .with_beta_1(beta_1)
            .with_beta_2(beta_2)
            .with_epsilon(epsilon)
            .with_weight_decay(spec.weight_decay as f32)
            .init(),
        Optimizer::Adagrad => AdaGradConfig::new().with_epsilon(epsilon).with_weight_decay(decay).init(),
        Optimizer::Rmsprop => RmsPropConfig::new()
            .with_momentum(spec.momentum.unwrap_or(0.0) as f32)
            .with_epsilon(epsilon)
            .with_weight_decay(decay)
            .init(),
    }
}

/// Adds the optimizer's state to `state`. burn names it `<parameter id>.<field>`;
/// we name it by the parameter's path.
pub(crate) fn save(optimizer: &ModuleOptimizer, layout: &Layout, state: &mut State) {
    let bytes = optimizer.into_bytes().expect("invariant: an optimizer's state fits in memory");
    let reader = Reader::from_bytes(bytes).expect("invariant: burn reads what it has written");
    for (name, scalar) in reader.scalars() {
        if let Some((path, field)) = named(layout, name) {
            state.insert_scalar(path, field, number(*scalar));
        }
    }
    for tensor in reader.into_tensors().expect("invariant: burn reads what it has written") {
        let parts = tensor.into_parts().expect("invariant: burn reads what it has written");
        let (name, dtype, shape, _, bytes) = parts;
        if let Some((path, field)) = named(layout, &name) {
            state.insert_moment(path, field, TensorData::from_bytes(bytes, shape, dtype));
        }
    }
}

/// `optimizer` with the state that [`save`] put into `state`.
pub(crate) fn load(optimizer: ModuleOptimizer, layout: &Layout, state: &State) -> ModuleOptimizer {
    let mut tensors = Vec::new();
    for (id, slot) in layout.slots().iter().enumerate() {
        for (field, data) in state.moments(&slot.path) {
            let (bytes, shape, dtype) = data.into_parts();
            let name = format!("{id}.{field}");
            tensors.push(burn_pack::Tensor::new(name, dtype, shape, Some(id as u64), bytes));
        }
    }
    let mut writer = Writer::new(tensors);
    for (id, slot) in layout.slots().iter().enumerate() {
        for (field, value) in state.scalars(&slot.path) {
            writer = writer.with_scalar(&format!("{id}.{field}"), scalar(value));
        }
        writer = writer.with_metadata(&id.to_string(), &slot.path);
    }
    let bytes = writer.into_bytes().expect("invariant: an optimizer's state fits in memory");
    let record = OptimizerRecord::from_bytes(bytes).expect("invariant: burn reads what it has written");
    optimizer.load_record(record)
}

/// Path and field of a name that burn gave.
fn named<'a>(layout: &'a Layout, name: &'a str) -> Option<(&'a str, &'a str)> {
    let (id, field) = name.split_once('.')?;
    Some((&layout.by_id(id.parse().ok()?)?.path, field))
}

fn number(scalar: Scalar) -> Number {
    match scalar {
        Scalar::Int(value) => Number::Int(value),
        Scalar::UInt(value) => Number::UInt(value),
        Scalar::Float(value) => Number::Float(value),
        Scalar::Bool(value) => Number::Bool(value),
    }
}

fn scalar(number: Number) -> Scalar {
    match number {
        Number::Int(value) => Scalar::Int(value),
        Number::UInt(value) => Scalar::UInt(value),
        Number::Float(value) => Scalar::Float(value),
        Number::Bool(value) => Scalar::Bool(value),
    }
}
