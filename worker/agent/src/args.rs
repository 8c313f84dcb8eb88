//! The worker's command line: the flags that `phalanx worker` and every binary
//! with models of its own take alike, so that `phalanx run --worker-binary` can
//! start either.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::{
    Parser,
    builder::{PossibleValuesParser, TypedValueParser as _},
    value_parser,
};
use phalanx_data::Cache;
use phalanx_telemetry::LogFormat;
use phalanx_tls::TlsFiles;
use phalanx_train::{DeviceName, Tasks};

use crate::{
    agent,
    config::{Config, DRAIN_MAX, default_cache},
    error::AgentError,
    leaving::Notices,
    parent,
};

/// The longest that the end of the process waits for what is being written.
const LAST_WORK_MAX: Duration = Duration::from_secs(2);

/// Threads that run everything but the computing: calls, checkpoints, reading.
const RUNTIME_THREADS: usize = 2;

/// What a worker does.
#[derive(Debug, Clone, clap::Args)]
pub struct WorkerArgs {
    /// Where the coordinator takes workers' calls; of several coordinators all, with commas between.
    #[arg(long = "coordinator", value_name = "HOST:PORT", env = "PHALANX_COORDINATOR_RPC",
        hide_env_values = true, value_delimiter = ',', required = true, value_parser = host_and_port)]
    pub coordinators: Vec<String>,
    /// Where to listen for other workers; port 0 takes a free one.
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:0")]
    pub listen: SocketAddr,
    /// The address that other workers are told, if it is not the one on the way to the coordinator.
    #[arg(long, value_name = "IP")]
    pub advertise: Option<IpAddr>,
    /// Where to serve Prometheus metrics; port 0 takes a free one.
    #[arg(long, value_name = "IP:PORT")]
    pub metrics: Option<SocketAddr>,
    /// Folder for copies of data shards; the user's cache folder by default.
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
    /// GiB of data shards in that folder at most; all workers of a machine share it. What was used
    /// longest ago makes room. A larger data set is fetched again in every epoch, ahead of its use.
    #[arg(long, value_name = "GIB", default_value_t = Cache::BYTES_MAX >> 30,
        value_parser = value_parser!(u64).range(1..=1 << 20))]
    pub cache_max: u64,
    /// Threads that compute. On one machine, more workers use its cores better.
    #[arg(long, value_name = "N", default_value = "1", value_parser = value_parser!(u16).range(1..=256))]
    pub threads: u16,
    /// Where to compute: `cpu`, or `cuda:N` for the GPU of number N. One worker per GPU is what is
    /// fast; several can share one.
    #[arg(
        long,
        value_name = "DEVICE",
        env = "PHALANX_DEVICE",
        hide_env_values = true,
        default_value = "cpu"
    )]
    pub device: DeviceName,
    /// How long to take at most, when told to end, to finish the step and hand the work over:
    /// seconds; 0 ends at once. A second signal does, too.
    #[arg(long, value_name = "SECONDS", default_value_t = DRAIN_MAX.as_secs(),
        value_parser = value_parser!(u64).range(0..=3_600))]
    pub drain_max: u64,
    /// A file that appears when this machine will soon be gone: the worker hands its work over then.
    #[arg(long, value_name = "FILE")]
    pub preempt_file: Option<PathBuf>,
    /// An endpoint (HTTP) that answers, with anything but FALSE, when this machine will soon be gone,
    /// as in `http://metadata.google.internal/computeMetadata/v1/instance/preempted`.
    #[arg(long, value_name = "URL")]
    pub preempt_url: Option<String>,
    /// End when the process that started this one ends, and leave Ctrl-C to it. Its id closes the
    /// gap in which it may end before this one has looked.
    #[arg(long, hide = true, value_name = "PID", num_args = 0..=1, require_equals = true,
        default_missing_value = "0")]
    pub die_with_parent: Option<u32>,
    /// With whom it talks.
    #[command(flatten, next_help_heading = "TLS")]
    pub tls: TlsArgs,
}

/// The variables of the environment that [`TlsArgs`] looks at.
pub const TLS_VARIABLES: [&str; 3] = ["PHALANX_TLS_CA", "PHALANX_TLS_CERT", "PHALANX_TLS_KEY"];

