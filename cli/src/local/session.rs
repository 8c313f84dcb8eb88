//! One job on this machine, from its beginning to its end: a coordinator in this
//! process, workers beside it, and somebody at the keyboard who may interrupt.

use std::{collections::BTreeSet, time::Duration};

use phalanx_protocol::{
    spec::JobSpec,
    view::{JobState, JobView},
};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{Instrument as _, info_span};

use super::{
    embedded::Embedded,
    fleet::{Death, Fleet, WorkerOptions},
};
use crate::{
    client::{Client, ClientError},
    error::{CliError, Exit},
    home::Home,
    show::{DIM, GOOD, Screen},
    signal::StopSignals,
};

/// How often it is asked which workers have come up.
const ARRIVALS_EVERY: Duration = Duration::from_millis(50);

/// How long nothing may be heard of a job that waits for workers when all of this run have come up.
const VAIN_AFTER: Duration = Duration::from_secs(3);

/// Where and with how many workers.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// The home; made if it is not there.
    pub(crate) home: Home,
    /// Processors of this machine.
    pub(crate) cores: u32,
    /// How each is started.
    pub(crate) worker: WorkerOptions,
}

/// Which job.
#[derive(Debug, Clone)]
pub(crate) enum Begin {
    /// A new one.
    Submit {
        /// Its job file.
        spec: Box<JobSpec>,
        /// How many workers.
        workers: u32,
    },
    /// One of the home that has stopped.
    Resume {
        /// It.
        id: String,
        /// How many workers; as many as it has lanes and this machine has cores by default.
        workers: Option<u32>,
    },
}

/// How a job ended here.
#[derive(Debug)]
pub(crate) enum Ended {
    /// It is over, perhaps because it was interrupted.
    Over {
        /// What it came to.
        job: Box<JobView>,
        /// Whether this process was asked to stop.
        interrupted: bool,
    },
    /// This process was asked to stop before there was a job, or asked twice.
    AtOnce(Option<String>),
}

/// A coordinator, its workers and the live view.
#[derive(Debug)]
struct Session<'a> {
    options: &'a Options,
    workers: u32,
    client: Client,
    fleet: Fleet,
    screen: Screen,
    signals: StopSignals,
    /// Process ids of workers that have come up.
    arrived: BTreeSet<u32>,
}

/// Runs a job to its end, then hands it with a client of the still living coordinator to `tell`.
///
/// # Errors
///
/// If the home is in use, workers cannot be started, or the coordinator refuses the job.
pub(crate) async fn run(
    options: &Options,
    begin: Begin,
    tell: impl AsyncFnOnce(&Client, Ended) -> Result<Exit, CliError>,
) -> Result<Exit, CliError> {
    let signals = StopSignals::listen()?;
    let mut embedded = Embedded::start(&options.home).await?;
    let client = embedded.client().clone();
    let announced = options.home.announce(&embedded.announcement().await?)?;
    let ended = match Session::open(options, &embedded, signals, &begin).await {
        Ok(mut session) => {
            let ended = tokio::select! {
                ended = session.job(begin) => ended,
                error = embedded.failed() => Err(error),
            };
            session.close(&ended).await;
            ended
        }
        Err(error) => Err(error),
    };
    let exit = match ended {
        Ok(ended) => tell(&client, ended).await,
        Err(error) => Err(error),
    };
    drop(announced);
    embedded.stop().await;
    exit
}

impl<'a> Session<'a> {
    async fn open(
        options: &'a Options,
        embedded: &Embedded,
        signals: StopSignals,
        begin: &Begin,
    ) -> Result<Self, CliError> {
        let client = embedded.client().clone();
        let mut screen = Screen::new();
        screen.say(format!("{DIM}coordinator{DIM:#} {}", client.address()));
        pause_unfinished(&client, &screen, begin).await?;
        let workers = match begin {
            Begin::Submit { workers, .. } => *workers,
            Begin::Resume { id, workers } => {
                let job = client.job(id).await?;
                screen.skip(&job);
                worker_count(*workers, job.lanes, options.cores)?
            }
        };
        let fleet = Fleet::start(workers, embedded.rpc_addr(), &options.home, &options.worker)?;
        Ok(Self { options, workers, client, fleet, screen, signals, arrived: BTreeSet::new() })
    }

