//! The settings of a group, and what they may be.

use std::{net::SocketAddr, time::Duration};

use crate::{error::CollectiveError, share::LANES_MAX, wire::JOB_BYTES_MAX};

/// The longest timeout of a group: a day.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(86_400);

/// What carries messages between two ranks. Each pair of ranks has its own, and the
/// result has the same bits over any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transport {
    /// Shared memory where both ranks are on one host and can open each other's, TCP
    /// everywhere else.
    #[default]
    Auto,
    /// Shared memory with every rank, or the group is not formed.
    SharedMemory,
    /// TCP with every rank.
    Tcp,
}

/// One generation of one job, as one of its ranks sees it.
#[derive(Debug, Clone)]
pub struct GroupConfig {
    /// The job: 1 to [`JOB_BYTES_MAX`] bytes.
    pub job: String,
    /// Its generation. On one [`Listener`](crate::Listener) the generations of a job only grow.
    pub generation: u64,
    /// The rank that this process is.
    pub rank: u32,
    /// Lanes of the job: 1 to [`LANES_MAX`].
    pub lanes: u32,
    /// Where every rank listens; the index is the rank. At most as many as lanes.
    pub peers: Vec<SocketAddr>,
    /// A wait ends when nothing has come or gone for this long; connecting ends
    /// this long after its beginning. Above zero, at most [`TIMEOUT_MAX`].
    pub timeout: Duration,
    /// A rank is lost when its machine acknowledges nothing for this long. Its process may
    /// compute for longer. From a second to [`TIMEOUT_MAX`].
    pub silence: Duration,
    /// What carries messages.
    pub transport: Transport,
}

impl GroupConfig {
    pub(crate) fn world_size(&self) -> u32 {
        u32::try_from(self.peers.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn check(&self) -> Result<(), CollectiveError> {
        let timeout_ms = u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX);
        let timeout_ms_max = TIMEOUT_MAX.as_millis() as u64;
        in_range("the length of the job's name in bytes", self.job.len() as u64, 1, JOB_BYTES_MAX as u64)?;
        in_range("the number of lanes", self.lanes.into(), 1, LANES_MAX.into())?;
        in_range("the world size", self.peers.len() as u64, 1, self.lanes.into())?;
        in_range("the rank", self.rank.into(), 0, self.peers.len() as u64 - 1)?;
        in_range("the timeout in milliseconds", timeout_ms, 1, timeout_ms_max)?;
        in_range("the silence in seconds", self.silence.as_secs(), 1, TIMEOUT_MAX.as_secs())
    }
}

pub(crate) fn in_range(what: &'static str, actual: u64, min: u64, max: u64) -> Result<(), CollectiveError> {
    if (min..=max).contains(&actual) {
        return Ok(());
    }
    let expected = if min == max { format!("{min}") } else { format!("{min} to {max}") };
    Err(CollectiveError::Argument { what, expected, actual })
}
