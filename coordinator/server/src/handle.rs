//! How the interfaces talk to the driver: messages with a place for the answer.
//! Holds no state of the coordinator.
//!
//! A driver has a line of its own; a handle finds that of the driver which leads
//! at the moment. An answer that comes when the driver's term is over is not
//! passed on: others may have decided otherwise by then.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use phalanx_core::{Coordinator, Input, Now, Rejected, Reply};
use phalanx_protocol::{
    id::{JobId, WorkerId},
    message::{Hello, Numbered, Report},
    pace::Pace,
    rpc,
    spec::{JobSpec, WorkersSpec},
};
use phalanx_telemetry::current_trace_parent;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};
use tracing::{Span, info_span};

use crate::{
    clock::Clock,
    seat::{Leader, Seat, Term},
};

/// The most messages that wait for the driver; whoever sends one more waits too.
pub(crate) const MESSAGES_MAX: usize = 1_024;

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The state machine did not take the input.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// The driver has stopped; whether the input was stored is not known.
    #[error("the coordinator is stopping, or leads no more")]
    Stopped,
    /// This coordinator stands by: nothing was done.
    #[error("this coordinator stands by")]
    Standby(Option<Leader>),
}

/// Something to be done with the state at hand, once what must survive of it is durable.
pub(crate) type Look = Box<dyn FnOnce(&Coordinator) + Send>;

/// What the driver is told.
pub(crate) enum Message {
    /// Something happened.
    Input {
        /// It.
        input: Input,
        /// When it was heard of.
        at: Stamp,
        /// What it belongs to in logs and traces.
        span: Span,
        /// Where the answer goes once its records are durable.
        answer: oneshot::Sender<Result<Reply, Rejected>>,
    },
    /// A worker waits for directives.
    Wait {
        /// The worker.
        worker: WorkerId,
        /// The last directive that it has seen.
        after: u64,
        /// How fast it trains.
        pace: Option<Pace>,
        /// When it was heard of.
        at: Stamp,
        /// Where the directives go once there are any; never an empty list.
        answer: oneshot::Sender<Result<Vec<Numbered>, Rejected>>,
    },
    /// The connection is gone over which a worker called.
    Gone {
        /// The worker.
        worker: WorkerId,
        /// When that was seen.
        at: Stamp,
    },
    /// Somebody wants to see something.
    Read(Look),
}

/// When something was heard of. Until it is dropped, the message that carries it
/// is on its way to the driver.
#[derive(Debug)]
pub(crate) struct Stamp {
    at: Now,
    on_the_way: Arc<AtomicUsize>,
}

impl Stamp {
    /// The driver has it.
    pub(crate) fn taken(self) -> Now {
        self.at
    }
}

impl Drop for Stamp {
    fn drop(&mut self) {
        self.on_the_way.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The way to the driver of a coordinator, while it leads. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    seat: watch::Receiver<Seat>,
}

/// The way to one driver.
#[derive(Debug)]
pub(crate) struct Line {
    clock: Clock,
    term: Term,
    on_the_way: Arc<AtomicUsize>,
    messages: mpsc::Sender<Message>,
    changes: watch::Receiver<u64>,
}

/// The driver's end of its line.
#[derive(Debug)]
pub(crate) struct Inbox {
    pub(crate) messages: mpsc::Receiver<Message>,
    /// Stamps that the driver has not got yet: in the queue, or waiting for a place in it.
    on_the_way: Arc<AtomicUsize>,
    /// Counts changes of jobs.
    pub(crate) changes: watch::Sender<u64>,
    /// For how long the driver may act.
    pub(crate) term: Term,
}

/// A line that tells the time by `clock` and is good for `term`, and what the driver needs to serve it.
pub(crate) fn line(clock: Clock, term: Term) -> (Line, Inbox) {
    let (sender, messages) = mpsc::channel(MESSAGES_MAX);
    let (changes, seen) = watch::channel(0);
    let on_the_way = Arc::new(AtomicUsize::new(0));
    let inbox = Inbox { messages, on_the_way: Arc::clone(&on_the_way), changes, term: term.clone() };
    (Line { clock, term, on_the_way, messages: sender, changes: seen }, inbox)
}

impl Inbox {
    /// Whether something was heard of that the driver has not got yet.
    pub(crate) fn is_behind(&self) -> bool {
        self.on_the_way.load(Ordering::SeqCst) > 0
    }
}

impl Handle {
    /// A handle for whoever sits in this seat.
    pub(crate) fn new(seat: watch::Receiver<Seat>) -> Self {
        Self { seat }
    }

