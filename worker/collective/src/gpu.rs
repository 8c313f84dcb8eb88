//! A generation whose lanes' vectors lie on GPUs, one for each rank: the exact all-reduce
//! and NCCL's own, without a way through the processor's memory. It owns a communicator,
//! a stream and room for partial sums; the group that it was made over stays the caller's,
//! for everything that is not a vector on a GPU.
//!
//! The exact sum is that of [`Group`]: NCCL only moves partial sums, all at once, and the
//! additions of the tree are a kernel of ours, so it has the bits of [`tree_sum`](crate::tree_sum).
//! NCCL's all-reduce adds in an order that depends on the number of ranks and the machine.
//!
//! A wait ends as [`Group`]'s do: at once when NCCL notices that a rank is gone, when the
//! group is aborted, or after the timeout. Only [`GpuGroup::connect`] may wait for as long
//! as NCCL does.

use std::{
    collections::BTreeSet,
    ops::Range,
    thread,
    time::{Duration, Instant},
};

use tracing::warn;

use crate::{
    config::in_range,
    error::CollectiveError,
    gpu_plan::{GpuPlan, Held, Transfer},
    group::Group,
    nccl::{self, Communicator, Gpu, GpuVector, ID_BYTES, Room, Span},
    share::share,
    signal::AbortHandle,
    tree::TreePlan,
};

/// How often it is asked whether the GPU is done, once that has taken a while.
const ASK_EVERY: Duration = Duration::from_micros(50);

/// What can go wrong in a group of GPUs, which ends with it.
#[derive(Debug, thiserror::Error)]
pub enum GpuError {
    /// What can go wrong in any group.
    #[error(transparent)]
    Group(#[from] CollectiveError),
    /// The driver failed.
    #[error("{doing}: the NVIDIA driver says {reason}")]
    Driver {
        /// What was being done.
        doing: &'static str,
        /// Its answer.
        reason: String,
    },
    /// NCCL failed: usually, a rank is gone.
    #[error("{doing}: NCCL says {reason}")]
    Nccl {
        /// What was being done.
        doing: &'static str,
        /// Its answer.
        reason: String,
    },
}

/// What came of connecting GPUs. The same on all ranks.
#[derive(Debug)]
pub enum Met {
    /// They are connected.
    Gpus(Box<GpuGroup>),
    /// The group's own transports are what there is, and why.
    Processors(&'static str),
}

/// A connected generation on GPUs. All ranks must call the same operations in the same
/// order with vectors of the same lengths. After an error all further operations are
/// [`CollectiveError::Broken`].
#[derive(Debug)]
pub struct GpuGroup {
    rank: usize,
    world_size: usize,
    lanes: u32,
    tree: TreePlan,
    abort: AbortHandle,
    timeout: Duration,
    gpu: Gpu,
    room: Room,
    /// `None` in a world of one rank, and after an error.
    communicator: Option<Communicator>,
    is_broken: bool,
}

impl GpuGroup {
    /// Connects the GPUs of all ranks, this one's being that of number `index`. Collective:
    /// all ranks of `group` must call it. Its timeout and its abort handle end waits here, too.
    ///
    /// NCCL connects GPUs of their own only: where two ranks share one, or a rank has no
    /// NCCL, or cannot use it, all get [`Met::Processors`]; the log says which rank, and why.
    /// So they do where the group has certificates: NCCL would send gradients in the clear.
    ///
    /// # Errors
    ///
    /// The group's failure, or the driver's.
    pub fn connect(group: &mut Group, index: u16) -> Result<Met, GpuError> {
        let (lanes, timeout) = (group.all_lanes(), group.timeout()?);
        if group.is_secured() && group.world_size() > 1 {
            return Ok(Met::Processors(NO_TLS));
        }
        let gpu = nccl::is_present().then(|| Gpu::open(index)).and_then(usable);
        let card = gpu.as_ref().map(Gpu::uuid).transpose()?;
        let cards = group.all_gather(card.as_ref().map_or(&[][..], |uuid| uuid))?;
        let gpu = match (gpu, why_not(&cards)) {
            (Some(gpu), None) => gpu,
            (None, None) => return Ok(Met::Processors(NO_NCCL)),
            (_, Some(why)) => return Ok(Met::Processors(why)),
        };
        let (rank, world_size) = (group.rank() as usize, group.world_size() as usize);
        let communicator = if world_size == 1 {
            None
        } else {
            let id = share_id(group)?;
            let connected = id.and_then(|id| usable(Communicator::connect(&gpu, &id, rank, world_size)));
            if !group.all_could(connected.is_some())? {
                return Ok(Met::Processors("NCCL could not connect all workers: their logs say why"));
            }
            connected
        };
        Ok(Met::Gpus(Box::new(Self {
            rank,
            world_size,
            lanes,
            tree: TreePlan::new(lanes, group.world_size()),
            abort: group.abort_handle(),
            timeout,
            room: gpu.room(0)?,
            gpu,
            communicator,
            is_broken: false,
        })))
    }