/// A process' certificates, all of them or none.
#[derive(Debug, Clone, clap::Args)]
pub struct TlsArgs {
    /// The cluster's CA (PEM). Coordinator and workers then talk over TLS, with none but its certificates.
    #[arg(long, value_name = "FILE", env = TLS_VARIABLES[0], hide_env_values = true,
        requires_all = ["tls_cert", "tls_key"])]
    pub tls_ca: Option<PathBuf>,
    /// This process' certificate (PEM), for the name `phalanx-coordinator` or `phalanx-worker`.
    #[arg(long, value_name = "FILE", env = TLS_VARIABLES[1], hide_env_values = true,
        requires_all = ["tls_ca", "tls_key"])]
    pub tls_cert: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(long, value_name = "FILE", env = TLS_VARIABLES[2], hide_env_values = true,
        requires_all = ["tls_ca", "tls_cert"])]
    pub tls_key: Option<PathBuf>,
}

impl TlsArgs {
    /// Where the certificates lie, if there are any.
    pub fn files(self) -> Option<TlsFiles> {
        let Self { tls_ca, tls_cert, tls_key } = self;
        Some(TlsFiles { ca: tls_ca?, certificate: tls_cert?, key: tls_key? })
    }
}

/// How a worker tells what it does.
#[derive(Debug, Clone, clap::Args)]
pub struct TelemetryArgs {
    /// What log lines look like.
    #[arg(long, value_name = "FORMAT", default_value = "human", value_parser =
        PossibleValuesParser::new(["human", "json"]).map(|format| log_format(&format)))]
    pub log_format: LogFormat,
    /// Which log lines there are: levels by target, as in `info,phalanx_agent=debug`.
    #[arg(long, value_name = "LEVELS", env = "PHALANX_LOG", hide_env_values = true)]
    pub log: Option<String>,
    /// The OpenTelemetry collector (gRPC) that gets traces, as in `http://localhost:4317`.
    #[arg(long, value_name = "URL", env = "PHALANX_OTLP", hide_env_values = true)]
    pub otlp: Option<String>,
}

/// A worker: takes jobs from a coordinator and trains them with the others.
#[derive(Debug, Parser)]
#[command(version)]
struct Command {
    #[command(flatten)]
    worker: WorkerArgs,
    #[command(flatten)]
    telemetry: TelemetryArgs,
}

impl WorkerArgs {
    /// The worker that these flags and `tasks` describe.
    pub fn config(self, tasks: Tasks) -> Config {
        let Self { coordinators, listen, advertise, metrics, device, .. } = self;
        let cache = Cache::new(self.cache.unwrap_or_else(default_cache), self.cache_max << 30);
        let tls = self.tls.files();
        // Whoever has started it for itself has no use for it any more.
        let drain_max = if self.die_with_parent.is_some() { 0 } else { self.drain_max };
        Config {
            coordinators,
            tasks,
            listen,
            advertise,
            tls,
            metrics,
            cache,
            threads: self.threads.into(),
            device,
            drain_max: Duration::from_secs(drain_max),
            notices: Notices { file: self.preempt_file, url: self.preempt_url },
        }
    }
}

/// The `main` of a worker binary with models of its own:
///
/// ```no_run
/// use phalanx_train::Tasks;
///
/// fn main() -> std::process::ExitCode {
///     phalanx_agent::main(Tasks::new())
/// }
/// ```
pub fn main(tasks: Tasks) -> ExitCode {
    let Command { worker, telemetry } = Command::parse();
    start(worker, telemetry, tasks)
}

/// Runs a worker until it is told to end, and says on standard error what keeps it from running.
/// Sets up logs and traces, so that it can be called once in a process, and before that starts
/// threads.
pub fn start(worker: WorkerArgs, telemetry: TelemetryArgs, tasks: Tasks) -> ExitCode {
    match try_start(worker, telemetry, tasks) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            error.exit_code()
        }
    }
}

