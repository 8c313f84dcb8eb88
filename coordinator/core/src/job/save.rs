//! How a job's checkpoints come to be: parts of all ranks, then the manifest,
//! then the record, and only then the deletion of older ones.

use phalanx_protocol::{
    id::{Generation, Rank},
    message::CheckpointPart,
    reference::{CheckpointRef, FileRef},
    spec::{CHECKPOINTS_MAX, CheckpointSpec},
};
use phalanx_storage::manifest::CheckpointManifest;

use super::{Job, Phase};
use crate::{
    Effect, WriteFailed,
    checkpoint::{Added, Whole, manifest_path},
    context::Context,
    record::{CheckpointRecord, Goal},
};

impl Job {
    /// A rank's part is durable.
    pub(super) fn part_written(&mut self, cx: &mut Context<'_>, rank: Rank, part: CheckpointPart) {
        self.formed_by_now(cx);
        let newest = self.record.checkpoints.last().map(|newest| newest.checkpoint.step);
        let Some(gang) = self.phase.gang() else { return };
        let world_size = gang.members.len();
        let (step, claimed) = (part.step, part.rank);
        if claimed != rank {
            let why = format!("rank {rank} sent a checkpoint part of rank {claimed}");
            return self.fail(cx, why);
        }
        // A checkpoint at a step that has one already would hold the same bits.
        if newest.is_some_and(|newest| step <= newest) {
            return;
        }
        let Some(saves) = self.phase.saves_mut() else { return };
        match saves.add(world_size, part) {
            Added::Known => {}
            // A restart must not lose it: whoever wrote it has been told that it was heard.
            Added::Noted => self.store(cx),
            Added::Whole(whole) => {
                self.verified(cx, step, &whole.state_hash);
                self.store(cx);
                self.write_manifest(cx, whole);
                self.follow_wishes(cx);
            }
            Added::Differs { hashes } => self.differ(cx, step, &hashes, None),
        }
    }

    pub(super) fn write_manifest(&self, cx: &mut Context<'_>, whole: Whole) {
        let dataset =
            self.record.dataset.as_ref().expect("invariant: a generation trains on a known data set");
        let train = &self.record.spec.train;
        let manifest = CheckpointManifest {
            job: self.record.id.clone(),
            job_hash: self.record.spec.hash(),
            generation: self.record.generation,
            step: whole.step,
            cursor: whole.cursor,
            seed: train.seed,
            lanes: train.lanes,
            dataset: dataset.version.clone(),
            state_hash: whole.state_hash,
            parts: whole.parts,
            progress_json: whole.progress_json,
        };
        cx.turn.effects.push(Effect::WriteCheckpointManifest {
            job: self.record.id.clone(),
            generation: self.record.generation,
            path: manifest_path(&self.record.id, self.record.generation, whole.step),
            manifest: Box::new(manifest),
        });
    }

    /// The manifest for `step` is durable, or could not be written. One of a
    /// generation that is over is not used: nobody waits for it, and the next
    /// generation may rest on what it would replace.
    pub(crate) fn manifest_written(
        &mut self,
        cx: &mut Context<'_>,
        generation: Generation,
        step: u64,
        result: Result<FileRef, WriteFailed>,
    ) {
        if generation != self.record.generation {
            return;
        }
        let Some(whole) = self.phase.saves_mut().and_then(|saves| saves.written(step)) else { return };
        match result {
            Ok(manifest) => {
                self.store_is_back(cx, None);
                self.keep(cx, whole, manifest);
                self.finish_if_saved(cx);
                self.conclude_if_halted(cx);
                self.follow_wishes(cx);
            }
            Err(failed) => {
                let why = format!("the checkpoint at step {step} could not be written: {failed}");
                if let Phase::Stopping { goal: goal @ (Goal::Pause | Goal::Cancel), .. } = self.phase {
                    self.reach(cx, goal, Some(super::bounded(why)));
                } else {
                    self.pause(cx, why);
                }
            }
        }
    }

    /// Records a whole checkpoint (invariant 4), and deletes those that it replaces.
    fn keep(&mut self, cx: &mut Context<'_>, whole: Whole, manifest: FileRef) {
        if self.record.checkpoints.last().is_some_and(|newest| newest.checkpoint.step >= whole.step) {
            // Manifests may become durable in another order than their steps'.
            return;
        }
        let bytes = whole.parts.iter().map(|part| part.bytes).fold(0, u64::saturating_add);
        let checkpoint = CheckpointRef {
            step: whole.step,
            cursor: whole.cursor,
            generation: self.record.generation,
            state_hash: whole.state_hash,
            manifest,
            bytes,
            written_at: cx.now.wall,
        };
        self.say(cx, format!("checkpoint at step {} ({:.1} MB)", whole.step, bytes as f64 / 1e6));
        self.record.progress.farthest_step = self.record.progress.farthest_step.max(whole.step);
        self.record.checkpoints.push(CheckpointRecord { checkpoint, parts: whole.parts });
        let replaced = take_replaced(&mut self.record.checkpoints, &self.record.spec.checkpoint);
        self.store(cx);
        for CheckpointRecord { checkpoint, parts } in replaced {
            cx.turn.effects.push(Effect::DeleteCheckpoint { job: self.record.id.clone(), checkpoint, parts });
        }
    }
}

/// Takes out the checkpoints that are kept no longer: all but the newest `keep` and the first at or
/// after each multiple of `keep_every` steps; of more than [`CHECKPOINTS_MAX`] the oldest, too.
fn take_replaced(checkpoints: &mut Vec<CheckpointRecord>, spec: &CheckpointSpec) -> Vec<CheckpointRecord> {
    let keep = usize::try_from(spec.keep).unwrap_or(usize::MAX).clamp(1, CHECKPOINTS_MAX);
    let older = checkpoints.len().saturating_sub(keep);
    // The newest multiple that has its checkpoint. That one is never taken out, so it is the first of those here.
    let mut passed = 0;
    let mut replaced: Vec<_> = checkpoints
        .extract_if(..older, |kept| {
            let multiple =
                spec.keep_every.and_then(|every| kept.checkpoint.step.checked_div(every)).unwrap_or(0);
            let is_first = multiple > passed;
            passed = passed.max(multiple);
            !is_first
        })
        .collect();
    let excess = checkpoints.len().saturating_sub(CHECKPOINTS_MAX);
    replaced.extend(checkpoints.drain(..excess));
    replaced
}
