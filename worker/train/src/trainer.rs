//! The step: batch, forward, backward, reduce, clip, update.

use std::{cell::RefCell, ops::Range, rc::Rc, sync::Arc};

use phalanx_collective::Group;
use phalanx_data::{Batch, Dataset, Schema, Split, TargetKind};
use phalanx_evaluate::Evaluation;
use phalanx_protocol::{message::Metrics, spec::JobSpec};
use tracing::{debug_span, info_span};

use crate::{
    error::{BuildError, TrainError},
    exchange::Exchange,
    layout::{Layout, Place, TAIL},
    learner::Learner,
    measure::{predict_split, still_wanted},
    progress::TrainingProgress,
    schedule::LearningRate,
    session::{Session, StopVote},
    snapshot::{self, Snapshot},
    text,
};

/// One rank's model in the midst of a job.
pub(crate) struct Trainer {
    spec: JobSpec,
    dataset: Arc<Dataset>,
    exchange: Rc<RefCell<Exchange>>,
    learner: Box<dyn Learner>,
    learning_rate: LearningRate,
    progress: TrainingProgress,
    /// Steps finished.
    step: u64,
    total_steps: u64,
    steps_per_epoch: u64,
}

/// What one step told.
pub(crate) struct Stepped {
    /// Mean loss over the batch, before the update.
    pub(crate) loss: f32,
    /// The rate of the update.
    pub(crate) learning_rate: f64,
    /// What the ranks together voted for.
    pub(crate) vote: StopVote,
}

impl Trainer {
    /// Builds the model and puts the state into it that all ranks begin with.
    /// Collective: all ranks of the group must call it.
    pub(crate) fn new(session: Session) -> Result<Self, TrainError> {
        let Session { assignment, dataset, tasks, restored, mut group } = session;
        let spec = *assignment.spec;
        let rows = dataset.rows(Split::Train);
        let steps_per_epoch = spec.train.steps_per_epoch(rows);
        if steps_per_epoch == 0 {
            return Err(BuildError::TooFewRows { rows, batch_size: spec.train.batch_size }.into());
        }
        tasks.check_order(spec.train.reduction)?;
        let mut learner = tasks.build(&spec, dataset.schema())?;
        let (step, progress) = match &restored {
            Some(snapshot) => {
                learner.load(snapshot.state())?;
                (snapshot.step(), snapshot.progress()?)
            }
            None => {
                share_initial_state(learner.as_mut(), &mut group)?;
                (0, TrainingProgress::default())
            }
        };
        let sum = (tasks.device(), spec.train.reduction);
        let total_steps = spec.train.total_steps(rows);
        let learning_rate = LearningRate::new(&spec.train, total_steps, step)?;
        let exchange = Rc::new(RefCell::new(Exchange::new(group, learner.layout(), sum)?));
        Ok(Self {
            spec,
            dataset,
            exchange,
            learner,
            learning_rate,
            progress,
            step,
            total_steps,
            steps_per_epoch,
        })
    }

    /// Makes one step. `batches` are those of this rank's lanes.
    pub(crate) fn step(&mut self, batches: &[Batch], vote: StopVote) -> Result<Stepped, TrainError> {
        let _step = info_span!("step", step = self.step + 1).entered();
        debug_span!("backward").in_scope(|| self.backward(batches, vote))?;
        let mut exchange = self.exchange.borrow_mut();
        debug_span!("reduce").in_scope(|| exchange.finish())?;

        let lanes = self.spec.train.lanes as f32;
        let mut finite = true;
        for bucket in exchange.sums() {
            for sum in bucket.iter_mut() {
                *sum /= lanes;
                finite &= sum.is_finite();
            }
        }
        let layout = self.learner.layout();
        let mut means: Vec<_> = exchange.sums().collect();
        let &[loss, stop, save] = layout.tail().of(&means) else {
            unreachable!("a tail has {TAIL} numbers");
        };
        let diverged = |what: String| Err(TrainError::Diverged { step: self.step + 1, what });
        if !loss.is_finite() {
            return diverged(format!("the loss is {loss}"));
        }
        if !finite {
            return diverged("the gradient is not finite".to_owned());
        }
        if let Some(norm) = self.spec.train.clip_norm {
            clip(layout, &mut means, norm);
        }
        let means: Vec<&[f32]> = means.into_iter().map(|mean| mean.as_slice()).collect();
        let learning_rate = self.learning_rate.next();
        debug_span!("update").in_scope(|| self.learner.update(learning_rate, &means));
        self.step += 1;
        Ok(Stepped { loss, learning_rate, vote: StopVote::from_numbers(stop, save) })
    }

