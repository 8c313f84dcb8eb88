//! One rank's way through a job: train, validate, save, stop or finish, measure
//! the test split, export the model.
//!
//! Invariants, on every rank of a generation alike:
//!
//! 1. All ranks make the same steps, measure after the same ones, and stop after
//!    the same one: a vote to stop is reduced with the gradient.
//! 2. A snapshot is taken between two steps, after the validation that belongs to
//!    the last one.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use phalanx_collective::Group;
use phalanx_data::{Dataset, Split};
use phalanx_evaluate::Evaluation;
use phalanx_protocol::{
    message::{Assignment, Event, Progress},
    reference::HashHex,
};

use crate::{
    error::TrainError,
    loader::Loader,
    predictor::ModelDescription,
    snapshot::{self, Snapshot},
    tasks::Tasks,
    trainer::{Stepped, Trainer},
};

/// How often rank 0 reports.
const REPORT_EVERY: Duration = Duration::from_millis(200);

/// The most points of the loss curve in one report.
const REPORT_POINTS_MAX: usize = 1_000;

/// Everything that one rank needs to train.
#[derive(Debug)]
pub struct Session {
    /// Its place in the generation.
    pub assignment: Assignment,
    /// What to train on.
    pub dataset: Arc<Dataset>,
    /// The models that this worker knows.
    pub tasks: Arc<Tasks>,
    /// Where to go on from; `None` starts from the seed. The same on every rank.
    pub restored: Option<Snapshot>,
    /// The connected generation.
    pub group: Group,
}

/// What a rank wants after this step. The generation does what any of its ranks wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopVote {
    /// Go on.
    Continue,
    /// Stop.
    Stop,
    /// Stop, and save the state first.
    SaveAndStop,
}

impl StopVote {
    /// The vote as numbers that can be summed: wants to stop, wants to save.
    pub(crate) fn numbers(self) -> (f32, f32) {
        match self {
            Self::Continue => (0.0, 0.0),
            Self::Stop => (1.0, 0.0),
            Self::SaveAndStop => (1.0, 1.0),
        }
    }

    /// What the sums of all ranks' votes mean.
    pub(crate) fn from_numbers(stop: f32, save: f32) -> Self {
        match (stop > 0.0, save > 0.0) {
            (false, _) => Self::Continue,
            (true, false) => Self::Stop,
            (true, true) => Self::SaveAndStop,
        }
    }
}

/// Who runs the session: hears of it and may stop it. All calls come from the
/// trainer's thread, which waits for them.
pub trait Host {
    /// Something happened.
    fn event(&mut self, event: Event);

    /// Whether this rank wants to stop.
    fn stop_vote(&self) -> StopVote;

    /// The state to be saved, elsewhere: training goes on when this returns.
    fn checkpoint(&mut self, snapshot: Snapshot);
}

/// How a session ended.
#[derive(Debug)]
pub enum Ending {
    /// It was told to stop.
    Stopped {
        /// Steps finished.
        step: u64,
    },
    /// The job is done.
    Finished(Box<Outcome>),
}

/// The end of a job's training.
#[derive(Debug)]
pub struct Outcome {
    /// Steps finished.
    pub step: u64,
    /// Samples consumed.
    pub cursor: u64,
    /// Why training ended before its planned end.
    pub stopped_early: Option<String>,
    /// What the test split says; nothing where it is empty.
    pub evaluation: Evaluation,
    /// Hash of parameters, optimizer state and cursor.
    pub state_hash: HashHex,
    /// Text that the model wrote, if it is one that does.
    pub sample: Option<String>,
    /// The model, on rank 0.
    pub model: Option<ExportedModel>,
}

/// A finished model's files.
#[derive(Debug)]
pub struct ExportedModel {
    /// Its parameters, by path (safetensors).
    pub weights: Bytes,
    /// What a [`Predictor`](crate::Predictor) needs beside them (JSON).
    pub description: Bytes,
}