    /// The way to the driver, if this coordinator leads.
    fn line(&self) -> Result<Arc<Line>, CallError> {
        match &*self.seat.borrow() {
            Seat::Leading(line) => Ok(Arc::clone(line)),
            Seat::Standby(leader) => Err(CallError::Standby(leader.clone())),
        }
    }

    /// Whether this coordinator takes calls at all; an error says why not.
    pub(crate) fn leads(&self) -> Result<(), CallError> {
        self.line().map(drop)
    }

    /// Looks at the state.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Coordinator) -> T + Send + 'static,
    ) -> Result<T, CallError> {
        let line = self.line()?;
        let (answer, seen) = oneshot::channel();
        let read = Box::new(move |coordinator: &Coordinator| {
            // Whoever asked may have gone away.
            let _ = answer.send(look(coordinator));
        });
        line.say(Message::Read(read)).await?;
        line.answer(seen).await
    }

    /// Tells that a job changes; which one is not told.
    pub(crate) fn changes(&self) -> Result<watch::Receiver<u64>, CallError> {
        Ok(self.line()?.changes.clone())
    }

    /// Hands in a job. All that becomes of it hangs under a span `schedule`,
    /// whose parent is the current one. A second time with the same key it is the same job.
    pub(crate) async fn submit(&self, spec: JobSpec, key: Option<String>) -> Result<JobId, CallError> {
        let span = info_span!("schedule", name = spec.name);
        let trace = span.in_scope(current_trace_parent);
        match self.input(Input::Submit { spec: Box::new(spec), trace, key }, span).await? {
            Reply::Job(id) => Ok(id),
            other => unreachable!("invariant: a submission is answered with its job, not {other:?}"),
        }
    }

    /// Gives a job up.
    pub(crate) async fn cancel(&self, job: JobId) -> Result<(), CallError> {
        let span = info_span!("cancel", %job);
        self.input(Input::Cancel { job }, span).await.map(drop)
    }

    /// Stops a job for now.
    pub(crate) async fn interrupt(&self, job: JobId) -> Result<(), CallError> {
        let span = info_span!("interrupt", %job);
        self.input(Input::Interrupt { job }, span).await.map(drop)
    }

    /// Lets a job go on, with another number of workers if one is given.
    pub(crate) async fn resume(&self, job: JobId, workers: Option<WorkersSpec>) -> Result<(), CallError> {
        let span = info_span!("resume", %job);
        self.input(Input::Resume { job, workers }, span).await.map(drop)
    }

    /// Changes how many workers a job takes.
    pub(crate) async fn scale(&self, job: JobId, workers: WorkersSpec) -> Result<(), CallError> {
        let span = info_span!("scale", %job);
        self.input(Input::Scale { job, workers }, span).await.map(drop)
    }

    /// Lets a worker finish its step and leave.
    pub(crate) async fn drain(&self, worker: WorkerId) -> Result<(), CallError> {
        let span = info_span!("drain", %worker);
        self.input(Input::Drain { worker }, span).await.map(drop)
    }

    /// Moves an alias.
    pub(crate) async fn set_alias(
        &self,
        model: String,
        alias: String,
        version: u64,
    ) -> Result<(), CallError> {
        let span = info_span!("alias", model, alias, version);
        self.input(Input::SetAlias { model, alias, version, by: "user".to_owned() }, span).await.map(drop)
    }

