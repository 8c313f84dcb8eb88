//! One rank's way through a job: train, validate, save, stop or finish, measure
//! the test split, export the model.
//!
//! Invariants, on every rank of a generation alike:
//!
//! 1. All ranks make the same steps, measure after the same ones, and stop after
//!    the same one: a vote to stop is reduced with the gradient.
//! 2. A snapshot is taken between two steps, after the validation that belongs to
//!    the last one.
//! 3. All ranks take the same snapshots: whether one is still busy with the last is reduced
//!    with the gradient, too. One that is due meanwhile is taken when none is.

use std::{
    any::Any,
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use phalanx_collective::Group;
use phalanx_data::{Dataset, Split};
use phalanx_evaluate::decision::Decision;
use phalanx_protocol::{
    message::{Assignment, Event, Failure, Progress},
    pace::StepTime,
    reference::HashHex,
    spec::MetricName,
};

use crate::{
    error::TrainError,
    exam::Examined,
    handover::Held,
    ledger::Ledger,
    loader::{Loader, panic_text},
    measure::watched,
    predictor::ModelDescription,
    progress::Curve,
    snapshot::{self, Snapshot},
    tasks::Tasks,
    trainer::{Stepped, Trainer, Unbegun},
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
    /// What this rank has kept of the job's state from an earlier generation.
    pub held: Option<Held>,
    /// Where to record what lanes take, if the job asks for it.
    pub ledger: Option<Arc<Ledger>>,
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
    fn numbers(self) -> [f32; 2] {
        match self {
            Self::Continue => [0.0, 0.0],
            Self::Stop => [1.0, 0.0],
            Self::SaveAndStop => [1.0, 1.0],
        }
    }
}

/// What a rank tells the others with a step, or all of them together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Votes {
    pub(crate) stop: StopVote,
    /// Whether the last checkpoint is still being written.
    pub(crate) is_saving: bool,
}

/// How many numbers [`Votes`] are.
pub(crate) const VOTES: usize = 3;

impl Votes {
    /// What a rank says.
    fn of(host: &dyn Host) -> Self {
        Self { stop: host.stop_vote(), is_saving: host.is_saving() }
    }

    /// The votes as numbers that can be summed.
    pub(crate) fn numbers(self) -> [f32; VOTES] {
        let [stop, save] = self.stop.numbers();
        [stop, save, f32::from(u8::from(self.is_saving))]
    }

    /// What the sums of all ranks' votes mean.
    pub(crate) fn from_numbers([stop, save, is_saving]: [f32; VOTES]) -> Self {
        let stop = match (stop > 0.0, save > 0.0) {
            (false, _) => StopVote::Continue,
            (true, false) => StopVote::Stop,
            (true, true) => StopVote::SaveAndStop,
        };
        Self { stop, is_saving: is_saving > 0.0 }
    }
}

/// Who runs the session: hears of it and may stop it. All calls come from the
/// trainer's thread, which waits for them.
pub trait Host {
    /// Something happened.
    fn event(&mut self, event: Event);

    /// A step was made. Comes once a step, and must be quick.
    fn stepped(&mut self, time: &StepTime);

    /// Whether this rank wants to stop.
    fn stop_vote(&self) -> StopVote;

    /// Whether the last state is still being saved. While it is so on any rank, no other one
    /// is handed over, except the last.
    fn is_saving(&self) -> bool;

    /// The state to be saved, elsewhere: training goes on when this returns.
    fn checkpoint(&mut self, snapshot: Snapshot);

    /// Reads the checkpoint that the assignment names; nobody holds a newer state.
    ///
    /// # Errors
    ///
    /// Why it cannot be read.
    fn restore(&mut self) -> Result<Snapshot, Failure>;

    /// This rank is about to give up. Its peers do not notice before this returns: who has a
    /// reason of its own is to say so first.
    fn failing(&mut self, error: &TrainError);
}

