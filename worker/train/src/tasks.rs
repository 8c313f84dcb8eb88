//! The models that a worker binary knows: the built-in ones and its user's own.

use std::{collections::BTreeMap, fmt, sync::Arc};

use burn::tensor::Device;
use phalanx_data::Schema;
use phalanx_protocol::spec::{JobSpec, ModelSpec, SumOrder};

use crate::{
    device::ComputeDevice,
    error::BuildError,
    learner::{Learner, Model},
    models::{Cnn, Gpt, LinearModel, Mlp},
    precision, random,
    task::Task,
};

/// `[model.custom] settings`, as the job file has them.
pub type Settings = serde_json::Map<String, serde_json::Value>;

type Build =
    Arc<dyn Fn(&JobSpec, &Settings, &Schema, &Device) -> Result<Box<dyn Learner>, BuildError> + Send + Sync>;

/// The user's own models, by name, and the device that all models are built on. The
/// built-in ones are always there.
#[derive(Clone, Default)]
pub struct Tasks {
    custom: BTreeMap<String, Build>,
    device: ComputeDevice,
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.custom.keys()).finish()
    }
}

impl Tasks {
    /// The built-in models alone, on the processor.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a model that job files call by `[model.custom] task = "name"`.
    ///
    /// `build` makes it from the job file's settings and the data set's schema, on
    /// the given device, drawing what is random from burn's generator; what it says
    /// is wrong ends the job.
    #[must_use]
    pub fn with<T: Task>(
        mut self,
        name: &str,
        build: impl Fn(&Settings, &Schema, &Device) -> Result<T, String> + Send + Sync + 'static,
    ) -> Self {
        let erased: Build = Arc::new(move |spec, settings, schema, device| {
            learner(spec, schema, device, |schema, device| build(settings, schema, device))
        });
        self.custom.insert(name.to_owned(), erased);
        self
    }

    /// Builds models on `device`, which [`ComputeDevice::open`] gives.
    #[must_use]
    pub fn on(mut self, device: ComputeDevice) -> Self {
        self.device = device;
        self
    }

    /// Where models are built.
    pub fn device(&self) -> &ComputeDevice {
        &self.device
    }

    /// # Errors
    ///
    /// Where gradients cannot be added up in this order: with `fast`, on a processor.
    pub(crate) fn check_order(&self, order: SumOrder) -> Result<(), BuildError> {
        if order == SumOrder::Exact || self.device.is_gpu() {
            return Ok(());
        }
        let reason = "`fast` leaves the sum to NCCL, which adds up what lies on GPUs, and this worker computes on its \
                      processor: leave it out, or start workers with `--device cuda:0`";
        Err(BuildError::Setting { setting: "reduction", reason: reason.to_owned() })
    }

    /// Names of the user's own models.
    pub fn names(&self) -> Vec<String> {
        self.custom.keys().cloned().collect()
    }

    /// The model that `spec` asks for, initialised from its seed.
    ///
    /// # Errors
    ///
    /// Where the model is not known, does not fit the data, or the optimizer
    /// refuses its settings.
    pub fn build(&self, spec: &JobSpec, schema: &Schema) -> Result<Box<dyn Learner>, BuildError> {
        let device = self.device.burn();
        match &spec.model {
            ModelSpec::Linear(model) => {
                learner(spec, schema, device, |s, d| Ok(LinearModel::new(model, s, d)))
            }
            ModelSpec::Mlp(model) => learner(spec, schema, device, |s, d| Ok(Mlp::new(model, s, d))),
            ModelSpec::Cnn(model) => learner(spec, schema, device, |s, d| Cnn::new(model, s, d)),
            ModelSpec::Gpt(model) => learner(spec, schema, device, |s, d| Gpt::new(model, s, d)),
            ModelSpec::Custom(model) => {
                let build = self.custom.get(&model.task).ok_or_else(|| self.unknown(&model.task))?;
                build(spec, &model.settings, schema, device)
            }
        }
    }

    fn unknown(&self, task: &str) -> BuildError {
        let names = self.names();
        let known = if names.is_empty() { "the built-in models only".to_owned() } else { names.join(", ") };
        BuildError::UnknownTask { task: task.to_owned(), known }
    }
}

fn learner<T: Task>(
    spec: &JobSpec,
    schema: &Schema,
    device: &Device,
    build: impl FnOnce(&Schema, &Device) -> Result<T, String>,
) -> Result<Box<dyn Learner>, BuildError> {
    precision::check(spec.train.precision, device)?;
    let unfit = |reason| BuildError::Unfit { model: spec.model.kind().to_owned(), reason };
    // burn initialises parameters when they are first used: in here.
    let _drawing = random::seeded(device, spec.train.seed);
    let module = build(schema, &device.clone().autodiff()).map_err(unfit)?;
    let model = Model::new(module, &spec.train, schema.clone(), device.clone()).map_err(unfit)?;
    Ok(Box::new(model))
}
