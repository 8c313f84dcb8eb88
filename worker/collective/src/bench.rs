//! How long an all-reduce takes between processes of this machine: starts them, lets
//! them reduce, and reports what nccl-tests report. The processes are started by a
//! command of the caller's, usually its own executable, and talk over their standard
//! input and output:
//!
//! ```text
//! process ── where it listens ─────────────────────────► bench
//! process ◄─ rank, transport, memory, time, sizes, peers ──── bench
//! process ── per size: rounds, median, percentile, CPU ─► bench
//! ```

use std::{
    fmt::Write as _,
    io::{self, BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};

use crate::{
    bucket::BucketPlan,
    config::{GroupConfig, Transport},
    error::CollectiveError,
    group::Group,
    in_place::Bucket,
    listener::Listener,
    reduction::Reduction,
    signal::AbortHandle,
};

/// Rounds before the first that counts.
const WARM_UP_ROUNDS: u64 = 10;

/// The most rounds of one size.
const ROUNDS_MAX: u64 = 200_000;

/// What is to be measured.
#[derive(Debug, Clone)]
pub struct AllReduceBench {
    /// Processes, each a rank with one lane.
    pub ranks: u32,
    /// What carries messages between them.
    pub transport: Transport,
    /// Where the vector lies.
    pub memory: VectorMemory,
    /// Sizes of the vector in bytes, multiples of 4.
    pub bytes: Vec<usize>,
    /// How long one size is measured, about.
    pub time: Duration,
}

/// Where a vector lies that is reduced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VectorMemory {
    /// In a [`Bucket`] of the group's: on one host ranks read it there.
    #[default]
    Bucket,
    /// In a vector of the caller's own.
    Caller,
}

/// What one size took.
#[derive(Debug, Clone, PartialEq)]
pub struct AllReduceTimes {
    /// Bytes of the vector.
    pub bytes: usize,
    /// Rounds that were measured.
    pub rounds: u64,
    /// The median of a round on rank 0.
    pub median: Duration,
    /// A tenth of the rounds was faster.
    pub percentile_10: Duration,
    /// CPU time of a round, by rank.
    pub cpu: Vec<Duration>,
}

impl AllReduceTimes {
    /// Algorithm bandwidth as nccl-tests define it: bytes of the vector per second.
    pub fn algorithm_bandwidth(&self) -> f64 {
        self.bytes as f64 / self.median.as_secs_f64()
    }

    /// Bus bandwidth as nccl-tests define it: 2(n-1)/n of that.
    pub fn bus_bandwidth(&self) -> f64 {
        let ranks = self.cpu.len() as f64;
        self.algorithm_bandwidth() * 2.0 * (ranks - 1.0) / ranks
    }

    /// One line of JSON; times in seconds, bandwidths in bytes per second.
    pub fn to_json(&self) -> String {
        let mut line = format!(
            r#"{{"bytes":{},"rounds":{},"median_seconds":{:e},"percentile_10_seconds":{:e},"#,
            self.bytes,
            self.rounds,
            self.median.as_secs_f64(),
            self.percentile_10.as_secs_f64(),
        );
        let (algorithm, bus) = (self.algorithm_bandwidth(), self.bus_bandwidth());
        let cpu: Vec<_> = self.cpu.iter().map(|cpu| format!("{:e}", cpu.as_secs_f64())).collect();
        let cpu = cpu.join(",");
        let _ = write!(
            line,
            r#""algorithm_bandwidth":{algorithm:e},"bus_bandwidth":{bus:e},"cpu_seconds":[{cpu}]}}"#
        );
        line
    }
}

/// What can go wrong in a measurement.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// There is nothing to be measured.
    #[error("{what} cannot be {actual}")]
    Argument {
        /// The setting.
        what: &'static str,
        /// Its value.
        actual: String,
    },
    /// A process could not be started or talked to.
    #[error("{doing}: {cause}")]
    Process {
        /// What was being done.
        doing: &'static str,
        /// The system's answer.
        cause: io::Error,
    },
    /// A process said something else than what was expected.
    #[error("a rank's process said {said:?}")]
    Answer {
        /// Its words.
        said: String,
    },
    /// The ranks' group failed.
    #[error(transparent)]
    Group(#[from] CollectiveError),
}

fn process(doing: &'static str) -> impl Fn(io::Error) -> BenchError {
    move |cause| BenchError::Process { doing, cause }
}

