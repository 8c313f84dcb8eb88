//! Training one job on one rank: models over burn, the step, its state, and the
//! measuring of splits.
//!
//! In reading order: what a model is (`task`, `models`, `tasks`), how its
//! tensors are laid out and updated (`boundary`, `layout`, `learner`, `optimizer`,
//! `schedule`), the state that a checkpoint holds (`state`, `snapshot`),
//! what feeds a step and reduces it (`loader`, `exchange`), and the run through a job (`session`).
//!
//! Architecture invariants: this crate opens no sockets and no files, and never
//! talks to the coordinator. It gets a connected group and a data set, and hands
//! events and snapshots to its [`Host`].

mod boundary;
mod diloco;
mod error;
mod exchange;
mod layout;
mod learner;
mod loader;
mod mean;
mod measure;
mod models;
mod optimizer;
mod predictor;
mod progress;
mod random;
mod schedule;
mod session;
mod snapshot;
mod state;
mod task;
mod tasks;
mod text;
mod trainer;

pub use boundary::boundary;
pub use error::{BuildError, SnapshotError, TrainError};
pub use layout::{Layout, Place, Slot, TAIL};
pub use learner::{Learner, Parameters, Ready};
pub use loader::panic_text;
pub use mean::Mean;
pub use predictor::{ModelDescription, Predictor, PredictorError, Rows};
pub use session::{Ending, ExportedModel, Host, Outcome, Session, StopVote, run};
pub use snapshot::Snapshot;
pub use state::State;
pub use task::{Samples, Task, feature_width, score_width};
pub use tasks::{Settings, Tasks};
