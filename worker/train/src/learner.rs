//! A model with its optimizer, behind an interface of flat vectors: what the
//! step needs of it, whatever the model is.

use burn::{
    optim::{GradientsParams, ModuleOptimizer},
    tensor::{Device, Tensor, TensorData},
};
use phalanx_data::{Batch, Schema};
use phalanx_protocol::spec::OptimizerSpec;

use crate::{
    error::SnapshotError,
    layout::{self, Layout},
    optimizer, random,
    state::State,
    task::{Samples, Task},
};

/// A model that learns. Vectors are laid out as [`Layout`] says: gradients of the
/// trained tensors, then changes of the others.
pub trait Learner: Send {
    /// The model's tensors.
    fn layout(&self) -> &Layout;

    /// What the model knows of its data set.
    fn schema(&self) -> &Schema;

    /// Computes the mean loss over one lane's `batch`, which it returns, and writes
    /// its gradient, and by how much the forward pass changed the other tensors,
    /// into `flat` (`layout().len()` numbers). `seed` decides all randomness. Nothing that
    /// belongs to the state changes.
    fn gradient(&mut self, batch: &Batch, seed: u64, flat: &mut [f32]) -> f32;

    /// Makes one optimizer update from the mean over all lanes of what
    /// [`gradient`](Self::gradient) wrote.
    fn update(&mut self, learning_rate: f64, mean: &[f32]);

    /// The scores of `batch` without training, row by row.
    fn scores(&self, batch: &Batch) -> Vec<f32>;

    /// The loss of `batch` for each score row that has a class (`-log p`), in order.
    fn surprise(&self, batch: &Batch) -> Vec<f32>;

    /// Gives parameters and optimizer state as they are now, whenever it is called.
    fn state(&self) -> Box<dyn FnOnce() -> State + Send>;

    /// Takes parameters and optimizer state, if it has any, from `state`.
    fn load(&mut self, state: &State) -> Result<(), SnapshotError>;
}

/// A task with its optimizer.
pub(crate) struct Model<T> {
    /// Absent only inside [`Learner::update`] and [`Learner::load`].
    module: Option<T>,
    optimizer: ModuleOptimizer,
    layout: Layout,
    /// What forward passes change, as it was after the last update; laid out as
    /// the whole flat vector, of which the trained part is not used.
    untrained: Vec<f32>,
    schema: Schema,
    /// Where it computes, without gradients.
    device: Device,
    training_device: Device,
}

impl<T: Task> Model<T> {
    /// # Errors
    ///
    /// Where the module keeps state that neither the reduction nor a checkpoint can carry.
    pub(crate) fn new(
        module: T,
        optimizer: &OptimizerSpec,
        schema: Schema,
        device: Device,
    ) -> Result<Self, String> {
        let module = layout::with_ids(module.materialize());
        let layout = Layout::of(&module)?;
        let mut untrained = Vec::new();
        if layout.len() > layout.trained_len() {
            untrained.resize(layout.len(), 0.0);
            layout.read_untrained(&module, &mut untrained);
        }
        let training_device = device.clone().autodiff();
        let optimizer = optimizer::build(optimizer, &layout);
        Ok(Self { module: Some(module), optimizer, layout, untrained, schema, device, training_device })
    }

    fn module(&self) -> &T {
        self.module.as_ref().expect("invariant: the module is absent only while it is replaced")
    }

    fn replace(&mut self, next: impl FnOnce(&mut Self, T) -> T) {
        let module = self.module.take().expect("invariant: the module is absent only while it is replaced");
        self.module = Some(next(self, module));
    }

    /// Undoes what the last forward pass changed.
    fn restore_untrained(&mut self) {
        if !self.untrained.is_empty() {
            self.replace(|model, module| model.layout.write_untrained(module, &model.untrained));
        }
    }
}

impl<T: Task> Learner for Model<T> {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn schema(&self) -> &Schema {
        &self.schema
    }