fn try_start(worker: WorkerArgs, telemetry: TelemetryArgs, tasks: Tasks) -> Result<(), AgentError> {
    load_state_on_the_processor();
    let parent = worker.die_with_parent;
    if let Some(pid) = parent {
        parent::die_with_parent(pid).map_err(|error| part("watch on its parent", &error))?;
    }
    let TelemetryArgs { log_format: log, log: filter, otlp } = telemetry;
    let config = phalanx_telemetry::Config::new("phalanx-worker");
    let _telemetry = phalanx_telemetry::init(phalanx_telemetry::Config { log, filter, otlp, ..config })?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .thread_name("phalanx-worker")
        .enable_all()
        .build()
        .map_err(|error| part("runtime", &error))?;
    let ended = runtime.block_on(agent::run(worker.config(tasks), parent.is_none()));
    // A write to the store that hangs must not keep the process.
    runtime.shutdown_timeout(LAST_WORK_MAX);
    ended
}

/// burn puts an optimizer's state, when it is loaded, on its default device, and moves it to that of
/// the parameters in the next step. In a program with GPUs the default is the first of them, which
/// this machine may not have, or which may be another worker's.
#[expect(unsafe_code, reason = "burn takes this from the environment alone")]
fn load_state_on_the_processor() {
    // SAFETY: `start` is called before the process has other threads, which might read the environment.
    unsafe { std::env::set_var("BURN_DEVICE", "flex") };
}

fn part(part: &'static str, error: &std::io::Error) -> AgentError {
    AgentError::Part { part, reason: error.to_string() }
}

fn log_format(name: &str) -> LogFormat {
    if name == "json" { LogFormat::Json } else { LogFormat::Human }
}

fn host_and_port(text: &str) -> Result<String, String> {
    let expected = "expected a host and a port, as in `10.0.0.1:7701`";
    let (host, port) = text.rsplit_once(':').ok_or(expected)?;
    match port.parse::<u16>() {
        Ok(1..) if !host.is_empty() => Ok(text.to_owned()),
        Ok(_) | Err(_) => Err(expected.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(arguments: &[&str]) -> Result<Command, clap::Error> {
        Command::try_parse_from([&["worker"], arguments].concat())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Command::command().debug_assert();
    }

    #[test]
    fn a_coordinator_is_enough() {
        let command = parse(&["--coordinator", "localhost:7701"]).expect("parses");
        let config = command.worker.config(Tasks::new());
        assert_eq!((config.coordinators, config.threads), (vec!["localhost:7701".to_owned()], 1));
        assert_eq!(config.listen.port(), 0);
    }

    #[test]
    fn several_coordinators_stand_with_commas_between() {
        let command = parse(&["--coordinator", "a:1,b:2"]).expect("parses");
        assert_eq!(command.worker.config(Tasks::new()).coordinators, ["a:1", "b:2"]);
        assert!(parse(&["--coordinator", "a:1,b"]).is_err());
        assert!(parse(&[]).is_err());
    }

    #[test]
    fn a_worker_computes_where_it_is_told() {
        let device = |arguments: &[&str]| {
            let command = parse(&[&["--coordinator", "c:1"], arguments].concat())?;
            Ok::<_, clap::Error>(command.worker.config(Tasks::new()).device)
        };
        assert_eq!(device(&[]).expect("parses"), DeviceName::Cpu);
        assert_eq!(device(&["--device", "cuda:1"]).expect("parses"), DeviceName::Cuda(1));
        assert!(device(&["--device", "gpu"]).expect_err("no name").to_string().contains("cuda:N"));
    }

    #[test]
    fn certificates_are_given_in_full_or_not_at_all() {
        let coordinator = ["--coordinator", "c:1"];
        let tls = ["--tls-ca", "ca.pem", "--tls-cert", "worker.pem", "--tls-key", "worker.key"];
        for some in [&tls[..2], &tls[2..4], &tls[4..], &tls[..4], &tls[2..]] {
            let error = parse(&[&coordinator, some].concat()).expect_err("one is missing");
            assert!(error.to_string().contains("--tls-"), "{error}");
        }
        let command = parse(&[&coordinator[..], &tls].concat()).expect("parses");
        let files = command.worker.config(Tasks::new()).tls.expect("they were given");
        assert_eq!(files.key, PathBuf::from("worker.key"));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for wrong in ["localhost", "localhost:", ":7701", "localhost:0", "localhost:70000", ""] {
            let error = parse(&["--coordinator", wrong]).expect_err(wrong);
            assert!(error.to_string().contains("host"), "{error}");
        }
        assert!(parse(&["--coordinator", "c:1", "--threads", "0"]).is_err());
        assert!(parse(&["--coordinator", "c:1", "--log-format", "xml"]).is_err());
    }
}
