//! Checkpoints in the making: the parts of all ranks come together here before
//! their manifest is written. One [`Saves`] lives as long as its generation.

use std::collections::{BTreeMap, BTreeSet};

use phalanx_protocol::{
    id::{Generation, JobId, Rank},
    message::CheckpointPart,
    reference::{FileRef, HashHex},
};

use serde::{Deserialize, Serialize};

use crate::record::CheckpointRecord;

/// The most checkpoints in the making of one generation. If a rank falls this
/// far behind the others, the oldest incomplete one is given up; if the store
/// does, the newest.
pub(crate) const SAVES_MAX: usize = 16;

/// Where the manifest of a checkpoint goes: beside its parts, which ranks write.
pub(crate) fn manifest_path(job: &JobId, generation: Generation, step: u64) -> String {
    format!("{}/g{generation}-s{step}/manifest.json", folder(job))
}

/// Where the checkpoints of a job lie.
fn folder(job: &JobId) -> String {
    format!("checkpoints/{job}")
}

/// What a job's generations have written of checkpoints that never came to be, or
/// that were given up: all files of checkpoints but those of the ones kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftovers {
    folder: String,
    generation: Generation,
    kept: BTreeSet<String>,
}

impl Leftovers {
    /// Those of a job whose last generation, `generation`, is over.
    pub(crate) fn of(job: &JobId, generation: Generation, checkpoints: &[CheckpointRecord]) -> Self {
        let files = checkpoints.iter().flat_map(|kept| kept.parts.iter().chain([&kept.checkpoint.manifest]));
        let kept = files.map(|file| file.path.clone()).collect();
        Self { folder: folder(job), generation, kept }
    }

    /// The folder in which they lie, beside files that are still needed.
    pub fn folder(&self) -> &str {
        &self.folder
    }

    /// Whether the file at `path` is one of them. What a later generation writes is none.
    pub fn contains(&self, path: &str) -> bool {
        let within = path.strip_prefix(&self.folder).and_then(|path| path.strip_prefix("/g"));
        let generation = within.and_then(|path| path.split_once("-s")?.0.parse().ok()).map(Generation::new);
        generation.is_some_and(|generation| generation <= self.generation) && !self.kept.contains(path)
    }
}

/// The checkpoints in the making of one generation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Saves {
    by_step: BTreeMap<u64, Save>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Save {
    /// Some parts are there.
    Collecting(BTreeMap<Rank, CheckpointPart>),
    /// All parts are there, and the manifest is being written.
    Writing(Whole),
}

/// A checkpoint whose parts are all durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Whole {
    pub(crate) step: u64,
    pub(crate) cursor: u64,
    pub(crate) state_hash: HashHex,
    pub(crate) parts: Vec<FileRef>,
    pub(crate) progress_json: String,
}

/// What became of a part.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Added {
    /// It is not wanted, or was there already.
    Known,
    /// Others are missing.
    Noted,
    /// It was the last one: the manifest is to be written now.
    Whole(Whole),
    /// All parts are there, but they are not of one state.
    Differs {
        /// The hash of each rank's state.
        hashes: BTreeMap<Rank, HashHex>,
    },
}

impl Saves {
    /// Takes the part of one of `world_size` ranks.
    pub(crate) fn add(&mut self, world_size: usize, part: CheckpointPart) -> Added {
        let step = part.step;
        if !self.by_step.contains_key(&step) && !self.make_room() {
            return Added::Known;
        }
        let save = self.by_step.entry(step).or_insert_with(|| Save::Collecting(BTreeMap::new()));
        let Save::Collecting(parts) = save else { return Added::Known };
        if parts.contains_key(&part.rank) {
            return Added::Known;
        }
        parts.insert(part.rank, part);
        if parts.len() < world_size {
            return Added::Noted;
        }
        // What else belongs to the state follows from it.
        let states: [fn(&CheckpointPart) -> &str; 2] = [|part| &part.state_hash, |part| &part.progress_json];
        for state in states {
            let hashes: BTreeMap<Rank, HashHex> =
                parts.iter().map(|(rank, part)| (*rank, state(part).to_owned())).collect();
            if hashes.values().collect::<BTreeSet<_>>().len() > 1 {
                return Added::Differs { hashes };
            }
        }
        let parts = std::mem::take(parts);
        let Some(first) = parts.values().next().cloned() else { return Added::Noted };
        let whole = Whole {
            step,
            cursor: first.cursor,
            state_hash: first.state_hash,
            parts: parts.into_values().map(|part| part.file).collect(),
            progress_json: first.progress_json,
        };
        *save = Save::Writing(whole.clone());
        Added::Whole(whole)
    }