    fn gradient(&mut self, batch: &Batch, seed: u64, flat: &mut [f32]) -> f32 {
        self.restore_untrained();
        let samples = Samples::new(batch, &self.schema, &self.training_device);
        let drawing = random::seeded(&self.device, seed);
        let loss = self.module().loss(&samples);
        drop(drawing);
        let mut gradients = loss.backward();
        self.layout.read_gradients(self.module(), &mut gradients, flat);
        if !self.untrained.is_empty() {
            // `valid` settles running statistics, which burn keeps per thread until asked.
            self.layout.read_untrained(&self.module().valid(), flat);
            // Changes, not values: what does not change stays as it is, to the bit, in a mean over any lanes.
            let trained = self.layout.trained_len();
            let before = &self.untrained[trained..];
            flat[trained..].iter_mut().zip(before).for_each(|(value, before)| *value -= before);
        }
        loss.into_scalar::<f32>()
    }

    fn update(&mut self, learning_rate: f64, mean: &[f32]) {
        if !self.untrained.is_empty() {
            let trained = self.layout.trained_len();
            let changes = &mean[trained..self.layout.len()];
            self.untrained[trained..].iter_mut().zip(changes).for_each(|(value, change)| *value += change);
            self.restore_untrained();
        }
        let mut gradients = GradientsParams::new();
        for (id, data) in self.layout.gradient_data(mean) {
            register(&mut gradients, id, data, &self.device);
        }
        self.replace(|model, module| model.optimizer.step(learning_rate, module, gradients));
    }

    fn scores(&self, batch: &Batch) -> Vec<f32> {
        let samples = Samples::new(batch, &self.schema, &self.device);
        floats(self.module().valid().scores(&samples).into_data())
    }

    fn surprise(&self, batch: &Batch) -> Vec<f32> {
        let samples = Samples::new(batch, &self.schema, &self.device);
        let scores = self.module().valid().scores(&samples);
        let log_probabilities = burn::tensor::activation::log_softmax(scores, 1);
        let truth = samples.classes().unsqueeze_dim::<2>(1);
        floats(log_probabilities.gather(1, truth).neg().into_data())
    }

    fn state(&self) -> Box<dyn FnOnce() -> State + Send> {
        // Handles of the tensors. `valid` must be called on the thread that trains.
        let (module, optimizer, layout) =
            (self.module().valid(), self.optimizer.clone(), self.layout.clone());
        Box::new(move || {
            let mut state = State::default();
            for (path, data) in layout::values(&module) {
                state.insert_parameter(&path, data);
            }
            optimizer::save(&optimizer, &layout, &mut state);
            state
        })
    }

    fn load(&mut self, state: &State) -> Result<(), SnapshotError> {
        let module = self.module().clone();
        self.module = Some(self.layout.write_all(module, &state.parameters())?);
        if !self.untrained.is_empty() {
            let module = self.module.as_ref().expect("invariant: it was just put there");
            self.layout.read_untrained(module, &mut self.untrained);
        }
        self.optimizer = optimizer::load(self.optimizer.clone(), &self.layout, state);
        Ok(())
    }
}

fn floats(data: TensorData) -> Vec<f32> {
    data.try_into_vec::<f32>().expect("invariant: models compute in f32")
}

/// Registers a gradient of any rank; burn knows ranks at compile time only.
fn register(gradients: &mut GradientsParams, id: burn::module::ParamId, data: TensorData, device: &Device) {
    match data.rank() {
        0 | 1 => gradients.register(id, Tensor::<1>::from_data(data, device)),
        2 => gradients.register(id, Tensor::<2>::from_data(data, device)),
        3 => gradients.register(id, Tensor::<3>::from_data(data, device)),
        4 => gradients.register(id, Tensor::<4>::from_data(data, device)),
        5 => gradients.register(id, Tensor::<5>::from_data(data, device)),
        rank => unreachable!("burn's layers have tensors of at most 5 dimensions, not {rank}"),
    }
}
