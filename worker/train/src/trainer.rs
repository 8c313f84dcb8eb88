//! The step: batch, forward, backward, reduce, clip, update.

use std::{cell::RefCell, ops::Range, rc::Rc, sync::Arc, time::Instant};

use phalanx_collective::{AbortHandle, Buffer};
use phalanx_data::{Batch, Dataset, Split, TargetKind};
use phalanx_evaluate::Evaluation;
use phalanx_member::{Position, Votes, all_agree};
use phalanx_protocol::{
    id::{Generation, Rank},
    ledger::Entry,
    message::StateSource,
    pace::StepTime,
    reference::HashHex,
    spec::JobSpec,
};
use tracing::{debug_span, info_span};

use crate::{
    diloco::{self, Replicas},
    error::{BuildError, TrainError},
    exam::{Examined, examine},
    exchange::Exchange,
    handover::{Held, Start, everyones, hand_over},
    layout::TAIL,
    learner::Learner,
    ledger::Ledger,
    loader::Gathered,
    mean::Mean,
    measure::{asked, predict_split, still_wanted},
    progress::TrainingProgress,
    schedule::LearningRate,
    session::{Host, Session, TrainingCurves},
    snapshot::Snapshot,
    state::LaneHashes,
    text,
};

/// One rank's model in the midst of a job.
pub(crate) struct Trainer {
    spec: JobSpec,
    dataset: Arc<Dataset>,
    exchange: Rc<RefCell<Exchange>>,
    learner: Box<dyn Learner>,
    /// The lanes' own models, where they train on their own between exchanges.
    replicas: Option<Replicas>,
    learning_rate: LearningRate,
    progress: TrainingProgress,
    position: Position,
    total_steps: u64,
    steps_per_epoch: u64,
    /// From when to when the last step was in the reduction.
    reduced: Range<Instant>,
    records: Option<Records>,
}

/// What this rank's lanes took since the last exchange, on its way into the ledger.
struct Records {
    ledger: Arc<Ledger>,
    generation: Generation,
    taken: Vec<Entry>,
}

/// Why a rank could not begin, and the state that it holds all the same.
pub(crate) struct Unbegun {
    pub(crate) error: Box<TrainError>,
    pub(crate) held: Option<Box<Held>>,
}

impl Unbegun {
    /// `held` is how far the state in `learner` is, if it has one.
    fn new(
        error: TrainError,
        rank: Rank,
        learner: Box<dyn Learner>,
        held: Option<(Position, TrainingProgress)>,
    ) -> Self {
        let held = held.filter(|_| error.setback().leaves_state(rank));
        Self {
            error: error.into(),
            held: held.map(|(position, progress)| Box::new(Held { learner, progress, position })),
        }
    }
}

impl<E: Into<TrainError>> From<E> for Unbegun {
    fn from(error: E) -> Self {
        Self { error: Box::new(error.into()), held: None }
    }
}

/// What one step told.
pub(crate) struct Stepped {
    /// Mean loss over the batch, before the update.
    pub(crate) loss: f32,
    /// The rate of the update.
    pub(crate) learning_rate: f64,
    /// What the ranks together voted for.
    pub(crate) votes: Votes,
}