impl AllReduceBench {
    /// Starts the ranks by `command`, whose processes must call [`serve`], and measures.
    ///
    /// # Errors
    ///
    /// Where a setting makes no sense, or a process fails.
    pub fn run(&self, command: impl Fn() -> Command) -> Result<Vec<AllReduceTimes>, BenchError> {
        let wrong = |what, actual: String| Err(BenchError::Argument { what, actual });
        if self.ranks == 0 || self.ranks > crate::LANES_MAX {
            return wrong("the number of ranks", self.ranks.to_string());
        }
        if let Some(bytes) = self.bytes.iter().find(|bytes| !bytes.is_multiple_of(size_of::<f32>())) {
            return wrong("the size in bytes", bytes.to_string());
        }
        let started: Result<Vec<_>, _> = (0..self.ranks).map(|_| Rank::start(command())).collect();
        let mut ranks = started.map_err(process("starting a rank"))?;
        let mut peers = Vec::new();
        for rank in &mut ranks {
            peers.push(rank.line()?);
        }
        let bytes: Vec<_> = self.bytes.iter().map(usize::to_string).collect();
        let (peers, bytes, transport) = (peers.join(","), bytes.join(","), name(self.transport));
        let memory = memory_name(self.memory);
        for (number, rank) in ranks.iter_mut().enumerate() {
            let time = self.time.as_nanos();
            let order = format!("{number} {transport} {memory} {time} {bytes} {peers}\n");
            let mut input = rank.child.stdin.take().expect("invariant: it was asked for");
            input.write_all(order.as_bytes()).map_err(process("talking to a rank"))?;
        }
        self.bytes.iter().map(|bytes| collect(*bytes, &mut ranks)).collect()
    }
}

/// What all ranks say of one size.
fn collect(bytes: usize, ranks: &mut [Rank]) -> Result<AllReduceTimes, BenchError> {
    let mut times = Vec::new();
    for rank in ranks {
        let said = rank.line()?;
        let words: Result<Vec<u64>, _> = said.split(' ').map(str::parse).collect();
        let words: [u64; 4] =
            words.ok().and_then(|words| words.try_into().ok()).ok_or(BenchError::Answer { said })?;
        times.push(words);
    }
    let [rounds, median, percentile_10, _] = times[0];
    Ok(AllReduceTimes {
        bytes,
        rounds,
        median: Duration::from_nanos(median),
        percentile_10: Duration::from_nanos(percentile_10),
        cpu: times.iter().map(|words| Duration::from_nanos(words[3])).collect(),
    })
}

/// A started process. Killed when dropped early.
struct Rank {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Rank {
    fn start(mut command: Command) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = BufReader::new(child.stdout.take().expect("invariant: it was asked for"));
        Ok(Self { child, output })
    }

