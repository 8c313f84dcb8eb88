//! A connected generation: the operations that all its ranks do together, in the same
//! order. The group owns its connections; the first error closes them, so that no
//! rank waits for one that has given up.

#[cfg(feature = "nccl")]
use std::time::Duration;
use std::{
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
};

use tracing::debug;

use crate::{
    bucket::BucketPlan,
    config::{GroupConfig, in_range},
    connect::connect_all,
    error::CollectiveError,
    halving::{Halving, gather_segments},
    in_place::Pools,
    links::Links,
    listener::Listener,
    meet::meet,
    mesh::{Mesh, Round},
    packed::Staging,
    patience::Patience,
    payload::{Cut, Scatter, Segments},
    reduction::Reduction,
    share::{LANES_MAX, segment, share},
    signal::AbortHandle,
    tree::{Lane, TreePlan},
    wire::{Operation, PAYLOAD_BYTES_MAX},
};

/// Up to this much, the partial sums of a vector go to everyone in one round: two rounds
/// move fewer bytes, and cost more than those bytes do.
const ONE_ROUND_BYTES_MAX: usize = 1 << 14;

/// Elements that are halved at once: 4 MiB.
const HALVED_ELEMENTS: usize = 1 << 20;

/// A connected generation. All ranks must call the same operations in the same order;
/// where they do not, every one of them gets an error. After an error all further
/// operations are [`CollectiveError::Broken`]. Blocks the thread it is called on.
#[derive(Debug)]
pub struct Group {
    /// No other group of the process has it.
    number: u64,
    secured: bool,
    rank: usize,
    world_size: usize,
    lanes: u32,
    abort: AbortHandle,
    plan: TreePlan,
    links: Links,
    /// Where all ranks share memory.
    pub(crate) pools: Option<Pools>,
    /// This rank's elements of the other ranks' subtrees' sums; kept from one round to the next.
    partials: Vec<f32>,
    staging: Staging,
    /// Partial sums of vectors that are reduced in place.
    pub(crate) scratch: Vec<f32>,
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
    /// is gone, shares no memory where that is asked for, the timeout passes, or `abort`
    /// is used.
    pub fn connect(
        listener: &Listener,
        config: GroupConfig,
        abort: &AbortHandle,
    ) -> Result<Self, CollectiveError> {
        config.check()?;
        if abort.is_aborted() {
            return Err(CollectiveError::Aborted);
        }
        let plan = TreePlan::new(config.lanes, config.world_size());
        let links = Links::of(&plan);
        let channels = connect_all(listener, &config, links, abort)?;
        let mut mesh = Mesh::new(channels, config.generation, config.timeout, abort.clone());
        // It ends with a round in which everyone hears from everyone: a rank that is done
        // early does not leave while others still connect.
        let pools = meet(&mut mesh, links, &config, abort)?;
        let (job, rank, generation) = (&config.job, config.rank, config.generation);
        debug!(job, generation, rank, world_size = config.world_size(), "group connected");
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Ok(Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            secured: listener.tls().is_some(),
            rank: config.rank as usize,
            world_size: config.peers.len(),
            lanes: config.lanes,
            abort: abort.clone(),
            plan,
            links,
            pools,
            partials: Vec::new(),
            staging: Staging::default(),
            scratch: Vec::new(),
            mesh: Some(mesh),
        })
    }

    /// The handle that the group was connected with.
    pub fn abort_handle(&self) -> AbortHandle {
        self.abort.clone()
    }

    /// How long nothing may move.
    #[cfg(feature = "nccl")]
    pub(crate) fn timeout(&self) -> Result<Duration, CollectiveError> {
        self.mesh.as_ref().map(Mesh::timeout).ok_or(CollectiveError::Broken)
    }

    /// Whether its ranks have shown each other certificates, and what goes over TCP is encrypted.
    pub fn is_secured(&self) -> bool {
        self.secured
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

    /// Tells this group from all others of the process.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Lanes of all ranks.
    pub(crate) fn all_lanes(&self) -> u32 {
        self.lanes
    }

    /// The elements of a vector of `len` that this rank owns, in
    /// [`reduce_scatter`](Self::reduce_scatter) and [`all_gather_segments`](Self::all_gather_segments).
    pub fn segment(&self, len: usize) -> Range<usize> {
        segment(len, self.world_size, self.rank)
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
        lanes: &mut [impl Lane],
        out: &mut [f32],
    ) -> Result<(), CollectiveError> {
        self.all_reduce(Reduction::Sum, lanes, out)
    }

    /// [`all_reduce_lanes`](Self::all_reduce_lanes) for any reduction, with the bits of
    /// [`tree_reduce`](crate::tree_reduce).
    ///
    /// # Errors
    ///
    /// Those of [`all_reduce_lanes`](Self::all_reduce_lanes); and an error where ranks
    /// reduce differently.
    pub fn all_reduce(
        &mut self,
        reduction: Reduction,
        lanes: &mut [impl Lane],
        out: &mut [f32],
    ) -> Result<(), CollectiveError> {
        let mut mesh = self.mesh()?;
        let len = out.len();
        self.check_lanes(lanes, len)?;
        if self.world_size == 1 {
            self.plan.sum_all(reduction, lanes, out);
            reduction.finish(self.lanes, out);
        } else if self.links == Links::Cube {
            self.halve(&mut mesh, reduction, lanes, out)?;
        } else if self.takes_one_round(len) {
            for cut in Cut::rounds(len, 1) {
                let own = &mut out[cut.of(self.rank)];
                self.scatter(&mut mesh, Operation::AllReduce, reduction, cut, lanes, own)?;
            }
        } else {
            for cut in Cut::rounds(len, self.world_size) {
                let own = &mut out[cut.of(self.rank)];
                self.scatter(&mut mesh, Operation::ReduceScatter, reduction, cut.clone(), lanes, own)?;
                match reduction {
                    Reduction::Bf16Sum => self.staging.gather(&mut mesh, self.rank, &cut, out)?,
                    Reduction::Sum | Reduction::Mean | Reduction::Max => self.gather(&mut mesh, cut, out)?,
                }
            }
        }
        self.mesh = Some(mesh);
        Ok(())
    }

    /// The first half of an all-reduce: in `out`, which is as long, the elements
    /// [`segment`](Self::segment) of the reduced vector. From eight ranks with equal power-of-two
    /// shares on it is a whole all-reduce within, with memory of its own.
    ///
    /// # Errors
    ///
    /// Those of [`all_reduce`](Self::all_reduce).
    pub fn reduce_scatter(
        &mut self,
        reduction: Reduction,
        lanes: &mut [impl Lane],
        out: &mut [f32],
    ) -> Result<(), CollectiveError> {
        let mut mesh = self.mesh()?;
        let len = lanes.first().map_or(0, |lane| lane.as_ref().len());
        self.check_lanes(lanes, len)?;
        let own = self.segment(len);
        in_range("the length of the segment", out.len() as u64, own.len() as u64, own.len() as u64)?;
        if self.world_size == 1 {
            self.plan.sum_all(reduction, lanes, out);
            reduction.finish(self.lanes, out);
        } else if self.links == Links::Cube {
            let mut sum = vec![0.0; len];
            self.halve(&mut mesh, reduction, lanes, &mut sum)?;
            out.copy_from_slice(&sum[own]);
        } else {
            for cut in Cut::rounds(len, self.world_size) {
                let round = cut.of(self.rank);
                let out = &mut out[round.start - own.start..round.end - own.start];
                self.scatter(&mut mesh, Operation::ReduceScatter, reduction, cut, lanes, out)?;
            }
        }
        self.mesh = Some(mesh);
        Ok(())
    }

    /// The second half of an all-reduce: everyone's [`segment`](Self::segment) of
    /// `vector` to everyone, so that all have the same vector.
    ///
    /// # Errors
    ///
    /// The group's failure.
    pub fn all_gather_segments(&mut self, vector: &mut [f32]) -> Result<(), CollectiveError> {
        let mut mesh = self.mesh()?;
        if self.links == Links::Cube {
            gather_segments(&mut mesh, (self.rank, self.world_size), vector)?;
        } else {
            for cut in Cut::rounds(vector.len(), self.world_size) {
                self.gather(&mut mesh, cut, vector)?;
            }
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
        let round = |operation| Round::plain(operation, u64::from(root));
        let (place, root) = ((self.rank, self.world_size), root as usize);
        let mut length = (bytes.len() as u64).to_le_bytes();
        self.links.broadcast(&mut mesh, round(Operation::BroadcastLength), place, root, &mut length)?;
        if self.rank != root {
            *bytes = zeros(u64::from_le_bytes(length))?;
        }
        self.links.broadcast(&mut mesh, round(Operation::Broadcast), place, root, bytes)?;
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
        self.links.gather(&mut mesh, Round::plain(Operation::GatherLengths, 0), self.rank, &mut lengths)?;
        let mut all = Vec::with_capacity(self.world_size);
        for (rank, length) in lengths.into_iter().enumerate() {
            all.push(if rank == self.rank { mine.to_vec() } else { zeros(u64::from_le_bytes(length))? });
        }
        self.links.gather(&mut mesh, Round::plain(Operation::Gather, 0), self.rank, &mut all)?;
        self.mesh = Some(mesh);
        Ok(all)
    }

    /// Returns when all ranks have called it.
    ///
    /// # Errors
    ///
    /// The group's failure.
    pub fn barrier(&mut self) -> Result<(), CollectiveError> {
        self.meet_at(Round::plain(Operation::Barrier, 0))
    }

    /// Returns when all ranks have called it with the same plan.
    ///
    /// # Errors
    ///
    /// [`CollectiveError::Disagreement`] on [`Field::BucketPlan`](crate::Field::BucketPlan)
    /// where plans differ, or the group's failure.
    pub fn agree(&mut self, plan: &BucketPlan) -> Result<(), CollectiveError> {
        self.meet_at(Round::plain(Operation::BucketPlan, plan.hash()))
    }

    /// From now on waits at once give the core to whoever can use it: for a group that
    /// works beside a thread that computes.
    pub(crate) fn sleep_while_waiting(&mut self) {
        self.mesh.iter_mut().for_each(|mesh| mesh.set_patience(Patience::Sleep));
    }

    /// Whether all ranks say yes.
    pub(crate) fn all_could(&mut self, could: bool) -> Result<bool, CollectiveError> {
        let mut mesh = self.mesh()?;
        let mut answers = [[u8::from(could)]; LANES_MAX as usize];
        let answers = &mut answers[..self.world_size];
        self.links.gather(&mut mesh, Round::plain(Operation::Gather, 0), self.rank, answers)?;
        self.mesh = Some(mesh);
        Ok(answers.iter().all(|answer| *answer == [1]))
    }

    /// A round without a payload: returns when all ranks are in it.
    fn meet_at(&mut self, round: Round) -> Result<(), CollectiveError> {
        let mut mesh = self.mesh()?;
        self.meet_in(&mut mesh, round)?;
        self.mesh = Some(mesh);
        Ok(())
    }

    /// [`meet_at`](Self::meet_at) in the midst of an operation.
    pub(crate) fn meet_in(&self, mesh: &mut Mesh, round: Round) -> Result<(), CollectiveError> {
        self.links.meet(mesh, round, self.rank, self.world_size)
    }

    /// Takes the connections out for one operation, which puts them back when it has
    /// succeeded: an operation that returns early closes them.
    pub(crate) fn mesh(&mut self) -> Result<Mesh, CollectiveError> {
        self.mesh.take().ok_or(CollectiveError::Broken)
    }

    /// Puts the connections back after an operation that has succeeded.
    pub(crate) fn put_back(&mut self, mesh: Mesh) {
        self.mesh = Some(mesh);
    }

    pub(crate) fn check_lanes(&self, lanes: &[impl Lane], len: usize) -> Result<(), CollectiveError> {
        let owned = self.lanes().len() as u64;
        in_range("the number of vectors", lanes.len() as u64, owned, owned)?;
        lanes.iter().try_for_each(|lane| {
            in_range("the length of a lane's vector", lane.as_ref().len() as u64, len as u64, len as u64)
        })
    }

    /// Whether partial sums go to everyone: where that moves no more bytes, as between two
    /// ranks with one subtree each, or so few that rounds count. The same on all ranks.
    fn takes_one_round(&self, len: usize) -> bool {
        self.plan.is_pair() || self.plan.subtrees() * len * size_of::<f32>() <= ONE_ROUND_BYTES_MAX
    }

    /// All rounds of an all-reduce in a hypercube.
    fn halve(
        &mut self,
        mesh: &mut Mesh,
        reduction: Reduction,
        lanes: &mut [impl Lane],
        out: &mut [f32],
    ) -> Result<(), CollectiveError> {
        let (rank, world_size) = (self.rank, self.world_size);
        let room = HALVED_ELEMENTS.min(out.len()).div_ceil(2);
        self.partials.resize(self.partials.len().max(room), 0.0);
        for start in (0..out.len().max(1)).step_by(HALVED_ELEMENTS) {
            let range = start..(start + HALVED_ELEMENTS).min(out.len());
            self.plan.sum_own(reduction, rank, lanes, range.clone());
            let sums = lanes[self.plan.place(rank, 0)].as_mut();
            let (partials, lanes) = (&mut self.partials[..], self.lanes);
            let out = &mut *out;
            let packed = (reduction == Reduction::Bf16Sum).then_some(&mut self.staging);
            Halving { mesh: &mut *mesh, rank, world_size, lanes, reduction, sums, partials, packed, out }
                .reduce(1, range)?;
        }
        Ok(())
    }

    /// One round that puts this rank's elements of the reduced vector into `out`.
    fn scatter(
        &mut self,
        mesh: &mut Mesh,
        operation: Operation,
        reduction: Reduction,
        cut: Cut,
        lanes: &mut [impl Lane],
        out: &mut [f32],
    ) -> Result<(), CollectiveError> {
        let (rank, plan) = (self.rank, &self.plan);
        for owner in 0..cut.owners {
            plan.sum_own(reduction, rank, lanes, cut.of(owner));
        }
        let foreign = plan.subtrees() - plan.held(rank).len();
        self.partials.resize(self.partials.len().max(foreign * out.len()), 0.0);
        let partials = &mut self.partials[..foreign * out.len()];
        let round = Round { operation, reduction: Some(reduction), subject: cut.len as u64 };
        let mut scatter =
            Scatter { plan, rank, reduction, cut, lanes, partials, out: &mut *out, folded: false };
        match reduction {
            Reduction::Bf16Sum => self.staging.scatter(mesh, round, &mut scatter)?,
            Reduction::Sum | Reduction::Mean | Reduction::Max => mesh.exchange(round, &mut scatter)?,
        }
        scatter.finish();
        reduction.finish(self.lanes, out);
        Ok(())
    }

    /// One round that gives everyone's elements of `vector` to everyone.
    fn gather(&self, mesh: &mut Mesh, cut: Cut, vector: &mut [f32]) -> Result<(), CollectiveError> {
        let round = Round::plain(Operation::SumGather, cut.len as u64);
        mesh.exchange(round, &mut Segments { rank: self.rank, cut, sum: vector })
    }
}

/// Memory for an announced payload. The system hands it out, cleared, as it is written
/// to: a wrong length costs nothing.
fn zeros(bytes: u64) -> Result<Vec<u8>, CollectiveError> {
    in_range("the announced length of a message in bytes", bytes, 0, PAYLOAD_BYTES_MAX)?;
    let no_memory = || CollectiveError::Memory { bytes };
    let len = usize::try_from(bytes).map_err(|_| no_memory())?;
    // `vec!` ends the process where there is no memory: whether there is, is asked before.
    Vec::<u8>::new().try_reserve_exact(len).map_err(|_| no_memory())?;
    Ok(vec![0; len])
}
