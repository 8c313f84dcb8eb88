//! The state of a job between two steps, taken out of the trainer so that a
//! checkpoint can be written while training goes on.
//!
//! Taking it costs the training thread nothing: a snapshot shares the tensors,
//! which the next update then replaces instead of changing them in place. Copying
//! and hashing is done by whoever asks for the content first.
//!
//! Every rank holds the same snapshot and writes its own share of the tensors;
//! the parts together hold each tensor once, and any number of ranks can read
//! what any other number has written. What lanes keep for themselves is held and
//! written by the ranks that own them; the others know its hash.

use std::{
    fmt,
    sync::{Arc, LazyLock, OnceLock},
};

use bytes::Bytes;
use phalanx_collective::share;
use phalanx_protocol::reference::HashHex;
use phalanx_storage::{Content, manifest::CheckpointManifest};
use safetensors::{SafeTensors, tensor::Metadata};

use crate::{
    error::SnapshotError,
    progress::TrainingProgress,
    state::{LaneHashes, State, StateTensor, lane_of},
};

/// The header of a safetensors file is as long as a multiple of this.
const HEADER_ALIGNMENT: usize = 8;

/// Parameters, optimizer state, and how far the job is.
#[derive(Clone)]
pub struct Snapshot {
    step: u64,
    cursor: u64,
    progress_json: String,
    taken: Arc<LazyLock<Taken, Taker>>,
}

/// What is known of a state before its parts are there.
pub(crate) struct Description {
    pub(crate) step: u64,
    pub(crate) cursor: u64,
    pub(crate) state_hash: HashHex,
    pub(crate) progress_json: String,
}

/// What a snapshot holds, taken out of the tensors.
struct Taken {
    state: State,
    /// Lanes that keep something for themselves.
    lanes: u32,
    /// The state's hash, once somebody has asked for it.
    hash: OnceLock<HashHex>,
    lane_hashes: LaneHashes,
}

type Taker = Box<dyn FnOnce() -> Taken + Send>;

impl Snapshot {
    pub(crate) fn new(
        step: u64,
        cursor: u64,
        progress: &TrainingProgress,
        lanes: LaneHashes,
        state: impl FnOnce() -> State + Send + 'static,
    ) -> Self {
        let progress_json =
            serde_json::to_string(progress).expect("invariant: progress is made of plain values");
        Self::lazy(step, cursor, progress_json, move || Taken {
            state: state(),
            lanes: lanes.len() as u32,
            hash: OnceLock::new(),
            lane_hashes: lanes,
        })
    }

    fn lazy(
        step: u64,
        cursor: u64,
        progress_json: String,
        take: impl FnOnce() -> Taken + Send + 'static,
    ) -> Self {
        Self { step, cursor, progress_json, taken: Arc::new(LazyLock::new(Box::new(take))) }
    }

    /// Steps finished.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Samples consumed.
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Hash of parameters, optimizer state and cursor. The first call takes a while.
    pub fn state_hash(&self) -> &str {
        let Taken { state, hash, lane_hashes, .. } = &**self.taken;
        hash.get_or_init(|| state.hash(self.cursor, lane_hashes))
    }

    /// What else belongs to the state (early stopping), as JSON text.
    pub fn progress_json(&self) -> &str {
        &self.progress_json
    }

    /// The share of the tensors that `rank` of `world_size` writes, as a
    /// safetensors file that shares them. Shares are about equal in bytes, without what lanes keep; one may
    /// be empty. The state's hash need not be known yet.
    pub fn part(&self, rank: u32, world_size: u32) -> Content {
        let Taken { state, lanes, .. } = &**self.taken;
        let owned = if *lanes == 0 { 0..0 } else { share(*lanes, world_size, rank) };
        let mut mine: Vec<_> = state
            .iter()
            .filter(|(name, _)| lane_of(name).is_some_and(|lane| owned.contains(&lane)))
            .collect();
        let shared = || state.iter().filter(|(name, _)| lane_of(name).is_none());
        let total: u128 = shared().map(|(_, tensor)| tensor.len() as u128).sum();
        let mut before = 0;
        for (name, tensor) in shared() {
            // A tensor belongs to the rank in whose share its middle lies.
            let middle = before + tensor.len() as u128 / 2;
            before += tensor.len() as u128;
            let owner = middle * u128::from(world_size) / total.max(1);
            if owner.min(u128::from(world_size) - 1) == u128::from(rank) {
                mine.push((name, tensor));
            }
        }
        serialize(mine)
    }

