//! How all ranks of a generation come to hold the same state before its first step: those who
//! have kept it from an earlier generation hand it to the others. Each holder sends another
//! share, all of them at once, and whoever takes the shares checks the hash of the whole.
//! A checkpoint is read only where nobody holds a state that is as new.
//!
//! Every rank comes to the same decisions, because all know of all.

use phalanx_collective::Group;
use phalanx_member::{Beginning, Position, all_agree, begin_with};
use phalanx_protocol::{
    message::{Assignment, StateSource},
    reference::HashHex,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    error::{SnapshotError, TrainError},
    learner::Learner,
    progress::TrainingProgress,
    session::Host,
    snapshot::{self, Description, Snapshot},
    state::LaneHashes,
};

/// Bytes that each holder sends in one round.
const ROUND_BYTES: usize = 16 << 20;

/// A model and its optimizer between two steps, kept when a generation ends.
pub struct Held {
    pub(crate) learner: Box<dyn Learner>,
    pub(crate) progress: TrainingProgress,
    pub(crate) position: Position,
}

impl Held {
    /// Steps finished.
    pub fn step(&self) -> u64 {
        self.position.step
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("position", &self.position).finish_non_exhaustive()
    }
}

/// What a holder says of its state before it sends its share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    state_hash: HashHex,
    progress_json: String,
    /// Length of its share.
    bytes: u64,
}

/// The state with which all ranks begin.
pub(crate) struct Start {
    pub(crate) position: Position,
    pub(crate) progress: TrainingProgress,
    pub(crate) from: StateSource,
    /// What was read from the checkpoint.
    pub(crate) restored: Option<Snapshot>,
}

/// Lets all ranks begin with the newest state. `held` is how far the state in `learner` is that
/// this rank has kept. Collective.
pub(crate) fn hand_over(
    group: &mut Group,
    learner: &mut dyn Learner,
    held: Option<(Position, TrainingProgress)>,
    assignment: &Assignment,
    host: &mut dyn Host,
) -> Result<Start, TrainError> {
    let saved = assignment.resume.as_ref().map(|resume| resume.step);
    let positions: Vec<Option<Position>> = everyones(group, &held.as_ref().map(|held| held.0))?;
    let (newest, holders) = match begin_with(&positions, saved) {
        Beginning::Members { position, holders } => (position, holders),
        Beginning::Checkpoint { step } => return restore(learner, step, host),
        Beginning::Seed => return share_initial_state(learner, group),
    };
    let cursor = newest.step * u64::from(assignment.spec.train.batch_size);
    let healed = positions.len() - holders.len();
    let from = StateSource::Members { healed: healed as u32 };
    let mine = holders.iter().position(|holder| *holder == assignment.rank);
    let progress = held.map(|held| held.1).filter(|_| mine.is_some());
    if healed == 0 {
        let progress = progress.expect("invariant: a holder has progress");
        return Ok(Start { position: newest, progress, from, restored: None });
    }
    let share = mine.zip(progress.as_ref()).map(|(nth, progress)| {
        let snapshot = Snapshot::new(newest.step, cursor, progress, LaneHashes::new(), learner.state());
        let bytes = snapshot.part(nth as u32, holders.len() as u32).into_bytes();
        let (state_hash, progress_json) =
            (snapshot.state_hash().to_owned(), snapshot.progress_json().to_owned());
        (Header { state_hash, progress_json, bytes: bytes.len() as u64 }, bytes)
    });
    let headers: Vec<Option<Header>> = everyones(group, &share.as_ref().map(|share| &share.0))?;
    let header = agreed(&headers, newest.step)?;
    let bytes = share.as_ref().map_or(&[][..], |share| &share.1);
    let parts = gather(group, bytes, &headers, mine.is_none())?;
    let progress = match progress {
        Some(progress) => progress,
        None => {
            let description = Description {
                step: newest.step,
                cursor,
                state_hash: header.state_hash,
                progress_json: header.progress_json,
            };
            take_over(learner, Snapshot::assemble(description, &parts))?
        }
    };
    Ok(Start { position: newest, progress, from, restored: None })
}

/// Begins with what other ranks have handed over.
fn take_over(
    learner: &mut dyn Learner,
    assembled: Result<Snapshot, SnapshotError>,
) -> Result<TrainingProgress, TrainError> {
    let load = |taken: Snapshot| {
        learner.load(taken.state())?;
        taken.progress()
    };
    assembled.and_then(load).map_err(TrainError::HandedOver)
}

/// Begins with the checkpoint.
fn restore(learner: &mut dyn Learner, step: u64, host: &mut dyn Host) -> Result<Start, TrainError> {
    let restored = host.restore().map_err(TrainError::Restore)?;
    learner.load(restored.state())?;
    let position = Position { step, validated: true };
    let progress = restored.progress()?;
    Ok(Start { position, progress, from: StateSource::Checkpoint, restored: Some(restored) })
}

/// Begins with what the seed makes: rank 0 has initialised the parameters, and all others take
/// them from it.
fn share_initial_state(learner: &mut dyn Learner, group: &mut Group) -> Result<Start, TrainError> {
    let leads = group.rank() == 0;
    let mut file = if leads { snapshot::serialize_state(&learner.state()()).to_vec() } else { Vec::new() };
    group.broadcast(0, &mut file)?;
    if !leads {
        let loaded = snapshot::deserialize(0, &file).and_then(|state| learner.load(&state));
        loaded.map_err(TrainError::HandedOver)?;
    }
    let position = Position { step: 0, validated: true };
    let progress = TrainingProgress::default();
    Ok(Start { position, progress, from: StateSource::Seed, restored: None })
}

/// What every rank says, by rank. Collective.
pub(crate) fn everyones<T: Serialize, U: DeserializeOwned>(
    group: &mut Group,
    mine: &T,
) -> Result<Vec<U>, TrainError> {
    let mine = serde_json::to_vec(mine).expect("invariant: plain values are JSON");
    let read = |(rank, word): (usize, &Vec<u8>)| {
        serde_json::from_slice(word).map_err(|_| TrainError::Message { rank })
    };
    group.all_gather(&mine)?.iter().enumerate().map(read).collect()
}

/// What all holders say. What belongs to a state beside its tensors must be the same, too.
fn agreed(headers: &[Option<Header>], step: u64) -> Result<Header, TrainError> {
    let words: [fn(&Header) -> &str; 2] = [|header| &header.state_hash, |header| &header.progress_json];
    for word in words {
        let hashes: Vec<Option<HashHex>> =
            headers.iter().map(|header| header.as_ref().map(|header| word(header).to_owned())).collect();
        if !all_agree(&hashes) {
            return Err(TrainError::Differs { step, hashes });
        }
    }
    Ok(headers.iter().flatten().next().expect("invariant: somebody holds the state").clone())
}

/// The shares of all holders, where they are `wanted`; all ranks send and take part.
fn gather(
    group: &mut Group,
    mine: &[u8],
    headers: &[Option<Header>],
    wanted: bool,
) -> Result<Vec<Vec<u8>>, TrainError> {
    let longest = headers.iter().flatten().map(|header| header.bytes).max().unwrap_or(0);
    let mut shares = vec![Vec::new(); headers.len()];
    for begin in (0..longest).step_by(ROUND_BYTES) {
        let begin = begin as usize;
        let end = (begin + ROUND_BYTES).min(mine.len());
        let pieces = group.all_gather(mine.get(begin..end).unwrap_or_default())?;
        if wanted {
            shares.iter_mut().zip(pieces).for_each(|(share, piece)| share.extend(piece));
        }
    }
    shares.retain(|share| !share.is_empty());
    Ok(shares)
}
