//! A model with its optimizer, behind an interface of plain vectors: what the
//! step needs of it, whatever the model is.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::Arc,
};

use burn::{
    optim::{GradientsParams, ModuleOptimizer},
    tensor::{Device, FloatDType, Gradients, Tensor, TensorData},
};
use phalanx_collective::Buffer;
use phalanx_data::{Batch, Schema};
use phalanx_protocol::spec::{Precision, TrainSpec};

use crate::{
    boundary::{Take, watched},
    error::{SnapshotError, TrainError},
    layout::{self, Layout, Place, TAIL, numbers},
    mean::Mean,
    on_device, optimizer, precision, random,
    state::State,
    task::{self, Samples, Task},
};

/// Tensors of a model, by path.
pub type Parameters = BTreeMap<String, TensorData>;

/// Is told the number of a bucket and what it holds, as soon as that is final: one bucket
/// after the other, from 0 on.
pub type Ready = Box<dyn FnMut(usize, Buffer)>;

/// What of a model's output a gradient is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// The mean loss.
    Loss,
    /// The probability of a class.
    Class(usize),
    /// The number, standardised.
    Number,
}

/// A model that learns. Gradients are laid out in buckets as [`Layout`] says.
pub trait Learner: Send {
    /// The model's tensors.
    fn layout(&self) -> &Layout;

    /// What the model knows of its data set.
    fn schema(&self) -> &Schema;

    /// Computes the mean loss over one lane's `batch`, its gradient, and by how much the
    /// forward pass changed the other tensors. They are written into `buckets`, which
    /// `ready` gets one by one, while the pass goes on; the loss is the first number of
    /// the tail. `seed` decides all randomness. Nothing that belongs to the state changes.
    ///
    /// # Errors
    ///
    /// [`TrainError::Boundary`]. `ready` has not got all buckets then.
    fn gradient(
        &mut self,
        batch: &Batch,
        seed: u64,
        buckets: Vec<Buffer>,
        ready: Ready,
    ) -> Result<(), TrainError>;

    /// [`gradient`](Self::gradient) in buckets that stay on the device, all at the end. `votes` are
    /// the other numbers of the tail.
    fn gradient_on_device(&mut self, batch: &Batch, seed: u64, votes: [f32; TAIL - 1]) -> Vec<Tensor<1>>;

    /// Undoes what forward passes have changed since the last update: of the pass that a broken
    /// step has made, nothing is to stay in the state.
    fn undo_pass(&mut self);