impl Trainer {
    /// Builds the model, unless it is held, and puts the state into it that all ranks begin
    /// with. Collective: all ranks of the group must call it.
    pub(crate) fn new(session: Session, host: &mut dyn Host) -> Result<(Self, StateSource), Unbegun> {
        let Session { assignment, dataset, tasks, held, ledger, mut group } = session;
        let spec = (*assignment.spec).clone();
        let rows = dataset.rows(Split::Train);
        let steps_per_epoch = spec.train.steps_per_epoch(rows);
        if steps_per_epoch == 0 {
            return Err(BuildError::TooFewRows { rows, batch_size: spec.train.batch_size }.into());
        }
        tasks.check_order(spec.train.reduction)?;
        let (mut learner, held) = match held {
            Some(Held { learner, progress, position }) => (learner, Some((position, progress))),
            None => {
                let outer = spec.train.diloco.as_ref().map(|diloco| diloco::outer(&spec, diloco));
                (tasks.build(outer.as_ref().unwrap_or(&spec), dataset.schema())?, None)
            }
        };
        let begun = hand_over(&mut group, learner.as_mut(), held.clone(), &assignment, host);
        let Start { position, progress, from, restored } = match begun {
            Ok(start) => start,
            Err(error) => return Err(Unbegun::new(error, assignment.rank, learner, held)),
        };
        if let (Some(ledger), StateSource::Members { healed: 1.. }) = (&ledger, from)
            && let Err(error) = ledger.share(&mut group)
        {
            let held = spec.train.diloco.is_none().then_some((position, progress));
            return Err(Unbegun::new(error, assignment.rank, learner, held));
        }
        let generation = assignment.generation;
        let records = ledger.map(|ledger| Records { ledger, generation, taken: Vec::new() });
        let replicas = match (&spec.train.diloco, &restored) {
            (None, _) => None,
            (Some(_), Some(snapshot)) => Some(snapshot.state()),
            (Some(_), None) => Some(&learner.state()()),
        };
        let replicas =
            replicas.map(|state| Replicas::new(&spec, &tasks, dataset.schema(), group.lanes(), state));
        let replicas = replicas.transpose()?;
        let total_steps = spec.train.total_steps(rows);
        let learning_rate = LearningRate::new(&spec.train, total_steps, position.step)?;
        let exchange = match Exchange::new(group, learner.layout(), tasks.device(), &spec.train) {
            Ok(exchange) => Rc::new(RefCell::new(exchange)),
            Err(error) => {
                let held = replicas.is_none().then_some((position, progress));
                return Err(Unbegun::new(error, assignment.rank, learner, held));
            }
        };
        let trainer = Self {
            spec,
            dataset,
            exchange,
            learner,
            replicas,
            learning_rate,
            progress,
            position,
            total_steps,
            steps_per_epoch,
            reduced: Instant::now()..Instant::now(),
            records,
        };
        Ok((trainer, from))
    }

    /// What the next generation can go on with. Lanes that train on their own hold states
    /// that are none of the job's between their exchanges, and that other ranks do not have.
    pub(crate) fn into_held(self) -> Option<Held> {
        let Self { mut learner, progress, position, replicas, .. } = self;
        // A step may have got as far as its forward pass.
        learner.undo_pass();
        replicas.is_none().then_some(Held { learner, progress, position })
    }

    /// Makes one step from what was gathered for this rank's lanes. `None` where lanes go on on
    /// their own before they exchange.
    pub(crate) fn step(&mut self, gathered: &Gathered, votes: Votes) -> Result<Option<Stepped>, TrainError> {
        let batches = &gathered.batches;
        let _step = info_span!("step", step = self.position.step + 1).entered();
        let learning_rate = self.learning_rate.next();
        self.note(gathered);
        if self.replicas.is_some() {
            debug_span!("local").in_scope(|| self.step_alone(batches, learning_rate))?;
            if !self.exchanges_after(self.position.step + 1) {
                self.reduced = Instant::now()..Instant::now();
                self.finished_step();
                return Ok(None);
            }
            self.put_changes(votes);
        } else {
            debug_span!("backward").in_scope(|| self.backward(batches, votes))?;
        }
        let mut exchange = self.exchange.borrow_mut();
        let begun = Instant::now();
        debug_span!("reduce").in_scope(|| exchange.finish())?;
        self.reduced = begun..Instant::now();
        if let Some(Records { ledger, taken, .. }) = &mut self.records {
            // The state is changed only after it: who holds the step's result has its records.
            exchange.with_group(|group| ledger.commit(group, taken))?;
            taken.clear();
        }

        let mut mean = Mean::new(exchange.sums(), self.spec.train.lanes);
        let layout = self.learner.layout();
        let tail: Vec<_> = mean.of(layout.tail()).collect();
        let Ok([loss, votes @ ..]) = <[f32; TAIL]>::try_from(tail) else {
            unreachable!("a tail has {TAIL} numbers")
        };
        let diverged = |what: String| Err(TrainError::Diverged { step: self.position.step + 1, what });
        if !loss.is_finite() {
            return diverged(format!("the loss is {loss}"));
        }
        if !mean.is_finite() {
            return diverged("the gradient is not finite".to_owned());
        }
        let _update = debug_span!("update").entered();
        if let (Some(replicas), Some(diloco)) = (&mut self.replicas, &self.spec.train.diloco) {
            self.learner.update(diloco.outer_learning_rate, &mean);
            replicas.adopt(self.learner.parameters())?;
        } else {
            if let Some(norm) = self.spec.train.clip_norm {
                mean.clip(layout, norm);
            }
            self.learner.update(learning_rate, &mean);
        }
        drop(exchange);
        self.finished_step();
        self.progress.stepped(self.position.step, loss);
        Ok(Some(Stepped { loss, learning_rate, votes: Votes::from_numbers(votes) }))
    }

