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
//! 4. All ranks hold the same state after the last step before anything is made of it.

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
use phalanx_member::{Interlude, Rhythm, StopVote, Votes};
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

    /// The state to be saved, elsewhere, and how long it took to take it out: training goes on
    /// when this returns.
    fn checkpoint(&mut self, snapshot: Snapshot, took: Duration);

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
    let rhythm = Rhythm::of(&session.assignment);
    let begun = catch_unwind(AssertUnwindSafe(|| Trainer::new(session, host)));
    let (mut trainer, from) = match begun.unwrap_or_else(panicked) {
        Ok(begun) => begun,
        Err(Unbegun { error, held }) => {
            host.failing(&error);
            return Ended { ending: Err(*error), held: held.map(|held| *held) };
        }
    };
    host.event(Event::Formed { step: trainer.steps_done(), from });
    let ending = catch_unwind(AssertUnwindSafe(|| train(&mut trainer, rhythm, leads, host)));
    let ending = ending.unwrap_or_else(panicked);
    if let Err(error) = &ending {
        host.failing(error);
    }
    let is_sound = ending.as_ref().err().is_none_or(|error| error.setback().leaves_state(rank));
    let held = if is_sound { trainer.into_held() } else { None };
    Ended { ending, held }
}

fn panicked<T, E: From<TrainError>>(panic: Box<dyn Any + Send>) -> Result<T, E> {
    Err(TrainError::Panic(panic_text(panic.as_ref())).into())
}

/// Makes the steps that are left.
fn train(
    trainer: &mut Trainer,
    mut rhythm: Rhythm,
    leads: bool,
    host: &mut dyn Host,
) -> Result<Ending, TrainError> {
    let loader = Loader::spawn(
        Arc::clone(trainer.dataset()),
        trainer.spec().train.clone(),
        trainer.lanes(),
        trainer.steps_done()..trainer.total_steps(),
    )?;
    let abort = trainer.abort_handle();
    let mut reporter = Reporter::new(trainer);
    validate(trainer, leads, host)?;
    while trainer.goes_on() {
        let begun = Instant::now();
        let gathered = loader.next(&abort)?;
        let votes = Votes { stop: host.stop_vote(), is_saving: host.is_saving() };
        let stepped = trainer.step(&gathered, votes)?;
        host.stepped(&trainer.step_time(begun));
        let Some(stepped) = stepped else { continue };
        if leads {
            reporter.stepped(trainer, &stepped, host);
        }
        validate(trainer, leads, host)?;
        let interlude = rhythm.after_step(trainer.steps_done(), stepped.votes, trainer.goes_on());
        if interlude.verify || interlude.save {
            pause(trainer, &Taken::from(trainer)?, interlude, leads, host)?;
        }
        if interlude.stop {
            return Ok(Ending::Stopped { step: trainer.steps_done() });
        }
    }
    let end = Taken::from(trainer)?;
    // What comes then may fail; training is not done again for that.
    pause(trainer, &end, rhythm.at_end(end.state.step()), leads, host)?;
    finish(trainer, &end.state, leads, host)
}

/// The state between two steps.
struct Taken {
    state: Snapshot,
    /// How long it took.
    took: Duration,
}

impl Taken {
    fn from(trainer: &Trainer) -> Result<Self, TrainError> {
        let begun = Instant::now();
        let state = trainer.snapshot()?;
        Ok(Self { state, took: begun.elapsed() })
    }
}

/// Compares and saves the state between two steps, as far as that is wanted.
fn pause(
    trainer: &Trainer,
    Taken { state, took }: &Taken,
    interlude: Interlude,
    leads: bool,
    host: &mut dyn Host,
) -> Result<(), TrainError> {
    if interlude.verify {
        trainer.verify(state)?;
        if leads {
            host.event(Event::Verified { step: state.step(), state_hash: state.state_hash().to_owned() });
        }
    }
    if interlude.save {
        host.checkpoint(state.clone(), *took);
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