    /// Begins the job and watches it to its end.
    async fn job(&mut self, begin: Begin) -> Result<Ended, CliError> {
        let job = match begin {
            Begin::Submit { spec, .. } => {
                let span = info_span!("submit", name = spec.name);
                self.client.submit(*spec).instrument(span).await?
            }
            Begin::Resume { id, .. } => match self.client.job(&id).await? {
                // Its training is over: what is left is done without workers.
                job if job.state == JobState::Registering => job,
                _ => self.client.resume(&id, Some(self.workers)).await?,
            },
        };
        let id = job.id.to_string();
        let mut follow = self.client.follow(&id);
        let mut arrivals = interval(ARRIVALS_EVERY);
        arrivals.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut interrupted = false;
        loop {
            tokio::select! {
                job = follow.next() => {
                    let job = job?;
                    // That it waits for workers which are coming up is no news.
                    if job.state != JobState::Queued || self.have_arrived() {
                        self.screen.show(&job);
                    }
                    if job.state.is_over() {
                        return Ok(Ended::Over { job: Box::new(job), interrupted });
                    }
                }
                death = self.fleet.next_death() => self.mourn(&id, death, interrupted).await?,
                () = self.signals.next() => {
                    if interrupted {
                        return Ok(Ended::AtOnce(Some(id)));
                    }
                    interrupted = true;
                    self.interrupt(&id).await?;
                }
                _ = arrivals.tick(), if !self.have_arrived() => self.greet().await?,
                () = sleep(VAIN_AFTER), if self.have_arrived() => {
                    if let Some(error) = self.waits_in_vain(&self.client.job(&id).await?) {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Whether all workers that live have come up.
    fn have_arrived(&self) -> bool {
        self.arrived.len() >= self.fleet.living()
    }

    /// Asks the coordinator to save the job and pause it.
    async fn interrupt(&self, id: &str) -> Result<(), CliError> {
        self.screen.say("stopping after this step and saving; once more to stop at once");
        match self.client.interrupt(id).await {
            // It has ended by itself in this moment.
            Ok(_) | Err(ClientError::Refused { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Tells which workers have come up.
    async fn greet(&mut self) -> Result<(), CliError> {
        for worker in self.client.workers().await? {
            if let Some(number) = self.fleet.number(worker.pid)
                && self.arrived.insert(worker.pid)
            {
                self.screen.say(format!(
                    "{GOOD}worker {number}{GOOD:#} pid {} at {}, {}",
                    worker.pid, worker.data_addr, worker.kind
                ));
            }
        }
        Ok(())
    }

    /// Tells of a worker that died. Without any left, the job cannot go on here.
    async fn mourn(&mut self, id: &str, death: Death, interrupted: bool) -> Result<(), CliError> {
        let Death { number, pid, how, log, tail } = death;
        self.arrived.remove(&pid);
        let left = self.fleet.living();
        self.screen
            .warn(format!("worker {number} (pid {pid}) died: {how}; {left} left; log: {}", log.display()));
        for line in tail {
            self.screen.say(format!("  {DIM}│ {line}{DIM:#}"));
        }
        if left > 0 {
            return Ok(());
        }
        if !interrupted {
            // Or it would be the first to go on when this home is used again.
            let _ = self.client.interrupt(id).await;
        }
        let hint = format!("`{}` goes on", self.resume_command(id));
        Err(CliError::failed(format!("no worker is left for {id}")).hint(hint))
    }

    /// A job that waits although all workers of this run are there: no other one will come.
    fn waits_in_vain(&self, job: &JobView) -> Option<CliError> {
        let reason = job.reason.as_ref().filter(|_| job.state == JobState::Queued)?;
        let error = CliError::failed(format!("{} cannot run here: {reason}", job.id));
        Some(error.hint(format!("`{}` goes on", self.resume_command(job.id.as_str()))))
    }

    fn resume_command(&self, id: &str) -> String {
        let WorkerOptions { binary, devices, .. } = &self.options.worker;
        self.options.home.resume_command(id, binary.as_deref(), devices)
    }

    async fn close(self, ended: &Result<Ended, CliError>) {
        self.screen.clear();
        match ended {
            Ok(Ended::AtOnce(_)) => self.fleet.kill().await,
            Ok(Ended::Over { .. }) | Err(_) => self.fleet.stop().await,
        }
    }
}

/// How many workers a job with so many lanes gets: as many as are asked for, or as there are cores.
///
/// # Errors
///
/// If more are asked for than there are lanes.
pub(crate) fn worker_count(wanted: Option<u32>, lanes: u32, cores: u32) -> Result<u32, CliError> {
    match wanted {
        Some(workers) if workers > lanes => {
            Err(CliError::usage(format!("{workers} workers are more than the job's {lanes} lanes")).hint(
                "a lane is a fixed slice of every batch and is never divided; another number of lanes \
                 (train.lanes, a divisor of train.batch_size) makes another job with other weights",
            ))
        }
        Some(workers) => Ok(workers),
        None => Ok(lanes.min(cores).max(1)),
    }
}

/// Pauses jobs that were left unfinished when this home was last used: this
/// run's workers are for its own job.
async fn pause_unfinished(client: &Client, screen: &Screen, begin: &Begin) -> Result<(), CliError> {
    for job in client.jobs().await? {
        // One that is being registered needs no worker, and is done in a moment.
        if job.state.is_over() || job.state == JobState::Registering {
            continue;
        }
        match client.interrupt(job.id.as_str()).await {
            Ok(_) => {}
            // It has ended by itself in this moment.
            Err(ClientError::Refused { .. }) => continue,
            Err(error) => return Err(error.into()),
        }
        if !matches!(begin, Begin::Resume { id, .. } if id == job.id.as_str()) {
            screen.say(format!("{} was left unfinished and is paused", job.id));
        }
    }
    Ok(())
}