    /// Notes what this rank's lanes take in the next step.
    fn note(&mut self, gathered: &Gathered) {
        let lanes = self.lanes();
        let step = self.position.step + 1;
        if let Some(Records { generation, taken, .. }) = &mut self.records {
            let entry = |(lane, took): (u32, _)| Entry { step, lane, generation: *generation, taken: took };
            taken.extend(lanes.zip(gathered.taken.iter().copied()).map(entry));
        }
    }

    fn finished_step(&mut self) {
        self.position = Position { step: self.position.step + 1, validated: false };
    }

    /// Where the time has gone of the last step, which began at `begun`.
    pub(crate) fn step_time(&self, begun: Instant) -> StepTime {
        let Range { start, end } = self.reduced;
        StepTime { gradients: start - begun, reduction: end - start, update: end.elapsed() }
    }

    /// Lets each owned lane make an update of its own.
    fn step_alone(&mut self, batches: &[Batch], learning_rate: f64) -> Result<(), TrainError> {
        let lanes = self.lanes();
        let abort = self.abort_handle();
        let Some(replicas) = &mut self.replicas else { return Ok(()) };
        for (nth, (lane, batch)) in lanes.zip(batches).enumerate() {
            still_wanted(&abort)?;
            let seed = lane_seed(self.spec.train.seed, self.position.step, lane);
            replicas.step(nth, batch, seed, learning_rate)?;
        }
        Ok(())
    }

    /// Whether lanes that train on their own exchange when `step` is finished: every so many
    /// steps of an epoch, and where somebody looks at the model.
    fn exchanges_after(&self, step: u64) -> bool {
        let every = self.spec.train.diloco.as_ref().map_or(1, |diloco| u64::from(diloco.local_steps));
        (step % self.steps_per_epoch).is_multiple_of(every) || step == self.total_steps
    }

    /// Gives what the owned lanes have changed into the reduction.
    fn put_changes(&mut self, votes: Votes) {
        let lanes = self.lanes().len();
        let Some(replicas) = &mut self.replicas else { return };
        let tail = self.learner.layout().tail();
        let mut exchange = self.exchange.borrow_mut();
        for nth in 0..lanes {
            let mut buckets = exchange.memory(nth);
            replicas.write_changes(nth, &mut buckets);
            if nth == 0 {
                buckets[tail.bucket][tail.range.clone()][1..].copy_from_slice(&votes.numbers());
            }
            for (bucket, changes) in buckets.into_iter().enumerate() {
                exchange.put(nth, bucket, changes);
            }
        }
    }