    /// Makes one optimizer update from the mean over all lanes of what
    /// [`gradient`](Self::gradient) wrote.
    fn update(&mut self, learning_rate: f64, mean: &Mean<'_>);

    /// The scores of `batch` without training, row by row.
    fn scores(&self, batch: &Batch) -> Vec<f32>;

    /// The loss of `batch` for each score row that has a class (`-log p`), in order.
    fn surprise(&self, batch: &Batch) -> Vec<f32>;

    /// The gradient of `output`, summed over the rows of `batch`, by their features
    /// ([`Samples::vectors`]), row by row, with the model as it is measured: nothing is left out or
    /// drawn at random. `None` where the model does not ask for vectors.
    fn input_gradient(&self, batch: &Batch, output: Output) -> Option<Vec<f32>>;

    /// Gives parameters and optimizer state as they are now, whenever it is called.
    fn state(&self) -> Box<dyn FnOnce() -> State + Send>;

    /// Takes parameters and optimizer state, if it has any, from `state`.
    fn load(&mut self, state: &State) -> Result<(), SnapshotError>;

    /// The parameters and other tensors of the model, by path.
    fn parameters(&self) -> Parameters;

    /// Takes parameters and keeps the optimizer as it is.
    fn load_parameters(&mut self, parameters: &Parameters) -> Result<(), SnapshotError>;
}

/// A task with its optimizer.
pub(crate) struct Model<T> {
    /// Absent only inside [`Learner::update`] and [`Learner::load`].
    module: Option<T>,
    precision: Precision,
    /// The module as passes use it where that is another one; made when it is needed.
    copy: Option<T>,
    optimizer: ModuleOptimizer,
    layout: Arc<Layout>,
    /// What forward passes change, as it was after the last update; by place in the walk.
    untrained: BTreeMap<usize, Vec<f32>>,
    /// Trained tensors whose gradients are not final when they first have one, by place in
    /// the walk. `None` before the first gradient.
    late: Option<BTreeSet<usize>>,
    schema: Schema,
    /// Where it computes, without gradients.
    device: Device,
    training_device: Device,
}

impl<T: Task> Model<T> {
    /// # Errors
    ///
    /// Where the module keeps state that neither the reduction nor a checkpoint can carry.
    pub(crate) fn new(module: T, train: &TrainSpec, schema: Schema, device: Device) -> Result<Self, String> {
        let module = layout::with_ids(module.materialize());
        let apart = train.compression.is_some();
        let layout = Arc::new(Layout::of(&module, train.bucket_bytes as usize, apart)?);
        Ok(Self {
            optimizer: optimizer::build(&train.optimizer, &layout),
            precision: train.precision,
            copy: None,
            untrained: layout.untrained(&module),
            module: Some(module),
            late: None,
            layout,
            schema,
            training_device: device.clone().autodiff(),
            device,
        })
    }

    fn module(&self) -> &T {
        self.module.as_ref().expect("invariant: the module is absent only while it is replaced")
    }

    /// What passes run on.
    fn passing(&self) -> &T {
        self.copy.as_ref().unwrap_or_else(|| self.module())
    }

    fn make_copy(&mut self) {
        if self.copy.is_none() {
            self.copy = precision::copy(self.module(), &self.layout, self.precision);
        }
    }

    fn replace(&mut self, next: impl FnOnce(&mut Self, T) -> T) {
        let module = self.module.take().expect("invariant: the module is absent only while it is replaced");
        self.module = Some(next(self, module));
    }

    /// One forward and backward pass.
    fn pass(&mut self, batch: &Batch, seed: u64) -> Pass {
        self.undo_pass();
        self.make_copy();
        let samples = Samples::new(batch, &self.schema, &self.training_device);
        let samples = samples.computed_in(precision::dtype(self.precision));
        let drawing = random::seeded(&self.device, seed);
        let loss = self.passing().loss(&samples);
        drop(drawing);
        let gradients = loss.backward();
        let untrained = if self.untrained.is_empty() {
            BTreeMap::new()
        } else {
            // `valid` settles running statistics, which burn keeps per thread until asked.
            self.layout.untrained(&self.module().valid())
        };
        Pass { loss: loss.cast(FloatDType::F32).into_scalar::<f32>(), gradients, untrained }
    }

    /// Changes, not values: what does not change stays as it is, to the bit, in a mean over any lanes.
    fn changes(&self, untrained: BTreeMap<usize, Vec<f32>>) -> impl Iterator<Item = (usize, Vec<f32>)> {
        untrained.into_iter().map(|(slot, mut values)| {
            let before = &self.untrained[&slot];
            values.iter_mut().zip(before).for_each(|(value, before)| *value -= before);
            (slot, values)
        })
    }

    /// A pass during which `take` gets the gradients that are final at boundaries.
    fn watched_pass(&mut self, batch: &Batch, seed: u64, take: Take) -> Pass {
        self.make_copy();
        let mut awaited = self.layout.awaited(self.passing());
        awaited.retain(|one| self.late.as_ref().is_none_or(|late| !late.contains(&one.slot)));
        watched(awaited, take, || self.pass(batch, seed))
    }

