//! The worker process: it attaches to a coordinator, prepares data sets, and
//! trains jobs together with other workers.
//!
//! In reading order: the command line ([`WorkerArgs`]), the configuration, the
//! process ([`run`]); what ties it to the coordinator (`link`, `secure`, `membership`,
//! `outbox`, `sender`, `pace`, `leaving`); control and its orders; the work of a generation
//! (`preparation`, `kept`, `training`, `restore`, `trainer`, `checkpointer`, `bookkeeper`), what its
//! errors mean for the job (`failure`), and the metrics; beside it all, steps
//! against the clock, of one worker ([`measure_steps`]) and of several ([`StepBench`]).
//!
//! Architecture invariants: this crate decides nothing about jobs, it follows
//! directives and reports. It knows one generation at a time and no rule of the
//! registry. The trainer's thread waits for nobody but its peers and the store.

mod agent;
mod args;
mod bench;
mod bookkeeper;
mod checkpointer;
mod config;
mod control;
mod error;
pub mod evaluation;
mod failure;
mod kept;
mod kind;
mod leaving;
mod link;
mod membership;
mod metrics;
mod orders;
mod outbox;
mod pace;
mod parent;
mod patience;
mod preparation;
mod restore;
mod secure;
mod sender;
mod trainer;
mod training;
mod watch;

pub use agent::{run, run_until};
pub use args::{TLS_VARIABLES, TelemetryArgs, TlsArgs, WorkerArgs, main, start};
pub use bench::{MeasureError, ScalingRound, StepBench, StepRate, StepScaling, measure_steps, serve_steps};
pub use config::Config;
pub use error::AgentError;
pub use leaving::Notices;
pub use phalanx_collective::{
    LANES_MAX, Transport,
    bench::{AllReduceBench, AllReduceTimes, BenchError, VectorMemory, serve as serve_all_reduce},
};
