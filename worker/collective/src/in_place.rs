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
//!    Messages name the bucket. After an error others may still be between the two, so the
//!    caller does not get the memory back.
//! 2. What lies where in a pool is a function of the plan, the lanes and the world size.
//! 3. Whether a bucket is shared is the same on all ranks.

use std::{io, ops::Range, sync::Arc};

use tracing::debug;

use crate::{
    bucket::BucketPlan,
    buffer::Buffer,
    error::CollectiveError,
    group::Group,
    mesh::Round,
    pool::{ForeignPool, Mapped, PAGE_ELEMENTS, Part, Pool, Source, paged_bytes},
    reduction::Reduction,
    share::{LANES_MAX, segment, share},
    tree::reduce_views,
    wire::Operation,
};

/// Shorter buckets are sent: a message with them takes no longer than one without.
const SHARED_FROM_BYTES: usize = 1 << 14;

/// The most vectors and parts of sums that are mapped for one plan. The system allows a process 65,530
/// mappings, unless it is told otherwise, and others need some.
const MAPPINGS_MAX: usize = 1 << 14;

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
    /// The group that made it, and which of its buckets it is: the same on all ranks.
    group: u64,
    number: u64,
    sum: Mapped,
    /// This rank's segment of every lane of the other ranks; by lane.
    foreign: Vec<Option<Foreign>>,
    /// Which vectors this rank's lanes are: others read them where they lie.
    own: Vec<Option<u64>>,
}

/// Some elements of what is mapped of another rank's pool.
#[derive(Debug)]
struct Foreign {
    pool: Arc<Mapped>,
    elements: Range<usize>,
}

impl Bucket {
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
    /// How much of each rank's pool is taken, in bytes.
    taken: Vec<usize>,
    /// Buckets made.
    buckets: u64,
}

impl Pools {
    /// `foreign` are the others', by rank; `None` where one is missing.
    pub(crate) fn new(own: Pool, rank: usize, foreign: Vec<Option<ForeignPool>>) -> Option<Self> {
        let all = foreign.iter().enumerate().all(|(other, pool)| pool.is_some() || other == rank);
        let taken = vec![0; foreign.len()];
        all.then_some(Self { own, foreign, taken, buckets: 0 })
    }

    fn part(&self, rank: usize, begin_bytes: usize, len: usize) -> Part<'_> {
        let source = self.foreign[rank].as_ref().map_or(Source::Own(&self.own), Source::Foreign);
        Part { source, begin_bytes, len }
    }

    /// Maps what lies behind what is taken of all pools, as buckets of these shapes.
    fn map(&self, rank: usize, group: u64, shapes: &[Shape]) -> io::Result<Vec<Bucket>> {
        let mut stretches = Vec::new();
        for (other, begin) in self.taken.iter().enumerate() {
            let len = all_bytes(shapes, other) / size_of::<f32>();
            stretches.push(match other == rank {
                true => None,
                false => Some(Arc::new(Mapped::new(&[self.part(other, *begin, len)])?)),
            });
        }
        let mut begins = self.taken.clone();
        let mut buckets = Vec::new();
        for (shape, number) in shapes.iter().zip(self.buckets..) {
            buckets.push(match shape.is_shared() {
                true => self.bucket(rank, (group, number), *shape, &begins, &stretches)?,
                false => shape.on_heap(rank),
            });
            begins.iter_mut().enumerate().for_each(|(rank, begin)| *begin += shape.bytes(rank));
        }
        Ok(buckets)
    }

    /// One bucket, which begins at `begins` in each pool; `stretches` is what is mapped of the others'.
    fn bucket(
        &self,
        rank: usize,
        (group, number): (u64, u64),
        shape: Shape,
        begins: &[usize],
        stretches: &[Option<Arc<Mapped>>],
    ) -> io::Result<Bucket> {
        let segment = shape.segment(rank);
        let (mut foreign, mut lanes) = (Vec::new(), Vec::new());
        for (other, stretch) in stretches.iter().enumerate() {
            for nth in 0..shape.lanes_of(other).len() {
                let begin = begins[other] + nth * paged_bytes(shape.len);
                let Some(stretch) = stretch else {
                    lanes.push(Buffer::shared(Mapped::new(&[self.part(rank, begin, shape.len)])?));
                    foreign.push(None);
                    continue;
                };
                let first = (begin - self.taken[other]) / size_of::<f32>();
                let elements = first + segment.start..first + segment.end;
                foreign.push(Some(Foreign { pool: Arc::clone(stretch), elements }));
            }
        }
        let part = |rank| {
            let begin = begins[rank] + shape.lanes_of(rank).len() * paged_bytes(shape.len);
            self.part(rank, begin, shape.segment(rank).len())
        };
        let sum = Mapped::new(&(0..begins.len()).map(part).collect::<Vec<_>>())?;
        let own = lanes.iter().map(Buffer::number).collect();
        let in_place = InPlace { group, number, sum, foreign, own };
        Ok(Bucket { lanes, sum: Sum::InPlace(in_place) })
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

    fn is_shared(self) -> bool {
        self.len * size_of::<f32>() >= SHARED_FROM_BYTES
    }

    /// What `rank` takes of its pool: its lanes one behind the other, then its segment of the sum.
    fn bytes(self, rank: usize) -> usize {
        let lanes = self.lanes_of(rank).len() * paged_bytes(self.len);
        if self.is_shared() { lanes + paged_bytes(self.segment(rank).len()) } else { 0 }
    }

    fn on_heap(self, rank: usize) -> Bucket {
        let lanes = self.lanes_of(rank).map(|_| Buffer::from(vec![0.0; self.len])).collect();
        Bucket { lanes, sum: Sum::Heap(vec![0.0; self.len]) }
    }
}