/// Runs one rank of a job to its end. Blocks the thread it is called on, which
/// computes.
///
/// # Errors
///
/// Where the model cannot be built, the group breaks, or the loss or its gradient
/// is no finite number any more.
pub fn run(session: Session, host: &mut dyn Host) -> Result<Ending, TrainError> {
    let leads = session.assignment.rank.is_leader();
    let mut trainer = Trainer::new(session)?;
    host.event(Event::Formed);
    let every = trainer.spec().checkpoint.every;
    let loader = Loader::spawn(
        Arc::clone(trainer.dataset()),
        trainer.spec().train.clone(),
        trainer.lanes(),
        trainer.steps_done()..trainer.total_steps(),
    )?;
    let resumed_at = trainer.steps_done();
    let mut saved_at = resumed_at;
    let mut reporter = Reporter::new(&trainer);
    while trainer.goes_on() {
        let batches = loader.next()?;
        let Some(stepped) = trainer.step(&batches, host.stop_vote())? else { continue };
        if leads {
            reporter.stepped(&trainer, &stepped, host);
        }
        if trainer.at_epoch_end() {
            validate(&mut trainer, leads, host)?;
        }
        match stepped.vote {
            StopVote::Continue => {}
            StopVote::Stop => return Ok(Ending::Stopped { step: trainer.steps_done() }),
            StopVote::SaveAndStop => {
                host.checkpoint(trainer.snapshot()?);
                return Ok(Ending::Stopped { step: trainer.steps_done() });
            }
        }
        if every > 0 && trainer.steps_done() / every > saved_at / every && trainer.goes_on() {
            saved_at = trainer.steps_done();
            host.checkpoint(trainer.snapshot()?);
        }
    }
    let end = trainer.snapshot()?;
    if end.step() > resumed_at {
        // What comes now may fail; training is not done again for that.
        host.checkpoint(end.clone());
    }
    finish(&mut trainer, &end, leads, host)
}

/// Measures the validation split, if there is one.
fn validate(trainer: &mut Trainer, leads: bool, host: &mut dyn Host) -> Result<(), TrainError> {
    if trainer.dataset().rows(Split::Validation) == 0 {
        return Ok(());
    }
    let evaluation = trainer.measure(Split::Validation)?;
    trainer.validated(&evaluation)?;
    if leads {
        host.event(Event::Validated { step: trainer.steps_done(), metrics: evaluation.metrics });
    }
    Ok(())
}

/// Measures the test split and takes the model out.
fn finish(
    trainer: &mut Trainer,
    end: &Snapshot,
    leads: bool,
    host: &mut dyn Host,
) -> Result<Ending, TrainError> {
    if leads {
        host.event(Event::Evaluating);
    }
    let evaluation = match trainer.dataset().rows(Split::Test) {
        0 => Evaluation::default(),
        _ => trainer.measure(Split::Test)?,
    };
    Ok(Ending::Finished(Box::new(Outcome {
        step: end.step(),
        cursor: end.cursor(),
        stopped_early: trainer.stopped_early().map(str::to_owned),
        evaluation,
        state_hash: end.state_hash().to_owned(),
        sample: if leads { trainer.sample()? } else { None },
        model: leads.then(|| export(trainer, end)),
    })))
}

fn export(trainer: &Trainer, snapshot: &Snapshot) -> ExportedModel {
    ExportedModel {
        weights: snapshot::serialize_state(&snapshot.state().exported()),
        description: ModelDescription::new(trainer.spec(), trainer.dataset()).to_json(),
    }
}

/// Rank 0's account of the steps, a few times a second.
struct Reporter {
    last: Instant,
    last_cursor: u64,
    curve: Vec<(u64, f64)>,
}

impl Reporter {
    fn new(trainer: &Trainer) -> Self {
        Self { last: Instant::now(), last_cursor: trainer.cursor(), curve: Vec::new() }
    }

    fn stepped(&mut self, trainer: &Trainer, stepped: &Stepped, host: &mut dyn Host) {
        let loss = f64::from(stepped.loss);
        if self.curve.len() < REPORT_POINTS_MAX {
            self.curve.push((trainer.steps_done(), loss));
        }
        let elapsed = self.last.elapsed();
        let stops = stepped.vote != StopVote::Continue || !trainer.goes_on();
        if elapsed < REPORT_EVERY && !stops {
            return;
        }
        let samples = trainer.cursor() - self.last_cursor;
        host.event(Event::Progress(Progress {
            step: trainer.steps_done(),
            epoch: trainer.epoch(),
            cursor: trainer.cursor(),
            loss,
            learning_rate: stepped.learning_rate,
            samples_per_second: samples as f64 / elapsed.as_secs_f64().max(1e-9),
            curve: std::mem::take(&mut self.curve),
        }));
        self.last = Instant::now();
        self.last_cursor = trainer.cursor();
    }
}
