//! Training one job on one rank: models over burn, the step, its state, and the
//! measuring of splits.
//!
//! In reading order: where it is computed (`device`, `gpu`), what a model is (`task`,
//! `models`, `tasks`), how its
//! tensors are laid out and updated (`boundary`, `layout`, `precision`, `learner`,
//! `optimizer`, `schedule`), the state that a checkpoint holds (`state`, `snapshot`),
//! what feeds a step and reduces it (`loader`, `on_device`, `exchange`, `gpu_exchange`), what it is recorded in (`ledger`), what is found out at the end (`exam`), and
//! the run through a job (`session`).
//!
//! Architecture invariants: this crate opens no sockets and no files, and never
//! talks to the coordinator. It gets a connected group and a data set, and hands
//! events and snapshots to its [`Host`].

mod boundary;
mod device;
mod diloco;
mod error;
mod exam;
mod exchange;
#[cfg(feature = "cuda")]
mod gpu;
#[cfg_attr(not(feature = "cuda"), path = "no_gpu_exchange.rs")]
mod gpu_exchange;
mod handover;
mod layout;
mod learner;
mod ledger;
mod loader;
mod mean;
mod measure;
mod models;
mod on_device;
mod optimizer;
mod precision;
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
pub use device::{ComputeDevice, DeviceError, DeviceName, NoDeviceName};
pub use error::{BuildError, SnapshotError, TrainError};
pub use exam::Examined;
pub use handover::Held;
pub use layout::{Layout, Place, Slot, TAIL};
pub use learner::{Learner, Output, Parameters, Ready};
pub use ledger::Ledger;
pub use loader::panic_text;
pub use mean::Mean;
pub use phalanx_member::StopVote;
pub use predictor::{ModelDescription, Predictor, PredictorError, Rows};
pub use progress::Curve;
pub use session::{Ended, Ending, ExportedModel, Host, Outcome, Session, TrainingCurves, run};
pub use snapshot::Snapshot;
pub use state::State;
pub use task::{Samples, Task, feature_width, score_width};
pub use tasks::{Settings, Tasks};