/// How a session ended, and what is left of it.
#[derive(Debug)]
pub struct Ended {
    /// Its ending. It is an error where the model cannot be built, the group breaks, the
    /// loss or its gradient is no finite number any more, or the ranks differ.
    pub ending: Result<Ending, TrainError>,
    /// The state after the last step, for the next generation; `None` where it cannot be trusted.
    pub held: Option<Held>,
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
    /// What the model says of the validation and the test split, and what all ranks have found out
    /// about it together.
    pub examined: Examined,
    /// Names of the metrics that somebody watches or asks for.
    pub watched: Vec<MetricName>,
    /// How training went.
    pub training: TrainingCurves,
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
    /// What a [`Predictor`](crate::Predictor) needs beside them.
    pub description: ModelDescription,
    /// How many numbers were learnt.
    pub parameters: u64,
}

/// How training went: figures after steps, thinned.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TrainingCurves {
    /// The loss of steps.
    pub loss: Curve,
    /// What validations came to, by metric.
    pub validation: BTreeMap<String, Curve>,
    /// Steps that were planned.
    pub steps_planned: u64,
    /// Steps of a pass over the training split.
    pub steps_per_epoch: u64,
}

/// Runs one rank of a job to its end. Blocks the thread it is called on, which
/// computes.
pub fn run(session: Session, host: &mut dyn Host) -> Ended {
    let rank = session.assignment.rank;
    let leads = rank.is_leader();
    let saved = session.assignment.resume.as_ref().map_or(0, |resume| resume.step);
    let verify_at = session.assignment.verify_at;
    let begun = catch_unwind(AssertUnwindSafe(|| Trainer::new(session, host)));
    let (mut trainer, from) = match begun.unwrap_or_else(panicked) {
        Ok(begun) => begun,
        Err(Unbegun { error, held }) => {
            host.failing(&error);
            return Ended { ending: Err(*error), held };
        }
    };
    host.event(Event::Formed { step: trainer.steps_done(), from });
    let ending = catch_unwind(AssertUnwindSafe(|| train(&mut trainer, saved, verify_at, leads, host)));
    let ending = ending.unwrap_or_else(panicked);
    if let Err(error) = &ending {
        host.failing(error);
    }
    let is_sound = ending.as_ref().err().is_none_or(|error| error.leaves_state_sound(rank));
    let held = if is_sound { trainer.into_held() } else { None };
    Ended { ending, held }
}

fn panicked<T, E: From<TrainError>>(panic: Box<dyn Any + Send>) -> Result<T, E> {
    Err(TrainError::Panic(panic_text(panic.as_ref())).into())
}

/// Makes the steps that are left. The newest checkpoint has the state after `saved` steps; that
/// after `verify_at` is in dispute.
fn train(
    trainer: &mut Trainer,
    saved: u64,
    verify_at: Option<u64>,
    leads: bool,
    host: &mut dyn Host,
) -> Result<Ending, TrainError> {
    let every = trainer.spec().checkpoint.every;
    let loader = Loader::spawn(
        Arc::clone(trainer.dataset()),
        trainer.spec().train.clone(),
        trainer.lanes(),
        trainer.steps_done()..trainer.total_steps(),
    )?;
    let abort = trainer.abort_handle();
    let mut saved_at = saved;
    let mut reporter = Reporter::new(trainer);
    validate(trainer, leads, host)?;
    while trainer.goes_on() {
        let begun = Instant::now();
        let gathered = loader.next(&abort)?;
        let stepped = trainer.step(&gathered, Votes::of(host))?;
        host.stepped(&trainer.step_time(begun));
        let Some(stepped) = stepped else { continue };
        if leads {
            reporter.stepped(trainer, &stepped, host);
        }
        validate(trainer, leads, host)?;
        match stepped.votes.stop {
            StopVote::Continue => {}
            StopVote::Stop => return Ok(Ending::Stopped { step: trainer.steps_done() }),
            StopVote::SaveAndStop => {
                host.checkpoint(trainer.snapshot()?);
                return Ok(Ending::Stopped { step: trainer.steps_done() });
            }
        }
        verify(trainer, verify_at, leads, host)?;
        let is_due = every > 0 && trainer.steps_done() / every > saved_at / every && trainer.goes_on();
        if is_due && !stepped.votes.is_saving {
            saved_at = trainer.steps_done();
            host.checkpoint(trainer.snapshot()?);
        }
    }
    let end = trainer.snapshot()?;
    if end.step() > saved_at {
        // What comes now may fail; training is not done again for that.
        host.checkpoint(end.clone());
    }
    finish(trainer, &end, leads, host)
}