    /// The manifest for `step` is written, or was given up.
    pub(crate) fn written(&mut self, step: u64) -> Option<Whole> {
        match self.by_step.remove(&step)? {
            Save::Writing(whole) => {
                // Older ones can no longer become the newest.
                self.by_step.retain(|&other, save| other > step || matches!(save, Save::Writing(_)));
                Some(whole)
            }
            collecting @ Save::Collecting(_) => {
                self.by_step.insert(step, collecting);
                None
            }
        }
    }

    /// The checkpoints whose manifests are being written.
    pub(crate) fn writing(&self) -> impl Iterator<Item = &Whole> {
        self.by_step.values().filter_map(|save| match save {
            Save::Writing(whole) => Some(whole),
            Save::Collecting(_) => None,
        })
    }

    /// Whether a manifest is being written.
    pub(crate) fn is_writing(&self) -> bool {
        self.writing().next().is_some()
    }

    /// Whether the checkpoint at this step is in the making.
    pub(crate) fn is_making(&self, step: u64) -> bool {
        self.by_step.contains_key(&step)
    }

    /// Checkpoints in the making.
    pub(crate) fn len(&self) -> usize {
        self.by_step.len()
    }

    /// Returns whether one more fits in.
    fn make_room(&mut self) -> bool {
        if self.by_step.len() < SAVES_MAX {
            return true;
        }
        let collecting = |save: &Save| matches!(save, Save::Collecting(_));
        let oldest = self.by_step.iter().find(|(_, save)| collecting(save)).map(|(step, _)| *step);
        oldest.is_some_and(|step| self.by_step.remove(&step).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(step: u64, rank: u32, state: &str) -> CheckpointPart {
        let file = FileRef { path: format!("part-{rank}"), bytes: 1, blake3: String::new() };
        CheckpointPart {
            step,
            cursor: step,
            rank: Rank::new(rank),
            state_hash: state.to_owned(),
            file,
            progress_json: String::new(),
        }
    }

    #[test]
    fn a_checkpoint_is_whole_with_the_last_part_and_only_once() {
        let mut saves = Saves::default();
        assert_eq!(saves.add(2, part(5, 1, "x")), Added::Noted);
        assert_eq!(saves.add(2, part(5, 1, "x")), Added::Known);
        assert_eq!(saves.written(5), None);
        let Added::Whole(whole) = saves.add(2, part(5, 0, "x")) else { panic!("both parts are there") };
        assert_eq!(whole.parts.iter().map(|f| f.path.as_str()).collect::<Vec<_>>(), ["part-0", "part-1"]);
        assert_eq!(saves.add(2, part(5, 0, "x")), Added::Known);
        assert!(saves.is_writing());
        assert_eq!(saves.written(5), Some(whole));
        assert!(!saves.is_writing());
    }

    #[test]
    fn parts_of_different_states_make_no_checkpoint() {
        let mut saves = Saves::default();
        saves.add(3, part(5, 0, "x"));
        saves.add(3, part(5, 1, "y"));
        let Added::Differs { hashes } = saves.add(3, part(5, 2, "x")) else { panic!("one differs") };
        let [zero, one, two] = [0, 1, 2].map(|rank| &hashes[&Rank::new(rank)]);
        assert!(zero == two && zero != one, "{hashes:?}");
    }

    #[test]
    fn what_is_left_over_is_of_a_generation_that_is_over_and_not_kept() {
        let job = JobId::new("mnist", 3);
        let kept = BTreeSet::from(["checkpoints/mnist-3/g2-s5/manifest.json".to_owned()]);
        let leftovers = Leftovers { folder: folder(&job), generation: Generation::new(2), kept };
        let check = |path: &str, expected| assert_eq!(leftovers.contains(path), expected, "{path}");
        check("checkpoints/mnist-3/g2-s5/manifest.json", false);
        check("checkpoints/mnist-3/g2-s6/manifest.json", true);
        check("checkpoints/mnist-3/g1-s5/part-0-of-1.safetensors", true);
        check("checkpoints/mnist-3/g3-s5/part-0-of-1.safetensors", false);
        check("checkpoints/mnist-33/g1-s5/part-0-of-1.safetensors", false);
        check("checkpoints/mnist-3/notes.txt", false);
        check("artifacts/mnist-3/g1/model.safetensors", false);
    }

    #[test]
    fn parts_of_a_rank_that_runs_ahead_are_bounded() {
        let mut saves = Saves::default();
        for step in 0..100 {
            saves.add(2, part(step, 0, "x"));
        }
        assert_eq!(saves.len(), SAVES_MAX);
    }
}
