//! Reducing vectors where they lie, when all ranks are on one host and share memory: each
//! rank adds up its segment of the lanes of all ranks, reading the others' from their
//! memory, and writes it to its own, where the others read it as a part of the sum.
//! Nothing is copied; what goes between ranks is that lanes are there, and that sums are.
//!
//! ```text
//! rank 0's pool   lane 0 ▓▓▓░░░   sum ▓▓▓         every rank sees the sum as ▓▓▓░░░,
//! rank 1's pool   lane 1 ▓▓▓░░░   sum    ░░░      put together from pages of all pools
//! ```
//!
//! Invariants:
//!
//! 1. A rank's lanes are read by others only between its two messages of one reduction,
//!    while the caller has given the bucket away; likewise its part of the sum is written
//!    only after every rank has sent the first, and so has stopped reading the last sum.
//! 2. What lies where in a pool is a function of the plan, the lanes and the world size.
//! 3. Whether a bucket is shared is the same on all ranks.

use std::{io, ops::Range};

use tracing::debug;

use crate::{
    bucket::BucketPlan,
    buffer::Buffer,
    error::CollectiveError,
    group::Group,
    mesh::Round,
    pool::{ForeignPool, Mapped, PAGE_ELEMENTS, Pool, Source, paged_bytes},
    reduction::Reduction,
    share::{LANES_MAX, segment, share},
    tree::reduce_views,
    wire::Operation,
};

/// Shorter buckets go through the rings, or over the wire: a message with them takes no longer than one without.
const SHARED_FROM_BYTES: usize = 1 << 14;

/// One bucket's memory, kept from step to step.
#[derive(Debug, Default)]
pub struct Bucket {
    /// One vector per owned lane, in order. Lost in the reduction.
    pub lanes: Vec<Buffer>,
    sum: Sum,
}

/// Where the reduction of the lanes goes.
#[derive(Debug)]
enum Sum {
    Heap(Vec<f32>),
    InPlace(InPlace),
}

impl Default for Sum {
    fn default() -> Self {
        Self::Heap(Vec::new())
    }
}

/// What a rank maps of others' pools for one bucket.
#[derive(Debug)]
struct InPlace {
    sum: Mapped,
    /// This rank's segment of every lane of the other ranks; by lane.
    foreign: Vec<Option<Mapped>>,
    /// Where this rank's lanes lie: others read them there.
    places: Vec<usize>,
    scratch: Vec<f32>,
}

impl Bucket {
    fn on_heap(len: usize, lanes: usize) -> Self {
        let lanes = (0..lanes).map(|_| Buffer::from(vec![0.0; len])).collect();
        Self { lanes, sum: Sum::Heap(vec![0.0; len]) }
    }

    /// What the lanes of all ranks were reduced to. Parts of it may lie in other ranks'
    /// memory; it stays as it is until the bucket is reduced again.
    pub fn sum(&self) -> &[f32] {
        match &self.sum {
            Sum::Heap(sum) => sum,
            Sum::InPlace(in_place) => in_place.sum.as_slice(),
        }
    }
}

/// The pools of a group whose ranks all share memory.
#[derive(Debug)]
pub(crate) struct Pools {
    own: Pool,
    /// By rank; none for the own.
    foreign: Vec<Option<ForeignPool>>,
    /// How much of each rank's pool is taken.
    taken: Vec<usize>,
}

impl Pools {
    /// `foreign` are the others', by rank; `None` where one is missing.
    pub(crate) fn new(own: Pool, rank: usize, foreign: Vec<Option<ForeignPool>>) -> Option<Self> {
        let all = foreign.iter().enumerate().all(|(other, pool)| pool.is_some() || other == rank);
        let taken = vec![0; foreign.len()];
        all.then_some(Self { own, foreign, taken })
    }

    fn of(&self, rank: usize) -> Source<'_> {
        self.foreign[rank].as_ref().map_or(Source::Own(&self.own), Source::Foreign)
    }
}

/// Who owns what of one bucket.
#[derive(Debug, Clone, Copy)]
struct Shape {
    len: usize,
    lanes: u32,
    world_size: u32,
}

impl Shape {
    /// The elements that `rank` adds up: whole pages, but for the last.
    fn segment(self, rank: usize) -> Range<usize> {
        let pages = segment(self.len.div_ceil(PAGE_ELEMENTS), self.world_size as usize, rank);
        (pages.start * PAGE_ELEMENTS).min(self.len)..(pages.end * PAGE_ELEMENTS).min(self.len)
    }

    fn lanes_of(self, rank: usize) -> Range<u32> {
        share(self.lanes, self.world_size, rank as u32)
    }

    /// What `rank` takes of its pool: its lanes one behind the other, then its segment of the sum.
    fn bytes(self, rank: usize) -> usize {
        self.lanes_of(rank).len() * paged_bytes(self.len) + paged_bytes(self.segment(rank).len())
    }

    fn is_shared(self) -> bool {
        self.len * size_of::<f32>() >= SHARED_FROM_BYTES
    }
}

