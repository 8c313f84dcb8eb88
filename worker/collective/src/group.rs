//! A connected generation: the operations that all its ranks do together, in the same
//! order. The group owns its connections; the first error closes them, so that no
//! rank waits for one that has given up.

use std::{net::SocketAddr, ops::Range, time::Duration};

use tracing::debug;

use crate::{
    connect::connect_all,
    error::CollectiveError,
    listener::Listener,
    mesh::Mesh,
    payload::{FromRoot, Scatter, Segments, ToAll},
    share::{LANES_MAX, segment, share},
    signal::AbortHandle,
    tree::TreePlan,
    wire::{JOB_BYTES_MAX, Operation, PAYLOAD_BYTES_MAX},
};

/// The longest timeout of a group: a day.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(86_400);

/// One generation of one job, as one of its ranks sees it.
#[derive(Debug, Clone)]
pub struct GroupConfig {
    /// The job: 1 to [`JOB_BYTES_MAX`] bytes.
    pub job: String,
    /// Its generation. On one [`Listener`] the generations of a job only grow.
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
}

impl GroupConfig {
    pub(crate) fn world_size(&self) -> u32 {
        u32::try_from(self.peers.len()).unwrap_or(u32::MAX)
    }

    fn check(&self) -> Result<(), CollectiveError> {
        let timeout_ms = u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX);
        let timeout_ms_max = TIMEOUT_MAX.as_millis() as u64;
        in_range("the length of the job's name in bytes", self.job.len() as u64, 1, JOB_BYTES_MAX as u64)?;
        in_range("the number of lanes", self.lanes.into(), 1, LANES_MAX.into())?;
        in_range("the world size", self.peers.len() as u64, 1, self.lanes.into())?;
        in_range("the rank", self.rank.into(), 0, self.peers.len() as u64 - 1)?;
        in_range("the timeout in milliseconds", timeout_ms, 1, timeout_ms_max)
    }
}

/// A connected generation. All ranks must call the same operations in the same order;
/// where they do not, every one of them gets an error. After an error all further
/// operations are [`CollectiveError::Broken`]. Blocks the thread it is called on.
#[derive(Debug)]
pub struct Group {
    rank: usize,
    world_size: usize,
    lanes: u32,
    abort: AbortHandle,
    plan: TreePlan,
    /// This rank's segment of all subtrees' sums; kept from one all-reduce to the next.
    partials: Vec<f32>,
    /// `None` after an error.
    mesh: Option<Mesh>,
}

impl Group {
    /// Connects with all other ranks of the generation, and returns when they all are
    /// connected with each other. They may come in any order within the timeout. A
    /// world of one rank makes no connection.
    ///
    /// # Errors
    ///
    /// Where the settings are no group's ([`CollectiveError::Argument`]), a newer
    /// generation is known here or at a peer, a peer cannot be reached, disagrees or
    /// is gone, the timeout passes, or `abort` is used.
    pub fn connect(
        listener: &Listener,
        config: GroupConfig,
        abort: &AbortHandle,
    ) -> Result<Self, CollectiveError> {
        config.check()?;
        if abort.is_aborted() {
            return Err(CollectiveError::Aborted);
        }
        let streams = connect_all(listener, &config, abort)?;
        let mesh = Mesh::new(streams, config.generation, config.timeout, abort.clone());
        let mut group = Self {
            rank: config.rank as usize,
            world_size: config.peers.len(),
            lanes: config.lanes,
            abort: abort.clone(),
            plan: TreePlan::new(config.lanes, config.world_size()),
            partials: Vec::new(),
            mesh: Some(mesh),
        };
        // A rank that is done early must not leave while others still connect: they
        // would take it for lost.
        group.barrier()?;
        let (job, rank, generation) = (&config.job, config.rank, config.generation);
        debug!(job, generation, rank, world_size = group.world_size, "group connected");
        Ok(group)
    }

    /// The handle that the group was connected with.
    pub fn abort_handle(&self) -> AbortHandle {
        self.abort.clone()
    }

    /// This process' rank.
    pub fn rank(&self) -> u32 {
        self.rank as u32
    }

    /// Members of the group.
    pub fn world_size(&self) -> u32 {
        self.world_size as u32
    }

    /// The lanes that this rank owns.
    pub fn lanes(&self) -> Range<u32> {
        share(self.lanes, self.world_size(), self.rank())
    }

    /// The sum over all lanes of all ranks, with the bits of [`tree_sum`](crate::tree_sum),
    /// whatever the number of ranks. In: one vector per owned lane, in order, all of the
    /// same length on all ranks; they may be destroyed. Out: the sum, on every rank, in
    /// `out`, which has that length. Allocates only where the length has grown.
    ///
    /// # Errors
    ///
    /// [`CollectiveError::Argument`] where lanes or lengths do not fit, or the group's failure.
    /// What `lanes` and `out` hold then means nothing.
    pub fn all_reduce_lanes(
        &mut self,
        lanes: &mut [Vec<f32>],
        out: &mut [f32],
    ) -> Result<(), CollectiveError> {
        let mut mesh = self.mesh()?;
        let owned = self.lanes().len() as u64;
        in_range("the number of vectors", lanes.len() as u64, owned, owned)?;
        let len = out.len();
        for lane in lanes.iter() {
            in_range("the length of a lane's vector", lane.len() as u64, len as u64, len as u64)?;
        }
        if self.world_size == 1 {
            self.plan.sum_all(lanes, out);
        } else {
            self.reduce_scatter(&mut mesh, lanes, out)?;
            let mut segments = Segments { rank: self.rank, world_size: self.world_size, sum: out };
            mesh.exchange(Operation::SumGather, len as u64, &mut segments)?;
        }
        self.mesh = Some(mesh);
        Ok(())
    }