/// Compares the state with that of the other ranks, where it is time or the coordinator asks.
fn verify(
    trainer: &Trainer,
    verify_at: Option<u64>,
    leads: bool,
    host: &mut dyn Host,
) -> Result<(), TrainError> {
    let (step, every) = (trainer.steps_done(), trainer.spec().train.verify_every);
    let is_due = every > 0 && trainer.world_size() > 1 && step.is_multiple_of(every);
    if !is_due && verify_at != Some(step) {
        return Ok(());
    }
    let state_hash = trainer.verify()?;
    if leads {
        host.event(Event::Verified { step, state_hash });
    }
    Ok(())
}

/// Measures the validation split, if that is due.
fn validate(trainer: &mut Trainer, leads: bool, host: &mut dyn Host) -> Result<(), TrainError> {
    if !trainer.must_validate() {
        return Ok(());
    }
    let evaluation = trainer.measure(Split::Validation)?;
    trainer.validated(&evaluation)?;
    if leads {
        host.event(Event::Validated { step: trainer.steps_done(), metrics: evaluation.metrics });
    }
    Ok(())
}

/// Examines the model and takes it out.
fn finish(
    trainer: &mut Trainer,
    end: &Snapshot,
    leads: bool,
    host: &mut dyn Host,
) -> Result<Ending, TrainError> {
    if leads {
        host.event(Event::Evaluating);
    }
    let examined = trainer.examine()?;
    Ok(Ending::Finished(Box::new(Outcome {
        step: end.step(),
        cursor: end.cursor(),
        stopped_early: trainer.stopped_early().map(str::to_owned),
        watched: watched(trainer.spec()),
        training: trainer.curves(),
        model: leads.then(|| export(trainer, end, examined.decision)),
        examined,
        state_hash: end.state_hash().to_owned(),
        sample: if leads { trainer.sample()? } else { None },
    })))
}

fn export(trainer: &Trainer, snapshot: &Snapshot, decision: Decision) -> ExportedModel {
    ExportedModel {
        weights: snapshot::serialize_state(&snapshot.state().exported()),
        description: ModelDescription::new(trainer.spec(), trainer.dataset(), decision),
        parameters: trainer.parameters(),
    }
}

/// Rank 0's account of the steps, a few times a second.
struct Reporter {
    /// The first step is told at once: it shows that the generation makes progress.
    is_first: bool,
    last: Instant,
    last_cursor: u64,
    curve: Vec<(u64, f64)>,
}

impl Reporter {
    fn new(trainer: &Trainer) -> Self {
        Self { is_first: true, last: Instant::now(), last_cursor: trainer.cursor(), curve: Vec::new() }
    }

    fn stepped(&mut self, trainer: &Trainer, stepped: &Stepped, host: &mut dyn Host) {
        let loss = f64::from(stepped.loss);
        if self.curve.len() < REPORT_POINTS_MAX {
            self.curve.push((trainer.steps_done(), loss));
        }
        let elapsed = self.last.elapsed();
        let stops = stepped.votes.stop != StopVote::Continue || !trainer.goes_on();
        if elapsed < REPORT_EVERY && !stops && !std::mem::take(&mut self.is_first) {
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