    /// Finds out which gradients are not final when they first show at a boundary: they
    /// show again. Which ones those are depends on the model alone.
    fn find_late(&mut self, batch: &Batch, seed: u64) {
        let taken = Rc::new(RefCell::new(BTreeSet::new()));
        let take = Rc::clone(&taken);
        let take = move |slot, _: &TensorData| {
            take.borrow_mut().insert(slot);
        };
        let Pass { mut gradients, .. } = self.watched_pass(batch, seed, Box::new(take));
        let mut again = BTreeSet::new();
        self.layout.take_gradients(self.passing(), &mut gradients, |slot, _| {
            again.insert(slot);
        });
        self.late = Some(taken.borrow().intersection(&again).copied().collect());
    }
}

impl<T: Task> Learner for Model<T> {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn schema(&self) -> &Schema {
        &self.schema
    }

    fn gradient(
        &mut self,
        batch: &Batch,
        seed: u64,
        buckets: Vec<Buffer>,
        ready: Ready,
    ) -> Result<(), TrainError> {
        let filling = Rc::new(RefCell::new(Filling::new(Arc::clone(&self.layout), buckets, ready)));
        let Pass { loss, mut gradients, untrained } = if self.layout.bucket_lens().len() == 1 {
            self.pass(batch, seed)
        } else {
            if self.late.is_none() {
                self.find_late(batch, seed);
            }
            let early = Rc::clone(&filling);
            let take = move |slot, data: &TensorData| early.borrow_mut().put(slot, numbers(data));
            self.watched_pass(batch, seed, Box::new(take))
        };
        let mut filling = filling.borrow_mut();
        let mut again = None;
        self.layout.take_gradients(self.passing(), &mut gradients, |slot, gradient| {
            if filling.has(slot) {
                again = Some(slot);
            } else {
                filling.put(slot, gradient);
            }
        });
        if let Some(slot) = again {
            return Err(TrainError::Boundary { path: self.layout.slots()[slot].path.clone() });
        }
        for (slot, changes) in self.changes(untrained) {
            filling.put(slot, &changes);
        }
        filling.finish(loss);
        Ok(())
    }

    fn gradient_on_device(&mut self, batch: &Batch, seed: u64, votes: [f32; TAIL - 1]) -> Vec<Tensor<1>> {
        let Pass { loss, mut gradients, untrained } = self.pass(batch, seed);
        let mut slots = self.layout.gradient_tensors(self.passing(), &mut gradients);
        for (slot, changes) in self.changes(untrained) {
            let len = changes.len();
            slots[slot] = Some(Tensor::from_data(TensorData::new(changes, [len]), &self.device));
        }
        let [stop, save, saving] = votes;
        on_device::buckets(&self.layout, slots, [loss, stop, save, saving], &self.device)
    }

    fn undo_pass(&mut self) {
        if !self.untrained.is_empty() {
            self.replace(|model, module| model.layout.write_untrained(module, &model.untrained));
        }
    }

    fn update(&mut self, learning_rate: f64, mean: &Mean<'_>) {
        for (slot, values) in &mut self.untrained {
            let changes = mean.of(&self.layout.slots()[*slot].place);
            values.iter_mut().zip(changes).for_each(|(value, change)| *value += change);
        }
        self.undo_pass();
        let mut gradients = GradientsParams::new();
        for (id, data) in self.layout.gradient_data(mean) {
            register(&mut gradients, id, data, &self.device);
        }
        self.copy = None;
        self.replace(|model, module| model.optimizer.step(learning_rate, module, gradients));
    }

    fn scores(&self, batch: &Batch) -> Vec<f32> {
        let samples = Samples::new(batch, &self.schema, &self.device);
        floats(self.module().valid().scores(&samples).into_data())
    }

    fn surprise(&self, batch: &Batch) -> Vec<f32> {
        let samples = Samples::new(batch, &self.schema, &self.device);
        floats(task::surprise(self.module().valid().scores(&samples), samples.classes()).into_data())
    }