/// What `rank` takes of its pool for all of them.
fn all_bytes(shapes: &[Shape], rank: usize) -> usize {
    shapes.iter().map(|shape| shape.bytes(rank)).sum()
}

impl Group {
    /// Memory for the buckets of a plan, all zeros. Where all ranks share memory, those of
    /// 16 KiB and more lie in it, and their reduction copies nothing. That memory is given
    /// back when the group and all its buckets are dropped: make buckets once.
    ///
    /// # Errors
    ///
    /// Those of [`agree`](Self::agree), which is a part of it.
    /// That memory cannot be shared is none: then all ranks' buckets lie on the heap.
    pub fn buckets(&mut self, plan: &BucketPlan) -> Result<Vec<Bucket>, CollectiveError> {
        self.agree(plan)?;
        let (lanes, world_size, rank) = (self.all_lanes(), self.world_size(), self.rank() as usize);
        let shapes: Vec<_> =
            (0..plan.len()).map(|nth| Shape { len: plan.elements(nth).len(), lanes, world_size }).collect();
        let mappings = shapes.len() * (world_size as usize + self.lanes().len());
        let could = self.pools.is_some() && world_size > 1 && mappings <= MAPPINGS_MAX;
        if !self.all_could(could)? {
            return Ok(shapes.iter().map(|shape| shape.on_heap(rank)).collect());
        }
        let mut pools = self.pools.take().expect("invariant: a rank that could has pools");
        let begin = pools.taken[rank];
        let grown = pools.own.grow(begin, all_bytes(&shapes, rank));
        let buckets = match (self.all_could(grown.is_ok())?, grown) {
            (true, Ok(())) => pools.map(rank, self.number(), &shapes),
            (_, Err(error)) => Err(error),
            (false, Ok(())) => Err(io::ErrorKind::OutOfMemory.into()),
        };
        // Those who have failed take part, so that all do the same.
        let could = self.all_could(buckets.is_ok())?;
        let buckets = match buckets {
            Ok(buckets) if could => {
                pools.buckets += buckets.len() as u64;
                pools
                    .taken
                    .iter_mut()
                    .enumerate()
                    .for_each(|(rank, taken)| *taken += all_bytes(&shapes, rank));
                buckets
            }
            failed => {
                debug!(error = ?failed.err(), "buckets lie on the heap");
                pools.own.give_back(begin);
                shapes.iter().map(|shape| shape.on_heap(rank)).collect()
            }
        };
        self.pools = Some(pools);
        Ok(buckets)
    }

    /// Reduces a bucket, with the bits of [`tree_reduce`](crate::tree_reduce).
    ///
    /// # Errors
    ///
    /// Those of [`all_reduce`](Self::all_reduce); a bucket of another group, or with vectors that it
    /// did not come with, is [`CollectiveError::Argument`]. Then the bucket is empty: its memory may
    /// still be in use.
    pub fn all_reduce_bucket(
        &mut self,
        reduction: Reduction,
        bucket: &mut Bucket,
    ) -> Result<(), CollectiveError> {
        let result = match &mut bucket.sum {
            Sum::Heap(sum) => self.all_reduce(reduction, &mut bucket.lanes, sum),
            Sum::InPlace(in_place) => self.reduce_in_place(reduction, &bucket.lanes, in_place),
        };
        if result.is_err() {
            *bucket = Bucket::default();
        }
        result
    }

    fn reduce_in_place(
        &mut self,
        reduction: Reduction,
        lanes: &[Buffer],
        in_place: &mut InPlace,
    ) -> Result<(), CollectiveError> {
        let mut mesh = self.mesh()?;
        self.check_bucket(lanes, in_place)?;
        let InPlace { number, sum, foreign, .. } = in_place;
        let round = |operation| Round { operation, reduction: Some(reduction), subject: *number };
        self.meet_in(&mut mesh, round(Operation::ReduceInPlace))?;
        let (all_lanes, first) = (self.all_lanes(), self.lanes().start as usize);
        let shape = Shape { len: sum.as_slice().len(), lanes: all_lanes, world_size: self.world_size() };
        let own = shape.segment(self.rank() as usize);
        let mut views: [&[f32]; LANES_MAX as usize] = [&[]; _];
        for (lane, (view, foreign)) in views.iter_mut().zip(foreign).enumerate() {
            *view = match foreign {
                Some(Foreign { pool, elements }) => &pool.as_slice()[elements.clone()],
                None => &lanes[lane - first][own.clone()],
            };
        }
        let out = sum.own_mut();
        reduce_views(reduction, &views[..all_lanes as usize], out, &mut self.scratch);
        reduction.finish(all_lanes, out);
        self.meet_in(&mut mesh, round(Operation::ReducedInPlace))?;
        self.put_back(mesh);
        Ok(())
    }

    /// That a bucket is this group's, and its vectors are those that others read.
    fn check_bucket(&self, lanes: &[Buffer], in_place: &InPlace) -> Result<(), CollectiveError> {
        let argument = |what, expected: &str, actual| {
            Err(CollectiveError::Argument { what, expected: expected.to_owned(), actual })
        };
        if in_place.group != self.number() {
            return argument("the group of the bucket", "the one that reduces it", in_place.group);
        }
        self.check_lanes(lanes, in_place.sum.as_slice().len())?;
        match lanes.iter().zip(&in_place.own).position(|(lane, number)| lane.number() != *number) {
            Some(lane) => argument("the vector of lane", "that which came with the bucket", lane as u64),
            None => Ok(()),
        }
    }
}
