//! Where other ranks dial in: one per worker process, for all its generations. A
//! thread of its own takes connections in, secures them where there are certificates, reads
//! their hello and hands them to [`Admission`], which knows what to do with them; a group that is being connected
//! has a [`Seat`] and takes its connections out.
//!
//! Nobody can hold the thread up: all sockets are non-blocking, a hello must be there
//! within [`HELLO_TIME_MAX`], TLS and all, and at most [`GUESTS_MAX`] connections may owe
//! theirs, with at most 64 KiB of a handshake each.

use std::{
    fmt, io,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use phalanx_tls::{Tls, TlsFailure};
use rustix::event::{PollFd, PollFlags};
use tracing::{debug, warn};

use crate::{
    admission::{Admission, Arrival},
    channel::Channel,
    handshake::HelloReader,
    signal::Signal,
    wait::wait,
    wire::{Hello, Purpose, WireError},
};

/// A connection that has not said hello by then is closed.
const HELLO_TIME_MAX: Duration = Duration::from_secs(5);

/// The most connections that owe their hello; more wait in the system's backlog.
const GUESTS_MAX: usize = 128;

/// How long no connection is taken in after the system refused one, for example
/// because the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who is refused for its certificate is told about once in so long a time: strangers
/// must not fill the log.
const WARNING_PAUSE: Duration = Duration::from_secs(10);

/// Where other ranks dial in. Dropping it ends its thread and closes what waits there.
pub struct Listener {
    local_addr: SocketAddr,
    tls: Option<Tls>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// Listens at `addr`; port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// Those of the operating system, such as [`io::ErrorKind::AddrInUse`].
    pub fn bind(addr: SocketAddr) -> io::Result<Self> {
        Self::new(addr, None)
    }

    /// Listens at `addr` for ranks of one cluster: whoever dials, and whoever is dialed for
    /// a group of this listener's, must present a certificate as [`Tls`] describes it. What
    /// goes over TCP is encrypted then.
    ///
    /// # Errors
    ///
    /// Those of [`bind`](Self::bind).
    pub fn bind_secured(addr: SocketAddr, tls: Tls) -> io::Result<Self> {
        Self::new(addr, Some(tls))
    }

    fn new(addr: SocketAddr, tls: Option<Tls>) -> io::Result<Self> {
        let socket = TcpListener::bind(addr)?;
        socket.set_nonblocking(true)?;
        let local_addr = socket.local_addr()?;
        let shared = Arc::new(Shared {
            stopped: AtomicBool::new(false),
            stop: Signal::new()?,
            state: Mutex::new(State { admission: Admission::new(), seats: Vec::new() }),
        });
        let reception = Reception {
            socket,
            tls: tls.clone(),
            shared: Arc::clone(&shared),
            guests: Vec::new(),
            paused_until: None,
            warned_at: None,
        };
        let thread =
            thread::Builder::new().name("collective-listener".into()).spawn(move || reception.serve())?;
        Ok(Self { local_addr, tls, shared, thread: Some(thread) })
    }

    /// Where it listens, as bound: an unspecified address (`0.0.0.0`) stays one.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// What its groups' connections are secured with.
    pub(crate) fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// Opens a generation for connections, or fails with the newest one of the job,
    /// if that is not older.
    pub(crate) fn open(&self, job: &str, generation: u64) -> io::Result<Result<Seat, u64>> {
        let signal = Arc::new(Signal::new()?);
        let mut state = self.shared.lock();
        let stale = match state.admission.open(job, generation) {
            Ok(stale) => stale,
            Err(newest) => return Ok(Err(newest)),
        };
        state.seats.push(Arc::clone(&signal));
        drop(state);
        refuse_all(stale, generation);
        Ok(Ok(Seat { shared: Arc::clone(&self.shared), signal, job: job.to_owned(), generation }))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        self.shared.stop.raise();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            warn!(addr = %self.local_addr, "the collective's listener had panicked");
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("local_addr", &self.local_addr).finish_non_exhaustive()
    }
}

/// An open generation. Dropping it closes the generation to further connections.
pub(crate) struct Seat {
    shared: Arc<Shared>,
    signal: Arc<Signal>,
    job: String,
    generation: u64,
}

impl Seat {
    /// Raised when connections may have arrived.
    pub(crate) fn signal(&self) -> &Signal {
        &self.signal
    }

    /// The connections of this generation that have arrived since the last call.
    pub(crate) fn take(&self) -> Vec<(Hello, Channel)> {
        self.signal.clear();
        self.shared.lock().admission.take(&self.job, self.generation)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.seats.retain(|signal| !Arc::ptr_eq(signal, &self.signal));
        let untaken = state.admission.close(&self.job, self.generation);
        drop(state);
        refuse_all(untaken, self.generation);
    }
}

/// What the thread and the groups share.
struct Shared {
    stopped: AtomicBool,
    stop: Signal,
    state: Mutex<State>,
}

struct State {
    admission: Admission<Channel>,
    /// Of every open generation, what wakes its group.
    seats: Vec<Arc<Signal>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread's own state.
struct Reception {
    socket: TcpListener,
    tls: Option<Tls>,
    shared: Arc<Shared>,
    guests: Vec<Guest>,
    paused_until: Option<Instant>,
    warned_at: Option<Instant>,
}

/// A connection that owes its hello.
struct Guest {
    channel: Channel,
    hello: HelloReader,
    deadline: Instant,
}

impl Reception {
    fn serve(mut self) {
        while !self.shared.stopped.load(Ordering::Acquire) {
            if let Err(error) = self.wait() {
                warn!(%error, "the collective's listener cannot wait for connections and ends");
                return;
            }
            let now = Instant::now();
            self.accept(now);
            self.greet(now);
        }
    }

    fn wait(&self) -> io::Result<()> {
        let mut fds = vec![PollFd::new(&self.shared.stop, PollFlags::IN)];
        if self.accepts() {
            fds.push(PollFd::new(&self.socket, PollFlags::IN));
        }
        let channels = self.guests.iter().map(|guest| &guest.channel);
        fds.extend(channels.map(|channel| PollFd::new(channel.socket(), channel.interest())));
        let deadlines = self.guests.iter().map(|guest| guest.deadline);
        wait(&mut fds, deadlines.chain(self.paused_until).min())
    }

    fn accepts(&self) -> bool {
        self.guests.len() < GUESTS_MAX && self.paused_until.is_none()
    }

    fn accept(&mut self, now: Instant) {
        self.paused_until = self.paused_until.filter(|until| now < *until);
        while self.accepts() {
            let prepared = |(stream, _)| Channel::accepted(prepared(stream)?, self.tls.as_ref());
            match self.socket.accept().and_then(prepared) {
                Ok(channel) => self.guests.push(Guest {
                    channel,
                    hello: HelloReader::new(),
                    deadline: now + HELLO_TIME_MAX,
                }),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    warn!(%error, "a connection was not taken in");
                    self.paused_until = Some(now + ACCEPT_PAUSE);
                }
            }
        }
    }

    /// Takes in what guests have said; those that have said hello move on.
    fn greet(&mut self, now: Instant) {
        for mut guest in std::mem::take(&mut self.guests) {
            match guest.read() {
                Ok(None) if now < guest.deadline => self.guests.push(guest),
                Ok(None) => debug!("a connection said no hello in time"),
                Ok(Some(Ok(hello))) => self.admit(hello, guest.channel),
                Ok(Some(Err(error @ WireError::Tls))) => self.warn(now, &guest, &error.to_string()),
                Ok(Some(Err(error))) => debug!(%error, "a connection said something else than hello"),
                Err(error) => match TlsFailure::of(&error) {
                    Some(failure) => self.warn(now, &guest, &failure.to_string()),
                    None => debug!(%error, "a connection broke before its hello"),
                },
            }
        }
    }

    /// Says that a connection was refused for its certificate, or for having none.
    fn warn(&mut self, now: Instant, guest: &Guest, why: &str) {
        let peer = guest.channel.socket().peer_addr().ok();
        if self.warned_at.is_none_or(|at| now >= at + WARNING_PAUSE) {
            self.warned_at = Some(now);
            warn!(?peer, why, "a connection between workers was refused");
        } else {
            debug!(?peer, why, "a connection between workers was refused");
        }
    }

    fn admit(&self, hello: Hello, channel: Channel) {
        if hello.purpose != Purpose::Join {
            debug!(purpose = ?hello.purpose, "a connection began with an answer");
            return;
        }
        let reply = refusal(&hello);
        let mut state = self.shared.lock();
        match state.admission.arrive(hello, channel) {
            Arrival::Ready => state.seats.iter().for_each(|signal| signal.raise()),
            Arrival::Parked => {}
            Arrival::Refused(mut channel, newest) => {
                drop(state);
                refuse(&mut channel, &Hello { generation: newest, ..reply });
            }
        }
    }
}

impl Guest {
    fn read(&mut self) -> io::Result<Option<Result<Hello, WireError>>> {
        if self.channel.handshake()? { self.channel.read_hello(&mut self.hello) } else { Ok(None) }
    }
}

fn prepared(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The refusal of a hello, without the newest generation.
fn refusal(hello: &Hello) -> Hello {
    Hello { purpose: Purpose::Refuse, from: hello.to, to: hello.from, ..hello.clone() }
}

fn refuse_all(connections: Vec<(Hello, Channel)>, newest: u64) {
    for (hello, mut channel) in connections {
        refuse(&mut channel, &Hello { generation: newest, ..refusal(&hello) });
    }
}

fn refuse(channel: &mut Channel, refusal: &Hello) {
    debug!(job = refusal.job, rank = refusal.to, newest = refusal.generation, "a connection was refused");
    if let Err(error) = channel.send_hello(refusal) {
        debug!(%error, "a refusal was not sent");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(generation: u64) -> Hello {
        let job = "test-1".to_owned();
        Hello { purpose: Purpose::Join, job, generation, from: 1, to: 0, world_size: 2, lanes: 2 }
    }

    fn greet(listener: &Listener, hello: &Hello) -> Channel {
        let stream = TcpStream::connect(listener.local_addr()).expect("it listens");
        let mut channel = Channel::dialed(stream, None).expect("it takes nothing");
        channel.send_hello(hello).expect("it is connected");
        channel
    }

    fn dial(listener: &Listener, generation: u64) -> Channel {
        greet(listener, &join(generation))
    }

    fn answer(mut channel: Channel) -> Hello {
        let answer = channel.read_hello(&mut HelloReader::new()).expect("it is answered");
        answer.expect("a blocking read takes all").expect("it is a hello")
    }

    #[test]
    fn who_comes_before_its_generation_is_opened_waits_and_who_comes_after_it_is_refused() {
        let listener = Listener::bind("127.0.0.1:0".parse().expect("an address")).expect("a port is free");
        let first = listener.open("test-1", 1).expect("descriptors are left").expect("it is the first");
        let early = dial(&listener, 2);
        // Connections are taken in in their order: when this one has come, so has the early one.
        let present = dial(&listener, 1);
        let mut taken = Vec::new();
        while taken.is_empty() {
            wait(&mut [PollFd::new(first.signal(), PollFlags::IN)], None).expect("it can wait");
            taken = first.take();
        }
        assert_eq!(taken[0].0, join(1));
        assert_eq!(taken.len(), 1);
        drop((taken, present));

        let second = listener.open("test-1", 2).expect("descriptors are left").expect("it is newer");
        assert_eq!(second.take()[0].0, join(2));
        assert_eq!(answer(dial(&listener, 1)), Hello { generation: 2, ..refusal(&join(1)) });
        drop((early, second));
        assert_eq!(answer(dial(&listener, 2)), refusal(&join(2)));
    }

    #[test]
    fn who_begins_with_an_answer_is_not_taken_in() {
        let listener = Listener::bind("127.0.0.1:0".parse().expect("an address")).expect("a port is free");
        let seat = listener.open("test-1", 1).expect("descriptors are left").expect("it is the first");
        for purpose in [Purpose::Welcome, Purpose::Refuse] {
            let mut channel = greet(&listener, &Hello { purpose, ..join(1) });
            assert!(channel.read_hello(&mut HelloReader::new()).is_err(), "it is closed");
        }
        assert!(seat.take().is_empty());
    }

    #[test]
    fn a_parked_connection_is_refused_when_its_generation_is_passed_over() {
        let listener = Listener::bind("127.0.0.1:0".parse().expect("an address")).expect("a port is free");
        let passed = dial(&listener, 2);
        let _seat = listener.open("test-1", 3).expect("descriptors are left").expect("it is the first");
        assert_eq!(answer(passed), Hello { generation: 3, ..refusal(&join(2)) });
    }
}