    /// Puts a snapshot together from all parts of a checkpoint.
    ///
    /// # Errors
    ///
    /// Where a part is no safetensors file, or the tensors are not those whose hash
    /// the manifest has.
    pub fn from_parts(manifest: &CheckpointManifest, parts: &[Bytes]) -> Result<Self, SnapshotError> {
        let description = Description {
            step: manifest.step,
            cursor: manifest.cursor,
            state_hash: manifest.state_hash.clone(),
            progress_json: manifest.progress_json.clone(),
        };
        Self::assemble(description, parts)
    }

    /// Puts a snapshot together from all its parts.
    pub(crate) fn assemble(expected: Description, parts: &[impl AsRef<[u8]>]) -> Result<Self, SnapshotError> {
        let Description { step, cursor, state_hash, progress_json } = expected;
        let mut state = State::default();
        for (index, part) in parts.iter().enumerate() {
            state.extend(deserialize(index, part.as_ref())?);
        }
        let lanes = state.lane_hashes();
        let actual = state.hash(cursor, &lanes);
        if actual != state_hash {
            return Err(SnapshotError::Hash { expected: state_hash, actual });
        }
        Ok(Self::lazy(step, cursor, progress_json, move || Taken {
            state,
            lanes: lanes.len() as u32,
            hash: OnceLock::from(actual),
            lane_hashes: lanes,
        }))
    }

    pub(crate) fn state(&self) -> &State {
        &self.taken.state
    }

    pub(crate) fn progress(&self) -> Result<TrainingProgress, SnapshotError> {
        Ok(serde_json::from_str(&self.progress_json)?)
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("step", &self.step)
            .field("cursor", &self.cursor)
            .finish_non_exhaustive()
    }
}

/// `state` as one safetensors file.
pub(crate) fn serialize_state(state: &State) -> Bytes {
    serialize(state.iter().collect()).into_bytes()
}

/// The state in one safetensors file, which is the `part`th.
pub(crate) fn deserialize(part: usize, bytes: &[u8]) -> Result<State, SnapshotError> {
    let tensors = SafeTensors::deserialize(bytes)
        .map_err(|error| SnapshotError::Format { part, reason: error.to_string() })?;
    let mut state = State::default();
    for (name, view) in tensors.iter() {
        state.insert(name, &view);
    }
    Ok(state)
}

/// A safetensors file of these tensors, as the format's own library writes it, without copying them.
fn serialize(mut tensors: Vec<(&str, &StateTensor)>) -> Content {
    tensors.sort_by(|(name, tensor), (other_name, other)| {
        other.dtype().cmp(&tensor.dtype()).then_with(|| name.cmp(other_name))
    });
    let mut offset = 0;
    let place = |(name, tensor): &(&str, &StateTensor)| {
        let info = tensor.info(offset);
        offset += tensor.len();
        ((*name).to_owned(), info)
    };
    let places = tensors.iter().map(place).collect();
    let header =
        Metadata::new(None, places).expect("invariant: a state's tensors are as long as their shapes say");
    let mut header = serde_json::to_vec(&header).expect("invariant: a header is made of plain values");
    header.resize(header.len().next_multiple_of(HEADER_ALIGNMENT), b' ');
    let length = (header.len() as u64).to_le_bytes();
    let pieces = [Bytes::copy_from_slice(&length), header.into()].into_iter();
    Content::from(pieces.chain(tensors.iter().map(|(_, tensor)| tensor.bytes())).collect::<Vec<_>>())
}