    /// Computes the gradients of the lanes that this rank owns.
    fn backward(&mut self, batches: &[Batch], vote: StopVote) -> Result<(), TrainError> {
        let lanes = self.lanes();
        for (nth, (lane, batch)) in lanes.zip(batches).enumerate() {
            let seed = lane_seed(self.spec.train.seed, self.step, lane);
            // A rank votes once, with its first lane.
            let (stop, save) = if nth == 0 { vote.numbers() } else { (0.0, 0.0) };
            if self.exchange.borrow().is_on_gpus() {
                let lane = self.learner.gradient_on_device(batch, seed, [stop, save]);
                self.exchange.borrow_mut().put_on_device(lane);
                continue;
            }
            let memory = self.exchange.borrow_mut().memory(nth);
            let exchange = Rc::clone(&self.exchange);
            let tail = self.learner.layout().tail().clone();
            let ready = move |bucket, mut gradient: Vec<f32>| {
                if bucket == tail.bucket {
                    gradient[tail.range.clone()][1..].copy_from_slice(&[stop, save]);
                }
                exchange.borrow_mut().put(nth, bucket, gradient);
            };
            self.learner.gradient(batch, seed, memory, Box::new(ready))?;
        }
        Ok(())
    }

    /// Measures `split`. Collective: all ranks of the group must call it.
    pub(crate) fn measure(&mut self, split: Split) -> Result<Evaluation, TrainError> {
        let lanes = self.spec.train.lanes;
        let predictions = self
            .exchange
            .borrow_mut()
            .with_group(|group| predict_split(self.learner.as_ref(), group, &self.dataset, split, lanes))?;
        let mut evaluation = phalanx_evaluate::evaluate(&predictions)?;
        let loss = loss(&evaluation.metrics, self.dataset.schema());
        evaluation.metrics.extend(loss.map(|loss| ("loss".to_owned(), loss)));
        Ok(evaluation)
    }

    /// Takes a validation in, for early stopping.
    pub(crate) fn validated(&mut self, evaluation: &Evaluation) -> Result<(), TrainError> {
        match &self.spec.train.early_stop {
            Some(early_stop) => self.progress.validated(early_stop, evaluation),
            None => Ok(()),
        }
    }

    /// The state between two steps.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.step, self.cursor(), &self.progress, self.learner.state())
    }

    /// Text that a language model writes, where the job asks for some.
    pub(crate) fn sample(&self) -> Result<Option<String>, TrainError> {
        let abort = self.exchange.borrow().abort_handle();
        text::sample(self.learner.as_ref(), &self.spec, &|| still_wanted(&abort))
    }

    pub(crate) fn spec(&self) -> &JobSpec {
        &self.spec
    }

    pub(crate) fn dataset(&self) -> &Arc<Dataset> {
        &self.dataset
    }

    pub(crate) fn lanes(&self) -> Range<u32> {
        self.exchange.borrow().lanes()
    }

    pub(crate) fn steps_done(&self) -> u64 {
        self.step
    }

    pub(crate) fn total_steps(&self) -> u64 {
        self.total_steps
    }

    /// The epoch that the next sample belongs to, from 0.
    pub(crate) fn epoch(&self) -> u64 {
        self.step / self.steps_per_epoch
    }

    /// Whether the last step was an epoch's last.
    pub(crate) fn at_epoch_end(&self) -> bool {
        self.step > 0 && self.step.is_multiple_of(self.steps_per_epoch)
    }

    /// Samples consumed by the whole job.
    pub(crate) fn cursor(&self) -> u64 {
        self.step * u64::from(self.spec.train.batch_size)
    }

    /// Why training is over before its planned end, if it is.
    pub(crate) fn stopped_early(&self) -> Option<&str> {
        self.progress.stopped()
    }

    /// Whether there is a step left to make.
    pub(crate) fn goes_on(&self) -> bool {
        self.step < self.total_steps && self.stopped_early().is_none()
    }
}