    fn input_gradient(&self, batch: &Batch, output: Output) -> Option<Vec<f32>> {
        let module = self.module().clone().freeze();
        let inputs = RefCell::new(None);
        let samples = Samples::new(batch, &self.schema, &self.training_device).watching(&inputs);
        let output = match output {
            Output::Loss => module.loss(&samples),
            Output::Class(class) => {
                let probabilities = burn::tensor::activation::softmax(module.scores(&samples), 1);
                probabilities.narrow(1, class, 1).sum()
            }
            Output::Number => module.scores(&samples).sum(),
        };
        let inputs: Tensor<2> = inputs.into_inner()?;
        let gradients = output.backward();
        inputs.grad(&gradients).map(|gradient| floats(gradient.into_data()))
    }

    fn state(&self) -> Box<dyn FnOnce() -> State + Send> {
        // Handles of the tensors. `valid` must be called on the thread that trains.
        let (module, optimizer, layout) =
            (self.module().valid(), self.optimizer.clone(), Arc::clone(&self.layout));
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
        self.load_parameters(&state.parameters())?;
        self.optimizer = optimizer::load(self.optimizer.clone(), &self.layout, state);
        Ok(())
    }

    fn parameters(&self) -> Parameters {
        layout::values(&self.module().valid()).into_iter().collect()
    }

    fn load_parameters(&mut self, parameters: &Parameters) -> Result<(), SnapshotError> {
        self.copy = None;
        let module = self.module().clone();
        self.module = Some(self.layout.write_all(module, parameters)?);
        self.untrained = self.layout.untrained(self.module());
        Ok(())
    }
}

/// What a forward and a backward pass give.
struct Pass {
    loss: f32,
    /// Those that were not taken at boundaries.
    gradients: Gradients,
    /// The tensors that are not trained, after the pass; by place in the walk.
    untrained: BTreeMap<usize, Vec<f32>>,
}

/// One lane's buckets while they fill.
struct Filling {
    layout: Arc<Layout>,
    buckets: Vec<Buffer>,
    ready: Ready,
    /// Tensors that have been put, by place in the walk.
    put: Vec<bool>,
    /// Tensors that each bucket waits for.
    left: Vec<usize>,
    /// The first bucket that was not handed over yet.
    next: usize,
}

impl Filling {
    fn new(layout: Arc<Layout>, buckets: Vec<Buffer>, ready: Ready) -> Self {
        let mut left = vec![0; buckets.len()];
        layout.slots().iter().for_each(|slot| left[slot.place.bucket] += 1);
        left[layout.tail().bucket] += 1;
        Self { buckets, ready, put: vec![false; layout.slots().len()], left, next: 0, layout }
    }

    fn has(&self, slot: usize) -> bool {
        self.put[slot]
    }

    fn put(&mut self, slot: usize, numbers: &[f32]) {
        let Place { bucket, range } = self.layout.slots()[slot].place.clone();
        self.buckets[bucket][range].copy_from_slice(numbers);
        self.put[slot] = true;
        self.filled(bucket);
    }

    /// Puts the rest. The loss does not depend on tensors that have no gradient by now.
    fn finish(&mut self, loss: f32) {
        for slot in (0..self.put.len()).filter(|slot| !self.put[*slot]).collect::<Vec<_>>() {
            let zeros = vec![0.0; self.layout.slots()[slot].place.range.len()];
            self.put(slot, &zeros);
        }
        let Place { bucket, range } = self.layout.tail().clone();
        let tail = &mut self.buckets[bucket][range];
        tail.fill(0.0);
        tail[0] = loss;
        self.filled(bucket);
    }

    /// Hands over what has no tensor left to wait for.
    fn filled(&mut self, bucket: usize) {
        self.left[bucket] -= 1;
        while self.left.get(self.next) == Some(&0) {
            (self.ready)(self.next, std::mem::take(&mut self.buckets[self.next]));
            self.next += 1;
        }
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