    /// Computes the gradients of the lanes that this rank owns.
    fn backward(&mut self, batches: &[Batch], votes: Votes) -> Result<(), TrainError> {
        let lanes = self.lanes();
        for (nth, (lane, batch)) in lanes.zip(batches).enumerate() {
            let seed = lane_seed(self.spec.train.seed, self.position.step, lane);
            // A rank votes once, with its first lane.
            let votes = if nth == 0 { votes.numbers() } else { [0.0; Votes::COUNT] };
            if self.exchange.borrow().is_on_gpus() {
                let lane = self.learner.gradient_on_device(batch, seed, votes);
                self.exchange.borrow_mut().put_on_device(lane);
                continue;
            }
            let memory = self.exchange.borrow_mut().memory(nth);
            let exchange = Rc::clone(&self.exchange);
            let tail = self.learner.layout().tail().clone();
            let ready = move |bucket, mut gradient: Buffer| {
                if bucket == tail.bucket {
                    gradient[tail.range.clone()][1..].copy_from_slice(&votes);
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
        let mut evaluation = phalanx_evaluate::evaluate_also(&predictions, &asked(&self.spec))?;
        evaluation.add_loss(deviation(&self.dataset.schema().target));
        Ok(evaluation)
    }

    /// Finds out what the model is worth at the end. Collective.
    pub(crate) fn examine(&mut self) -> Result<Examined, TrainError> {
        let mut exchange = self.exchange.borrow_mut();
        exchange.with_group(|group| examine(self.learner.as_ref(), group, &self.dataset, &self.spec))
    }

    /// Whether the validation split is to be measured before the next step.
    pub(crate) fn must_validate(&self) -> bool {
        let at_epoch_end = self.position.step > 0 && self.position.step.is_multiple_of(self.steps_per_epoch);
        at_epoch_end && !self.position.validated && self.dataset.rows(Split::Validation) > 0
    }

    /// Takes a validation in, for early stopping.
    pub(crate) fn validated(&mut self, evaluation: &Evaluation) -> Result<(), TrainError> {
        self.position.validated = true;
        let watched = self.spec.train.early_stop.as_ref().map(|early_stop| early_stop.metric.as_str());
        self.progress.note(self.position.step, watched, evaluation);
        match &self.spec.train.early_stop {
            Some(early_stop) => self.progress.validated(early_stop, evaluation),
            None => Ok(()),
        }
    }

    /// Compares `state`, which is this rank's right after an exchange, with those of all others.
    /// Collective.
    pub(crate) fn verify(&self, state: &Snapshot) -> Result<(), TrainError> {
        let own = state.state_hash();
        let all: Vec<HashHex> = self.exchange.borrow_mut().with_group(|group| everyones(group, &own))?;
        let hashes: Vec<_> = all.into_iter().map(Some).collect();
        if all_agree(&hashes) { Ok(()) } else { Err(TrainError::Differs { step: state.step(), hashes }) }
    }

    /// The state between two steps, right after an exchange. Collective: all ranks of the group
    /// must call it.
    pub(crate) fn snapshot(&self) -> Result<Snapshot, TrainError> {
        let shared = self.learner.state();
        let Some(replicas) = &self.replicas else {
            let none = LaneHashes::new();
            return Ok(Snapshot::new(self.position.step, self.cursor(), &self.progress, none, shared));
        };
        assert!(replicas.have_exchanged(), "invariant: a snapshot is taken right after an exchange");
        let own = replicas.state();
        let hashes = own.lane_hashes();
        let all: Vec<LaneHashes> =
            self.exchange.borrow_mut().with_group(|group| everyones(group, &hashes))?;
        let lanes = all.into_iter().flatten().collect();
        let state = move || {
            let mut state = shared();
            state.extend(own);
            state
        };
        Ok(Snapshot::new(self.position.step, self.cursor(), &self.progress, lanes, state))
    }

    /// Text that a language model writes, where the job asks for some.
    pub(crate) fn sample(&self) -> Result<Option<String>, TrainError> {
        let abort = self.abort_handle();
        let encoder = &self.dataset.manifest().encoder;
        text::sample(self.learner.as_ref(), &self.spec, encoder, &|| still_wanted(&abort))
    }

    /// Tells whether the group is to end.
    pub(crate) fn abort_handle(&self) -> AbortHandle {
        self.exchange.borrow().abort_handle()
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
        self.position.step
    }

    pub(crate) fn total_steps(&self) -> u64 {
        self.total_steps
    }

    /// The epoch that the next sample belongs to, from 0.
    pub(crate) fn epoch(&self) -> u64 {
        self.position.step / self.steps_per_epoch
    }

    /// Samples consumed by the whole job.
    pub(crate) fn cursor(&self) -> u64 {
        self.position.step * u64::from(self.spec.train.batch_size)
    }

    /// How training went.
    pub(crate) fn curves(&self) -> TrainingCurves {
        TrainingCurves {
            loss: self.progress.losses.clone(),
            validation: self.progress.validations.clone(),
            steps_planned: self.total_steps,
            steps_per_epoch: self.steps_per_epoch,
        }
    }

    /// How many numbers it learns.
    pub(crate) fn parameters(&self) -> u64 {
        self.learner.layout().trained_len() as u64
    }

    /// Why training is over before its planned end, if it is.
    pub(crate) fn stopped_early(&self) -> Option<&str> {
        self.progress.stopped()
    }

    /// Whether there is a step left to make.
    pub(crate) fn goes_on(&self) -> bool {
        self.position.step < self.total_steps && self.stopped_early().is_none()
    }
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

/// What training divides a target of numbers by.
pub(crate) fn deviation(target: &TargetKind) -> f64 {
    match target {
        TargetKind::Number { deviation, .. } => *deviation,
        TargetKind::Classes(_) | TargetKind::NextByte | TargetKind::NextToken { .. } => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_lane_of_each_step_has_a_seed_of_its_own() {
        let seeds = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)].map(|(s, t, l)| lane_seed(s, t, l));
        assert_eq!(seeds.iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
    }
}