/// Rank 0 initialised the parameters from the seed; all others take them from it.
fn share_initial_state(learner: &mut dyn Learner, group: &mut Group) -> Result<(), TrainError> {
    let leads = group.rank() == 0;
    let mut file = if leads { snapshot::serialize_state(&learner.state()()).to_vec() } else { Vec::new() };
    group.broadcast(0, &mut file)?;
    if !leads {
        learner.load(&snapshot::deserialize(0, &file)?)?;
    }
    Ok(())
}

/// The seed of all that is random in one lane's forward pass.
fn lane_seed(seed: u64, step: u64, lane: u32) -> u64 {
    let mut words = [0; 20];
    words[..8].copy_from_slice(&seed.to_le_bytes());
    words[8..16].copy_from_slice(&step.to_le_bytes());
    words[16..].copy_from_slice(&lane.to_le_bytes());
    let hash = blake3::hash(&words);
    let word = hash.as_bytes()[..8].try_into().expect("invariant: a hash has 32 bytes");
    u64::from_le_bytes(word)
}

/// Scales the gradients of all parameters together to a norm of at most `norm_max`.
/// The squares are added in f64 in an order that the model alone decides.
fn clip(layout: &Layout, gradients: &mut [&mut Vec<f32>], norm_max: f64) {
    let trained = || layout.slots().iter().filter(|slot| slot.trained);
    let norm = trained().map(|slot| squares(slot.place.of(gradients))).sum::<f64>().sqrt();
    if norm > norm_max {
        let factor = (norm_max / norm) as f32;
        for Place { bucket, range } in trained().map(|slot| slot.place.clone()) {
            gradients[bucket][range].iter_mut().for_each(|number| *number *= factor);
        }
    }
}

/// The sum of squares, in an order that the length alone decides and that has no long chain.
fn squares(numbers: &[f32]) -> f64 {
    let mut sums = [0.0_f64; 8];
    for numbers in numbers.chunks(sums.len()) {
        sums.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += f64::from(*number).powi(2));
    }
    sums.iter().sum()
}

/// What training lowers, measured on a split.
fn loss(metrics: &Metrics, schema: &Schema) -> Option<f64> {
    let figure = |name: &str| metrics.get(name).copied();
    match &schema.target {
        TargetKind::Classes(_) => figure("log_loss"),
        TargetKind::Number { deviation, .. } => figure("mse").map(|mse| mse / deviation.powi(2)),
        TargetKind::NextByte => figure("bits_per_byte").map(|bits| bits * std::f64::consts::LN_2),
    }
}

#[cfg(test)]
mod tests {
    use burn::{nn::LinearConfig, tensor::Device};

    use super::*;
    use crate::layout;

    #[test]
    fn a_gradient_is_clipped_to_the_norm_of_all_its_numbers_together() {
        let device = Device::flex().autodiff();
        let layer = layout::with_ids(LinearConfig::new(1, 1).init(&device));
        let layout = Layout::of(&layer, 4).expect("it is of f32");
        // The bias, the weight, and the tail, which is no gradient.
        let (mut bias, mut weight, mut tail) = (vec![3.0], vec![4.0], vec![100.0; TAIL]);
        let mut clipped = |norm_max| {
            clip(&layout, &mut [&mut bias, &mut weight, &mut tail], norm_max);
            assert!((bias[0] - 0.6).abs() < 1e-6 && (weight[0] - 0.8).abs() < 1e-6);
            assert_eq!(tail, [100.0; TAIL]);
        };
        clipped(1.0);
        // A shorter one stays as it is.
        clipped(2.0);
    }

    #[test]
    fn each_lane_of_each_step_has_a_seed_of_its_own() {
        let seeds = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)].map(|(s, t, l)| lane_seed(s, t, l));
        assert_eq!(seeds.iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
    }
}