    /// The sum over all lanes of all ranks, with the bits of [`tree_sum`](crate::tree_sum). In: one
    /// vector per owned lane, in order, all as long as `out`; they are destroyed. Out: the sum, on
    /// every rank. Returns when the GPU is done.
    ///
    /// # Errors
    ///
    /// Where lanes or lengths do not fit, or the group's failure.
    pub fn all_reduce(&mut self, lanes: &mut [GpuVector], out: &mut GpuVector) -> Result<(), GpuError> {
        self.operate(lanes, out, |group, lanes, out| {
            let plan = group.plan(out.len());
            group.add_own(lanes)?;
            if let Some(communicator) = &group.communicator {
                communicator.together(|| {
                    plan.scatter().into_iter().try_for_each(|transfer| match transfer {
                        Transfer::Send { to, lane, elements } => {
                            communicator.send(&group.gpu, lanes[lane].span(elements), to)
                        }
                        Transfer::Receive { from, room } => {
                            communicator.receive(&group.gpu, group.room.span(room), from)
                        }
                    })
                })?;
            }
            let own = plan.segment(group.rank);
            group.add_rest(&plan, lanes, out.span(own.clone()))?;
            group.gather(&plan, out, own)
        })
    }

    /// As [`all_reduce`](Self::all_reduce), in NCCL's own order: the bits depend on the number of ranks.
    ///
    /// # Errors
    ///
    /// Those of [`all_reduce`](Self::all_reduce).
    pub fn all_reduce_fast(&mut self, lanes: &mut [GpuVector], out: &mut GpuVector) -> Result<(), GpuError> {
        self.operate(lanes, out, |group, lanes, out| {
            let whole = 0..out.len();
            let mine = lanes[0].span(whole.clone());
            for lane in &lanes[1..] {
                group.gpu.add(mine, lane.span(whole.clone()), mine)?;
            }
            match &group.communicator {
                Some(communicator) => communicator.all_reduce(&group.gpu, mine, out.span(whole)),
                None => group.gpu.copy(mine, out.span(whole)),
            }
        })
    }

    /// Queues what `queue` queues, and waits until it is done.
    fn operate(
        &mut self,
        lanes: &mut [GpuVector],
        out: &mut GpuVector,
        queue: impl FnOnce(&Self, &[GpuVector], &GpuVector) -> Result<(), GpuError>,
    ) -> Result<(), GpuError> {
        if self.is_broken {
            return Err(CollectiveError::Broken.into());
        }
        let owned = share(self.lanes, self.world_size as u32, self.rank as u32).len() as u64;
        in_range("the number of vectors", lanes.len() as u64, owned, owned)?;
        let len = out.len() as u64;
        lanes
            .iter()
            .try_for_each(|lane| in_range("the length of a lane's vector", lane.len() as u64, len, len))?;
        let room = self.plan(out.len()).room();
        if self.room.len() < room {
            self.room = self.gpu.room(room)?;
        }
        let done = queue(self, lanes, out).and_then(|()| self.wait());
        if done.is_err() {
            (self.communicator, self.is_broken) = (None, true);
        }
        done
    }

    fn plan(&self, len: usize) -> GpuPlan<'_> {
        GpuPlan { tree: &self.tree, rank: self.rank, world_size: self.world_size, len }
    }