impl Group {
    /// Memory for the buckets of a plan, all zeros. Where all ranks share memory, the
    /// buckets lie in it, and their reduction copies nothing; it is given back when the
    /// group and all its buckets are dropped.
    ///
    /// # Errors
    ///
    /// Those of [`agree`](Self::agree), which is part of it.
    pub fn buckets(&mut self, plan: &BucketPlan) -> Result<Vec<Bucket>, CollectiveError> {
        self.agree(plan)?;
        let (lanes, world_size) = (self.all_lanes(), self.world_size());
        let shapes: Vec<_> =
            (0..plan.len()).map(|nth| Shape { len: plan.elements(nth).len(), lanes, world_size }).collect();
        let owned = self.lanes().len();
        let heap = || shapes.iter().map(|shape| Bucket::on_heap(shape.len, owned)).collect();
        let rank = self.rank() as usize;
        let mut pools = self.pools.take();
        let needed = shapes.iter().filter(|shape| shape.is_shared()).map(|shape| shape.bytes(rank)).sum();
        let begun = pools.as_mut().filter(|_| world_size > 1).map(|pools| pools.own.grow(needed));
        if !self.all_could(begun.as_ref().is_some_and(Result::is_ok))? {
            debug!(?begun, "buckets lie on the heap");
            return Ok(heap());
        }
        let Some(mut pools) = pools else { return Ok(heap()) };
        let begin = pools.taken[rank];
        let buckets: io::Result<Vec<_>> =
            shapes.iter().map(|shape| shape.bucket(&mut pools, rank, owned)).collect();
        let could = self.all_could(buckets.is_ok())?;
        match buckets {
            Ok(buckets) if could => {
                self.pools = Some(pools);
                Ok(buckets)
            }
            failed => {
                debug!(error = ?failed.err(), "buckets lie on the heap");
                pools.own.give_back(begin);
                Ok(heap())
            }
        }
    }

    /// Reduces a bucket, with the bits of [`tree_reduce`](crate::tree_reduce).
    ///
    /// # Errors
    ///
    /// Those of [`all_reduce`](Self::all_reduce), where a vector was not given back to the bucket among them.
    pub fn all_reduce_bucket(
        &mut self,
        reduction: Reduction,
        bucket: &mut Bucket,
    ) -> Result<(), CollectiveError> {
        match &mut bucket.sum {
            Sum::Heap(sum) => self.all_reduce(reduction, &mut bucket.lanes, sum),
            Sum::InPlace(in_place) => self.reduce_in_place(reduction, &bucket.lanes, in_place),
        }
    }

    fn reduce_in_place(
        &mut self,
        reduction: Reduction,
        lanes: &[Buffer],
        InPlace { sum, foreign, places, scratch }: &mut InPlace,
    ) -> Result<(), CollectiveError> {
        let len = sum.as_slice().len();
        self.check_lanes(lanes, len)?;
        if let Some(lane) = lanes.iter().zip(places).position(|(lane, place)| lane.as_ptr().addr() != *place)
        {
            let expected = "that which came with the bucket".to_owned();
            return Err(CollectiveError::Argument {
                what: "the memory of lane",
                expected,
                actual: lane as u64,
            });
        }
        let round = |operation| Round { operation, reduction: Some(reduction), subject: len as u64 };
        self.meet_at(round(Operation::ReduceScatter))?;
        let (all_lanes, first) = (self.all_lanes(), self.lanes().start as usize);
        let shape = Shape { len, lanes: all_lanes, world_size: self.world_size() };
        let own = shape.segment(self.rank() as usize);
        let mut views: [&[f32]; LANES_MAX as usize] = [&[]; _];
        for (lane, (view, foreign)) in views.iter_mut().zip(foreign).enumerate() {
            *view = match foreign {
                Some(mapped) => mapped.as_slice(),
                None => &lanes[lane - first][own.clone()],
            };
        }
        let out = sum.own_mut();
        reduce_views(reduction, &views[..all_lanes as usize], out, scratch);
        reduction.finish(all_lanes, out);
        self.meet_at(round(Operation::SumGather))
    }

    /// Whether all ranks say yes.
    fn all_could(&mut self, could: bool) -> Result<bool, CollectiveError> {
        Ok(self.all_gather(&[could.into()])?.iter().all(|answer| answer == &[1]))
    }
}

impl Shape {
    /// Maps one bucket, and takes its place in all pools.
    fn bucket(self, pools: &mut Pools, rank: usize, owned: usize) -> io::Result<Bucket> {
        if !self.is_shared() {
            return Ok(Bucket::on_heap(self.len, owned));
        }
        let Self { len, .. } = self;
        let begins = pools.taken.clone();
        for (rank, taken) in pools.taken.iter_mut().enumerate() {
            *taken += self.bytes(rank);
        }
        let pools = &*pools;
        let ranks = 0..begins.len();
        let lane_begin = |rank: usize, nth: usize| begins[rank] + nth * paged_bytes(len);
        let own = self.segment(rank);
        let mut foreign = Vec::new();
        let mut lanes = Vec::new();
        for other in ranks.clone() {
            for nth in 0..self.lanes_of(other).len() {
                if other == rank {
                    lanes.push(Buffer::shared(Mapped::new(&[(pools.of(rank), lane_begin(rank, nth), len)])?));
                    foreign.push(None);
                } else {
                    let begin = lane_begin(other, nth) + own.start * size_of::<f32>();
                    foreign.push(Some(Mapped::new(&[(pools.of(other), begin, own.len())])?));
                }
            }
        }
        let parts: Vec<_> = ranks
            .map(|rank| {
                let begin = lane_begin(rank, self.lanes_of(rank).len());
                (pools.of(rank), begin, self.segment(rank).len())
            })
            .collect();
        let sum = Mapped::new(&parts)?;
        let places = lanes.iter().map(|lane: &Buffer| lane.as_ptr().addr()).collect();
        Ok(Bucket { lanes, sum: Sum::InPlace(InPlace { sum, foreign, places, scratch: Vec::new() }) })
    }
}