    /// Gives `root`'s bytes to all ranks. What the others' hold before is lost.
    ///
    /// # Errors
    ///
    /// [`CollectiveError::Argument`] where there is no rank `root` or more than
    /// [`PAYLOAD_BYTES_MAX`] bytes are sent, or the group's failure.
    pub fn broadcast(&mut self, root: u32, bytes: &mut Vec<u8>) -> Result<(), CollectiveError> {
        let mut mesh = self.mesh()?;
        in_range("the root of a broadcast", root.into(), 0, self.world_size as u64 - 1)?;
        let (rank, root, subject) = (self.rank, root as usize, u64::from(root));
        let mut length = (bytes.len() as u64).to_le_bytes();
        let mut announced = FromRoot { rank, root, bytes: &mut length };
        mesh.exchange(Operation::BroadcastLength, subject, &mut announced)?;
        if rank != root {
            *bytes = zeros(u64::from_le_bytes(length))?;
        }
        mesh.exchange(Operation::Broadcast, subject, &mut FromRoot { rank, root, bytes })?;
        self.mesh = Some(mesh);
        Ok(())
    }

    /// Everyone's bytes, by rank. Lengths may differ.
    ///
    /// # Errors
    ///
    /// [`CollectiveError::Argument`] where `mine` is longer than [`PAYLOAD_BYTES_MAX`],
    /// [`CollectiveError::Memory`] where all of them do not fit into memory, or the
    /// group's failure.
    pub fn all_gather(&mut self, mine: &[u8]) -> Result<Vec<Vec<u8>>, CollectiveError> {
        let mut mesh = self.mesh()?;
        let length = (mine.len() as u64).to_le_bytes();
        let mut lengths = vec![length; self.world_size];
        mesh.exchange(Operation::GatherLengths, 0, &mut ToAll { mine: &length, all: &mut lengths })?;
        let mut all = Vec::with_capacity(self.world_size);
        for (rank, length) in lengths.into_iter().enumerate() {
            all.push(if rank == self.rank { mine.to_vec() } else { zeros(u64::from_le_bytes(length))? });
        }
        mesh.exchange(Operation::Gather, 0, &mut ToAll { mine, all: &mut all })?;
        self.mesh = Some(mesh);
        Ok(all)
    }

    /// Returns when all ranks have called it.
    ///
    /// # Errors
    ///
    /// The group's failure.
    pub fn barrier(&mut self) -> Result<(), CollectiveError> {
        let mut mesh = self.mesh()?;
        let mut nothing = [[0_u8; 0]; LANES_MAX as usize];
        mesh.exchange(Operation::Barrier, 0, &mut ToAll { mine: &[], all: &mut nothing })?;
        self.mesh = Some(mesh);
        Ok(())
    }

    /// Takes the connections out for one operation, which puts them back when it has
    /// succeeded: an operation that returns early closes them.
    fn mesh(&mut self) -> Result<Mesh, CollectiveError> {
        self.mesh.take().ok_or(CollectiveError::Broken)
    }

    /// Puts the sum of this rank's segment into `out`.
    fn reduce_scatter(
        &mut self,
        mesh: &mut Mesh,
        lanes: &mut [Vec<f32>],
        out: &mut [f32],
    ) -> Result<(), CollectiveError> {
        let (rank, world_size, len) = (self.rank, self.world_size, out.len());
        let own = segment(len, world_size, rank);
        self.plan.sum_own(rank, lanes);
        self.partials.resize(self.plan.subtrees() * own.len(), 0.0);
        for (nth, subtree) in self.plan.held(rank).enumerate() {
            let sum = &lanes[self.plan.place(rank, nth)][own.clone()];
            self.partials[subtree * own.len()..][..own.len()].copy_from_slice(sum);
        }
        let partials = &mut self.partials;
        let mut scatter = Scatter { plan: &self.plan, rank, world_size, lanes, len, partials };
        mesh.exchange(Operation::ReduceScatter, len as u64, &mut scatter)?;
        self.plan.sum_rest(&mut self.partials, &mut out[own]);
        Ok(())
    }
}

fn in_range(what: &'static str, actual: u64, min: u64, max: u64) -> Result<(), CollectiveError> {
    if (min..=max).contains(&actual) {
        return Ok(());
    }
    let expected = if min == max { format!("{min}") } else { format!("{min} to {max}") };
    Err(CollectiveError::Argument { what, expected, actual })
}

/// Memory for an announced payload. The system hands it out as it is written to.
fn zeros(bytes: u64) -> Result<Vec<u8>, CollectiveError> {
    in_range("the announced length of a message in bytes", bytes, 0, PAYLOAD_BYTES_MAX)?;
    let no_memory = || CollectiveError::Memory { bytes };
    let len = usize::try_from(bytes).map_err(|_| no_memory())?;
    let mut zeros = Vec::new();
    zeros.try_reserve_exact(len).map_err(|_| no_memory())?;
    zeros.resize(len, 0);
    Ok(zeros)
}