    /// This rank's lanes up to the sums of its subtrees, in place.
    fn add_own(&self, lanes: &[GpuVector]) -> Result<(), GpuError> {
        self.tree.local(self.rank).iter().try_for_each(|addition| {
            let (left, right) = (&lanes[addition.left], &lanes[addition.right]);
            let left = left.span(0..left.len());
            self.gpu.add(left, right.span(0..right.len()), left)
        })
    }

    /// This rank's elements of all subtrees up to the root, into `out`.
    fn add_rest(&self, plan: &GpuPlan<'_>, lanes: &[GpuVector], out: Span) -> Result<(), GpuError> {
        let span = |subtree| match plan.held(subtree) {
            Held::Lane { lane, elements } => lanes[lane].span(elements),
            Held::Room(room) => self.room.span(room),
        };
        let Some((root, below)) = self.tree.rest().split_last() else {
            return self.gpu.copy(span(self.tree.root()), out);
        };
        for addition in below {
            let left = span(addition.left);
            self.gpu.add(left, span(addition.right), left)?;
        }
        self.gpu.add(span(root.left), span(root.right), out)
    }

    /// Everyone's elements of the sum to everyone.
    fn gather(&self, plan: &GpuPlan<'_>, out: &GpuVector, own: Range<usize>) -> Result<(), GpuError> {
        let Some(communicator) = &self.communicator else { return Ok(()) };
        communicator.together(|| {
            plan.peers().try_for_each(|peer| {
                if !own.is_empty() {
                    communicator.send(&self.gpu, out.span(own.clone()), peer)?;
                }
                let theirs = plan.segment(peer);
                if theirs.is_empty() {
                    return Ok(());
                }
                communicator.receive(&self.gpu, out.span(theirs), peer)
            })
        })
    }

    /// Returns when everything queued is done.
    fn wait(&self) -> Result<(), GpuError> {
        let _wait = self.abort.wait();
        let (done, begin) = (self.gpu.mark()?, Instant::now());
        while !done.try_is_complete().map_err(nccl::driver_failed("waiting for the GPU"))? {
            if self.abort.is_aborted() {
                return Err(CollectiveError::Aborted.into());
            }
            self.communicator.iter().try_for_each(Communicator::check)?;
            if begin.elapsed() > self.timeout {
                let ranks = (0..self.world_size as u32).filter(|rank| *rank as usize != self.rank).collect();
                return Err(CollectiveError::Timeout { timeout: self.timeout, ranks }.into());
            }
            if begin.elapsed() > ASK_EVERY {
                thread::sleep(ASK_EVERY);
            }
        }
        Ok(())
    }
}

const NO_TLS: &str = "the cluster has certificates, and NCCL knows no TLS";

const NO_NCCL: &str = "not all workers have NCCL (libnccl.so.2)";

/// Why GPUs cannot be connected, by what each rank says of its own: nothing, or its UUID.
fn why_not(cards: &[Vec<u8>]) -> Option<&'static str> {
    if cards.iter().any(Vec::is_empty) {
        return Some(NO_NCCL);
    }
    let different: BTreeSet<_> = cards.iter().collect();
    (different.len() < cards.len())
        .then_some("two workers share a GPU, and NCCL connects GPUs of their own only")
}

/// What cannot be used here is told, and done without everywhere.
fn usable<T>(part: Result<T, GpuError>) -> Option<T> {
    part.map_err(|error| warn!(%error, "this rank's GPU cannot be connected")).ok()
}

/// The id that rank 0 has made; nothing where it could not.
fn share_id(group: &mut Group) -> Result<Option<[u8; ID_BYTES]>, CollectiveError> {
    let own = if group.rank() == 0 { usable(nccl::new_id()) } else { None };
    let mut id = own.unwrap_or_default();
    group.broadcast(0, &mut id)?;
    Ok(id.try_into().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_connected_where_every_rank_has_one_of_its_own() {
        let (a, b) = (vec![1; 16], vec![2; 16]);
        assert_eq!(why_not(std::slice::from_ref(&a)), None);
        assert_eq!(why_not(&[a.clone(), b.clone()]), None);
        assert!(why_not(&[a.clone(), Vec::new()]).is_some_and(|why| why.contains("NCCL")));
        assert!(why_not(&[a.clone(), b, a]).is_some_and(|why| why.contains("share")));
    }
}