    fn line(&mut self) -> Result<String, BenchError> {
        let mut line = String::new();
        self.output.read_line(&mut line).map_err(process("listening to a rank"))?;
        if line.is_empty() {
            return Err(process("listening to a rank")(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Rank {
    fn drop(&mut self) {
        // A rank that is through has ended by itself, and is only waited for.
        if self.output.fill_buf().map_or(true, |rest| !rest.is_empty()) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

fn name(transport: Transport) -> &'static str {
    match transport {
        Transport::Auto => "auto",
        Transport::SharedMemory => "shm",
        Transport::Tcp => "tcp",
    }
}

fn memory_name(memory: VectorMemory) -> &'static str {
    match memory {
        VectorMemory::Bucket => "bucket",
        VectorMemory::Caller => "caller",
    }
}

/// What a started process does: one rank's part of a measurement, told over standard
/// input and output.
///
/// # Errors
///
/// Where it is told no measurement, or the group fails.
pub fn serve() -> Result<(), BenchError> {
    let talking = process("talking to the bench");
    let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).map_err(&talking)?;
    let mut output = io::stdout().lock();
    writeln!(output, "{}", listener.local_addr()).and_then(|()| output.flush()).map_err(&talking)?;
    let mut said = String::new();
    io::stdin().lock().read_line(&mut said).map_err(&talking)?;
    let order = Order::parse(said.trim_end()).ok_or(BenchError::Answer { said })?;
    let config = GroupConfig {
        job: "bench".into(),
        generation: 1,
        rank: order.rank,
        lanes: order.peers.len() as u32,
        peers: order.peers,
        timeout: Duration::from_secs(60),
        silence: Duration::from_secs(30),
        transport: order.transport,
    };
    let mut group = Group::connect(&listener, config, &AbortHandle::new().map_err(&talking)?)?;
    for bytes in order.bytes {
        let len = bytes / size_of::<f32>();
        let mut vectors = Vectors::new(&mut group, order.memory, len)?;
        let [rounds, median, percentile_10, cpu] = measure(&mut group, &mut vectors, order.time)?;
        writeln!(output, "{rounds} {median} {percentile_10} {cpu}")
            .and_then(|()| output.flush())
            .map_err(&talking)?;
    }
    Ok(())
}

struct Order {
    rank: u32,
    transport: Transport,
    memory: VectorMemory,
    time: Duration,
    bytes: Vec<usize>,
    peers: Vec<SocketAddr>,
}

impl Order {
    fn parse(line: &str) -> Option<Self> {
        let words: Vec<_> = line.split(' ').collect();
        let [rank, transport, memory, time, bytes, peers] = words[..] else { return None };
        let transports = [Transport::Auto, Transport::SharedMemory, Transport::Tcp];
        Some(Self {
            rank: rank.parse().ok()?,
            transport: transports.into_iter().find(|known| name(*known) == transport)?,
            memory: [VectorMemory::Bucket, VectorMemory::Caller]
                .into_iter()
                .find(|known| memory_name(*known) == memory)?,
            time: Duration::from_nanos(time.parse().ok()?),
            bytes: bytes.split(',').map(str::parse).collect::<Result<_, _>>().ok()?,
            peers: peers.split(',').map(str::parse).collect::<Result<_, _>>().ok()?,
        })
    }
}

/// The vector of a rank's one lane, and where its sum goes.
enum Vectors {
    Bucket(Vec<Bucket>),
    Caller([Vec<f32>; 1], Vec<f32>),
}

impl Vectors {
    fn new(group: &mut Group, memory: VectorMemory, len: usize) -> Result<Self, CollectiveError> {
        Ok(match memory {
            VectorMemory::Bucket => Self::Bucket(group.buckets(&BucketPlan::new(&[len], 0))?),
            VectorMemory::Caller => Self::Caller([vec![0.0; len]], vec![0.0; len]),
        })
    }

    /// Writes the vector anew, as a step of training does: what others have of it in their
    /// caches is worth nothing.
    fn write(&mut self) {
        match self {
            Self::Bucket(buckets) => buckets.iter_mut().for_each(|bucket| bucket.lanes[0].fill(1.0)),
            Self::Caller([lane], _) => lane.fill(1.0),
        }
    }

    fn reduce(&mut self, group: &mut Group) -> Result<(), CollectiveError> {
        match self {
            Self::Bucket(buckets) => {
                buckets.iter_mut().try_for_each(|bucket| group.all_reduce_bucket(Reduction::Sum, bucket))
            }
            Self::Caller(lanes, sum) => group.all_reduce_lanes(lanes, sum),
        }
    }
}

/// Rounds, median, 10th percentile and CPU time of a round, times in nanoseconds.
fn measure(group: &mut Group, vectors: &mut Vectors, time: Duration) -> Result<[u64; 4], CollectiveError> {
    let mut round = |group: &mut Group| -> Result<(u64, u64), CollectiveError> {
        vectors.write();
        let cpu = cpu_nanos();
        let begun = Instant::now();
        vectors.reduce(group)?;
        let elapsed = begun.elapsed().as_nanos() as u64;
        Ok((elapsed, cpu_nanos() - cpu))
    };
    let mut times = Vec::new();
    for _ in 0..WARM_UP_ROUNDS {
        times.push(round(group)?.0);
    }
    times.sort_unstable();
    let wanted = (time.as_nanos() as u64 / times[times.len() / 2].max(1)).clamp(WARM_UP_ROUNDS, ROUNDS_MAX);
    let mut rounds = wanted.to_le_bytes().to_vec();
    group.broadcast(0, &mut rounds)?;
    let rounds = rounds.try_into().map_or(WARM_UP_ROUNDS, u64::from_le_bytes);
    times.clear();
    times.reserve(rounds as usize);
    let mut all_cpu = 0;
    for _ in 0..rounds {
        let (elapsed, cpu) = round(group)?;
        times.push(elapsed);
        all_cpu += cpu;
    }
    times.sort_unstable();
    Ok([rounds, times[times.len() / 2], times[times.len() / 10], all_cpu / rounds])
}

fn cpu_nanos() -> u64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
