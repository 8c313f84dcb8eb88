//! Why a worker process ends before it is told to. What goes wrong inside of a
//! job is no reason to: that is reported to the coordinator (`failure`).

use std::{net::SocketAddr, process::ExitCode, time::Duration};

use phalanx_protocol::rpc::NotAttached;
use phalanx_storage::StorageError;
use phalanx_telemetry::TelemetryError;
use phalanx_tls::TlsFilesError;
use phalanx_train::DeviceError;

/// Why a worker process ends before it is told to.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The address for other workers cannot be bound.
    #[error("cannot listen for other workers at {addr}: {error}; `:0` takes a free port")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system says.
        error: std::io::Error,
    },
    /// Logs, traces or metrics cannot be set up.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The device that it should compute on cannot be used.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// Its certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsFilesError),
    /// The object store that the coordinator names cannot be used from here.
    #[error("the coordinator's object store cannot be used by this worker: {0}")]
    Store(#[from] StorageError),
    /// The coordinator does not let it in, and will not later either.
    #[error("this worker cannot attach: {0}")]
    NotAttached(#[from] NotAttached),
    /// A generation that is over does not let go of the trainer's thread.
    #[error("the trainer did not end within {limit:?} after its generation was over")]
    Hung {
        /// The longest that a step may take.
        limit: Duration,
    },
    /// The trainer's thread hangs, or the disk that it reads from does not answer.
    #[error("the trainer has shown no progress for {limit:?}: its thread hangs, or a disk does not answer")]
    Stuck {
        /// The longest that a step may take.
        limit: Duration,
    },
    /// The disk of the object store does not answer.
    #[error("a call to the object store's disk has moved nothing for {limit:?}: the disk does not answer")]
    DeadDisk {
        /// The longest that a step may take.
        limit: Duration,
    },
    /// A thread, a runtime or an actor of the worker could not start or has ended.
    #[error("the worker's {part} has ended: {reason}")]
    Part {
        /// Which.
        part: &'static str,
        /// Why.
        reason: String,
    },
}

impl AgentError {
    /// What the process ends with: 2 where its arguments cannot be met, 1 otherwise.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Listen { .. } | Self::Telemetry(_) | Self::Device(_) | Self::Tls(_) => ExitCode::from(2),
            Self::Store(_)
            | Self::NotAttached(_)
            | Self::Hung { .. }
            | Self::Stuck { .. }
            | Self::DeadDisk { .. }
            | Self::Part { .. } => ExitCode::FAILURE,
        }
    }
}