    /// Lets a worker in.
    pub(crate) async fn attach(&self, hello: Hello) -> Result<WorkerId, rpc::NotAttached> {
        let span = info_span!("attach", host = hello.host, pid = hello.pid);
        match self.input(Input::Attach(Box::new(hello)), span).await {
            Ok(Reply::Attached(worker)) => Ok(worker),
            Ok(other) => unreachable!("invariant: a worker is answered with its number, not {other:?}"),
            Err(CallError::Rejected(Rejected::Attach(refused))) => Err(refused),
            Err(CallError::Standby(leader)) => Err(standby(leader).into()),
            Err(other) => Err(rpc::NotAttached::Unavailable(other.to_string())),
        }
    }

    /// The directives for a worker after number `after`, as soon as there are
    /// any; none after `wait`. It has trained at `pace` since the last time.
    pub(crate) async fn directives(
        &self,
        worker: WorkerId,
        (after, pace): (u64, Option<Pace>),
        wait: Duration,
    ) -> Result<Vec<Numbered>, rpc::Rejected> {
        let line = self.line().map_err(for_worker)?;
        let (answer, directives) = oneshot::channel();
        let message = Message::Wait { worker, after, pace, at: line.stamp(), answer };
        line.say(message).await.map_err(for_worker)?;
        match timeout(wait, line.answer(directives)).await {
            Ok(Ok(answer)) => answer.map_err(|rejected| for_worker(rejected.into())),
            _ if line.term.is_over() || line.messages.is_closed() => Err(for_worker(CallError::Stopped)),
            // A newer wait of the same worker took the place of this one.
            Ok(Err(_)) | Err(_) => Ok(Vec::new()),
        }
    }

    /// Takes a worker's report.
    pub(crate) async fn report(&self, worker: WorkerId, report: Report) -> Result<(), rpc::Rejected> {
        let span = info_span!("report", %worker, job = %report.job, generation = report.generation.get());
        let input = Input::Report { worker, report: Box::new(report) };
        self.input(input, span).await.map(drop).map_err(for_worker)
    }

    /// [`drain`](Self::drain), as a worker wants it of itself.
    pub(crate) async fn drain_itself(&self, worker: WorkerId) -> Result<(), rpc::Rejected> {
        self.drain(worker).await.map_err(for_worker)
    }

    /// The connection is gone over which a worker called, and nothing of it is under way.
    pub(crate) async fn gone(&self, worker: WorkerId) {
        // Where no driver is, nobody waits for the worker.
        if let Ok(line) = self.line() {
            let _ = line.say(Message::Gone { worker, at: line.stamp() }).await;
        }
    }

    /// Lets a worker go. That nobody hears it does no harm: its lease ends.
    pub(crate) async fn detach(&self, worker: WorkerId) {
        let _ = self.input(Input::Detach { worker }, info_span!("detach", %worker)).await;
    }

    async fn input(&self, input: Input, span: Span) -> Result<Reply, CallError> {
        let line = self.line()?;
        let (answer, answered) = oneshot::channel();
        line.say(Message::Input { input, at: line.stamp(), span, answer }).await?;
        Ok(line.answer(answered).await??)
    }
}

impl Line {
    async fn say(&self, message: Message) -> Result<(), CallError> {
        self.messages.send(message).await.map_err(|_| CallError::Stopped)
    }

    async fn answer<T>(&self, answer: oneshot::Receiver<T>) -> Result<T, CallError> {
        let answer = answer.await.map_err(|_| CallError::Stopped)?;
        if self.term.is_over() { Err(CallError::Stopped) } else { Ok(answer) }
    }

    /// Counted first and read then: what the driver does not see on its way is stamped later.
    fn stamp(&self) -> Stamp {
        self.on_the_way.fetch_add(1, Ordering::SeqCst);
        Stamp { at: self.clock.now(), on_the_way: Arc::clone(&self.on_the_way) }
    }
}

/// How the RPC says it.
fn for_worker(error: CallError) -> rpc::Rejected {
    match error {
        CallError::Rejected(Rejected::Call(rejected)) => rejected,
        CallError::Standby(leader) => standby(leader).into(),
        other => rpc::Rejected::Unavailable(other.to_string()),
    }
}

fn standby(leader: Option<Leader>) -> rpc::Standby {
    rpc::Standby { leader: leader.map(|leader| leader.rpc) }
}
