//! burn's optimizers from the job file, and their state by parameter path.

use burn::{
    module::{ParamGroup, ParamId},
    optim::{
        AdaGradConfig, AdafactorConfig, AdamConfig, AdamWConfig, AdanConfig, AdjustLrFn, LambConfig,
        LionConfig, ModuleOptimizer, MuonConfig, OptimizerRecord, RmsPropConfig, SgdConfig,
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

/// The optimizer that the job file describes, for a model of this layout.
pub(crate) fn build(spec: &OptimizerSpec, layout: &Layout) -> ModuleOptimizer {
    let weight_decay = spec.weight_decay as f32;
    let penalty = (weight_decay > 0.0).then(|| WeightDecayConfig::new(weight_decay));
    let or = |setting: Option<f64>, usual: f32| setting.map_or(usual, |value| value as f32);
    let momentum = |momentum: f64, nesterov: bool| {
        MomentumConfig::new().with_momentum(momentum).with_dampening(0.0).with_nesterov(nesterov)
    };
    match spec.kind {
        Optimizer::Sgd => {
            let momentum = spec.momentum.map(|value| momentum(value, spec.nesterov.unwrap_or(false)));
            SgdConfig::new().with_weight_decay(penalty).with_momentum(momentum).init()
        }
        Optimizer::Adam => AdamConfig::new()
            .with_beta_1(or(spec.beta_1, 0.9))
            .with_beta_2(or(spec.beta_2, 0.999))
            .with_epsilon(or(spec.epsilon, 1e-8))
            .with_weight_decay(penalty)
            .init(),
        Optimizer::Adamw => adamw(spec).init(),
        Optimizer::Adagrad => {
            AdaGradConfig::new().with_epsilon(or(spec.epsilon, 1e-8)).with_weight_decay(penalty).init()
        }
        Optimizer::Rmsprop => RmsPropConfig::new()
            .with_momentum(or(spec.momentum, 0.0))
            .with_epsilon(or(spec.epsilon, 1e-8))
            .with_weight_decay(penalty)
            .init(),
        Optimizer::Adan => AdanConfig::new()
            .with_beta_1(or(spec.beta_1, 0.98))
            .with_beta_2(or(spec.beta_2, 0.92))
            .with_epsilon(or(spec.epsilon, 1e-8))
            .with_weight_decay(weight_decay)
            .init(),
        // The schedule decides the rate, not the optimizer.
        Optimizer::Adafactor => AdafactorConfig::new()
            .with_relative_step(false)
            .with_scale_parameter(false)
            .with_weight_decay(weight_decay)
            .init(),
        Optimizer::Lamb => LambConfig::new()
            .with_beta_1(or(spec.beta_1, 0.9))
            .with_beta_2(or(spec.beta_2, 0.999))
            .with_epsilon(or(spec.epsilon, 1e-6))
            .with_weight_decay(weight_decay)
            .init(),
        Optimizer::Lion => LionConfig::new()
            .with_beta_1(or(spec.beta_1, 0.9))
            .with_beta_2(or(spec.beta_2, 0.99))
            .with_weight_decay(weight_decay)
            .init(),
        Optimizer::Muon => {
            let muon = MuonConfig::new()
                .with_momentum(momentum(spec.momentum.unwrap_or(0.95), spec.nesterov.unwrap_or(true)))
                .with_adjust_lr_fn(AdjustLrFn::MatchRmsAdamW)
                .with_weight_decay(penalty);
            adamw(spec).init().with_group(matrices(layout), muon.build(), None)
        }
    }
}

fn adamw(spec: &OptimizerSpec) -> AdamWConfig {
    AdamWConfig::new()
        .with_beta_1(spec.beta_1.unwrap_or(0.9) as f32)
        .with_beta_2(spec.beta_2.unwrap_or(0.999) as f32)
        .with_epsilon(spec.epsilon.unwrap_or(1e-8) as f32)
        .with_weight_decay(spec.weight_decay as f32)
}

fn matrices(layout: &Layout) -> ParamGroup {
    let ids = (0..).zip(layout.slots()).filter(|(_, slot)| slot.shape.len() == 2);
    ParamGroup::from_ids(ids.map(|(id, _)| ParamId::from(id)).collect())
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
