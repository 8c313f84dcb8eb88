//! Training with few exchanges (DiLoCo, arXiv 2311.08105): each lane is a replica of the
//! model that makes updates of its own; now and then the mean of what they changed is given
//! to an outer optimizer as if it were a gradient, and all replicas go on from its result.
//!
//! Invariants:
//!
//! 1. What a replica does depends on its lane, not on the rank that holds it; so the result
//!    has the same bits on any number of workers.
//! 2. Right after an exchange all replicas have the same parameters; what a lane keeps
//!    beyond it is its optimizer's state.

use std::{cell::RefCell, ops::Range, rc::Rc};

use phalanx_collective::Buffer;
use phalanx_data::{Batch, Schema};
use phalanx_protocol::spec::{DilocoSpec, JobSpec, Optimizer, OptimizerSpec, ScheduleSpec};

use crate::{
    error::TrainError,
    layout::{Layout, Slot, numbers},
    learner::{Learner, Parameters},
    mean::Mean,
    state::State,
    tasks::Tasks,
};

/// The replicas of the lanes that one rank owns.
pub(crate) struct Replicas {
    lanes: Range<u32>,
    clip_norm: Option<f64>,
    replicas: Vec<Replica>,
    /// The parameters after the last exchange.
    shared: Parameters,
}

/// The model of one lane.
struct Replica {
    learner: Box<dyn Learner>,
    memory: Vec<Buffer>,
    /// Their sum and number, of the steps since the last exchange.
    losses: (f64, f64),
}

/// What the outer optimizer is to a job: a job of its own.
pub(crate) fn outer(spec: &JobSpec, diloco: &DilocoSpec) -> JobSpec {
    let mut outer = spec.clone();
    let momentum = Some(diloco.outer_momentum).filter(|momentum| *momentum > 0.0);
    outer.train.optimizer = OptimizerSpec {
        kind: Optimizer::Sgd,
        nesterov: momentum.map(|_| true),
        momentum,
        ..OptimizerSpec::default()
    };
    outer.train.schedule = ScheduleSpec::default();
    outer
}

impl Replicas {
    /// Replicas for `lanes`, which go on from `state`.
    pub(crate) fn new(
        spec: &JobSpec,
        tasks: &Tasks,
        schema: &Schema,
        lanes: Range<u32>,
        state: &State,
    ) -> Result<Self, TrainError> {
        let replica = |lane| -> Result<Replica, TrainError> {
            let mut learner = tasks.build(spec, schema)?;
            learner.load(&state.of_lane(lane))?;
            Ok(Replica { memory: learner.layout().buckets(), losses: (0.0, 0.0), learner })
        };
        let replicas = lanes.clone().map(replica).collect::<Result<_, _>>()?;
        Ok(Self { lanes, clip_norm: spec.train.clip_norm, replicas, shared: state.parameters() })
    }

    /// One update of the `nth` owned lane. That it went wrong shows in what is exchanged,
    /// on all ranks alike.
    pub(crate) fn step(
        &mut self,
        nth: usize,
        batch: &Batch,
        seed: u64,
        learning_rate: f64,
    ) -> Result<(), TrainError> {
        let Replica { learner, memory, losses } = &mut self.replicas[nth];
        let filled = Rc::new(RefCell::new(Vec::new()));
        let fill = Rc::clone(&filled);
        let ready = Box::new(move |_, bucket| fill.borrow_mut().push(bucket));
        learner.gradient(batch, seed, std::mem::take(memory), ready)?;
        *memory = filled.take();
        let mut mean = Mean::new(memory.iter().map(|bucket| &**bucket).collect(), 1);
        // What is no number may hide in parameters that are some; in the loss it is seen.
        let loss = if mean.is_finite() { mean.of(learner.layout().tail()).next() } else { None };
        *losses = (losses.0 + loss.map_or(f64::NAN, f64::from), losses.1 + 1.0);
        if let Some(norm) = self.clip_norm {
            mean.clip(learner.layout(), norm);
        }
        learner.update(learning_rate, &mean);
        Ok(())
    }

    /// Writes what the `nth` owned lane has changed since the last exchange into `buckets`
    /// the way a gradient is: against the direction in which parameters went.
    pub(crate) fn write_changes(&mut self, nth: usize, buckets: &mut [Buffer]) {
        let Replica { learner, losses, .. } = &mut self.replicas[nth];
        let parameters = learner.parameters();
        let layout: &Layout = learner.layout();
        for Slot { path, place, trained, .. } in layout.slots() {
            let (now, before) = (numbers(&parameters[path]), numbers(&self.shared[path]));
            let changes = &mut buckets[place.bucket][place.range.clone()];
            for ((change, now), before) in changes.iter_mut().zip(now).zip(before) {
                *change = if *trained { before - now } else { now - before };
            }
        }
        let tail = layout.tail();
        let (sum, steps) = std::mem::take(losses);
        let tail = &mut buckets[tail.bucket][tail.range.clone()];
        tail.fill(0.0);
        tail[0] = (sum / steps) as f32;
    }

    /// Lets all replicas go on from these parameters.
    pub(crate) fn adopt(&mut self, parameters: Parameters) -> Result<(), TrainError> {
        for replica in &mut self.replicas {
            replica.learner.load_parameters(&parameters)?;
        }
        self.shared = parameters;
        Ok(())
    }

    /// Whether nothing was done since the last exchange.
    pub(crate) fn have_exchanged(&self) -> bool {
        self.replicas.iter().all(|replica| replica.losses.1 == 0.0)
    }

    /// What the owned lanes keep beyond an exchange.
    pub(crate) fn state(&self) -> State {
        let mut state = State::default();
        for (lane, replica) in self.lanes.clone().zip(&self.replicas) {
            state.extend(replica.learner.state()().kept_by_lane(lane));
        }
        state
    }
}
