//! `phalanx bench`: how fast one worker trains, without a coordinator.

use std::{
    cell::Cell,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::{Args, Subcommand};
use phalanx_collective::{AbortHandle, Group, GroupConfig, Listener};
use phalanx_data::{Dataset, Schema};
use phalanx_protocol::{
    id::{Generation, JobId, Rank, WorkerId},
    message::{Assignment, Event, Peer},
    reference::DatasetRef,
    spec::{JobSpec, ModelSpec, TrainSpec},
};
use phalanx_storage::Store;
use phalanx_train::{Host, Session, Snapshot, StopVote, Tasks};
use serde::Serialize;

use super::job_file::JobFileArgs;
use crate::{
    error::{CliError, Exit},
    show,
};

/// Steps that are made before time is taken.
const WARM_UP_STEPS: u64 = 5;

/// The measuring ends after so many times its length, however little of it was steps.
const PATIENCE: u32 = 20;

/// Measure how fast this machine trains
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  phalanx bench step examples/mnist.toml
  phalanx bench step examples/kjv.toml --seconds 10 --json")]
pub(crate) struct Bench {
    #[command(subcommand)]
    what: What,
}

/// What is measured.
#[derive(Debug, Subcommand)]
enum What {
    Step(Step),
}

/// Measure the samples a second that one worker with one thread trains on
///
/// A step is everything from gathering the rows to updated parameters. Validation is left out,
/// and nothing is kept.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  phalanx bench step examples/mnist.toml
  phalanx bench step examples/mnist.toml --set train.lanes=1 --seconds 10 --json")]
struct Step {
    #[command(flatten)]
    job: JobFileArgs,

    /// How long to measure
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = super::seconds)]
    seconds: Duration,

    /// Print it as JSON, with what another implementation of the model must know
    #[arg(long)]
    json: bool,
}

/// What was measured, and of what.
#[derive(Debug, Serialize)]
struct Measured {
    name: String,
    samples_per_second: f64,
    steps: u64,
    seconds: f64,
    /// Numbers that training changes.
    parameters: usize,
    model: ModelSpec,
    train: TrainSpec,
    schema: Schema,
}

impl Bench {
    /// Measures.
    pub(crate) async fn run(self) -> Result<Exit, CliError> {
        let What::Step(step) = self.what;
        let spec = step.job.read()?;
        let folder = tempfile::tempdir().map_err(CliError::failed)?;
        let (reference, dataset) = prepare(&spec, folder.path()).await?;
        let measure = move || measure(spec, reference, Arc::new(dataset), step.seconds);
        let measured = tokio::task::spawn_blocking(measure).await.map_err(CliError::failed)??;
        if step.json {
            show::print_json(&measured)?;
        } else {
            let Measured { name, samples_per_second, steps, seconds, parameters, .. } = &measured;
            let [rate, parameters] = [*samples_per_second as u64, *parameters as u64].map(show::count);
            show::print(&format!(
                "{name}: {rate} samples/s ({steps} steps in {seconds:.1} s, {parameters} parameters, 1 thread)\n"
            ))?;
        }
        Ok(Exit::Done)
    }
}

/// The job's data set, in a store of its own.
async fn prepare(spec: &JobSpec, folder: &Path) -> Result<(DatasetRef, Dataset), CliError> {
    let store = Store::open(&folder.join("store").to_string_lossy()).map_err(CliError::failed)?;
    let prepared = phalanx_data::prepare(&spec.data, &store, &mut |_| {}).await.map_err(CliError::usage)?;
    let dataset = Dataset::open(&prepared.dataset, &store, &folder.join("cache")).await;
    Ok((prepared.dataset, dataset.map_err(CliError::failed)?))
}

/// Trains for a while as the only rank of a generation.
fn measure(
    mut spec: JobSpec,
    reference: DatasetRef,
    dataset: Arc<Dataset>,
    seconds: Duration,
) -> Result<Measured, CliError> {
    let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().map_err(CliError::failed)?;
    // Until the time is over, whatever the job says.
    (spec.train.epochs, spec.train.steps) = (None, Some(u64::MAX >> 16));
    (spec.train.early_stop, spec.checkpoint.every) = (None, 0);
    let model = Tasks::new().build(&spec, dataset.schema()).map_err(CliError::usage)?;
    let parameters = model.layout().trained_len();
    drop(model);

    let mut stopwatch = Stopwatch { seconds, begin: Instant::now(), watch: Cell::default() };
    let schema = dataset.schema().clone();
    let session = session(&spec, reference, dataset)?;
    one_thread.install(|| phalanx_train::run(session, &mut stopwatch)).map_err(CliError::failed)?;
    let Watch { steps, elapsed, .. } = stopwatch.watch.get();
    if steps == 0 {
        return Err(CliError::usage("no step could be timed: every one is followed by a validation")
            .hint("take a smaller train.batch_size, or more --seconds"));
    }
    let (seconds, samples) = (elapsed.as_secs_f64(), steps as f64 * f64::from(spec.train.batch_size));
    Ok(Measured {
        name: spec.name,
        samples_per_second: samples / seconds,
        steps,
        seconds,
        parameters,
        model: spec.model,
        train: spec.train,
        schema,
    })
}

fn session(spec: &JobSpec, dataset_ref: DatasetRef, dataset: Arc<Dataset>) -> Result<Session, CliError> {
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).map_err(CliError::failed)?;
    let (job, data_addr) = (JobId::new(&spec.name, 1), listener.local_addr());
    let config = GroupConfig {
        job: job.to_string(),
        generation: 1,
        rank: 0,
        lanes: spec.train.lanes,
        peers: vec![data_addr],
        timeout: Duration::from_secs(60),
    };
    let abort = AbortHandle::new().map_err(CliError::failed)?;
    let group = Group::connect(&listener, config, &abort).map_err(CliError::failed)?;
    let assignment = Assignment {
        job,
        generation: Generation::new(1),
        rank: Rank::new(0),
        peers: vec![Peer { worker: WorkerId::new(1), data_addr }],
        spec: Box::new(spec.clone()),
        dataset: dataset_ref,
        resume: None,
        trace: None,
    };
    Ok(Session { assignment, dataset, tasks: Arc::new(Tasks::new()), restored: None, group })
}

/// Times the steps of a session, which asks for a vote before each.
struct Stopwatch {
    seconds: Duration,
    begin: Instant,
    watch: Cell<Watch>,
}

#[derive(Clone, Copy, Default)]
struct Watch {
    votes: u64,
    /// When the step under way began; none if it is not timed.
    last: Option<Instant>,
    /// Steps that were timed, and how long they took together.
    steps: u64,
    elapsed: Duration,
}

impl Host for Stopwatch {
    fn event(&mut self, event: Event) {
        if let Event::Validated { .. } = event {
            // The step before it cannot be told from the validation.
            self.watch.get_mut().last = None;
        }
    }

    fn stop_vote(&self) -> StopVote {
        let (now, mut watch) = (Instant::now(), self.watch.get());
        if let Some(last) = watch.last {
            watch.steps += 1;
            watch.elapsed += now - last;
        }
        watch.votes += 1;
        watch.last = (watch.votes > WARM_UP_STEPS).then_some(now);
        self.watch.set(watch);
        let is_over = watch.elapsed >= self.seconds || now - self.begin >= self.seconds * PATIENCE;
        if is_over { StopVote::Stop } else { StopVote::Continue }
    }

    fn checkpoint(&mut self, _: Snapshot) {}
}
