//! What the members of a generation report, and what becomes of it. Reports may
//! come twice: each handler does nothing the second time.

use std::collections::BTreeMap;

use phalanx_protocol::{
    id::{Generation, Rank, WorkerId},
    message::{Event, Failure, Metrics, Progress, StateSource},
    reference::HashHex,
    rpc,
};

use super::{Job, Newcomer, Phase, bounded};
use crate::{
    context::Context,
    record::{Goal, Halt, JobRecord, ProgressRecord},
    worker,
};

impl Job {
    /// Takes a report of a member of generation `generation`.
    pub(crate) fn report(
        &mut self,
        cx: &mut Context<'_>,
        worker: WorkerId,
        generation: Generation,
        event: Event,
    ) -> Result<(), rpc::Rejected> {
        let is_told = |newcomer: &Newcomer| newcomer.told_in == generation;
        let is_newcomer = self.newcomers.get(&worker).is_some_and(is_told);
        let rank = if is_newcomer { None } else { Some(self.rank_in(worker, generation)?) };
        let JobRecord { id, progress: ProgressRecord { total_steps, .. }, .. } = &self.record;
        if let Some(step) = event.step().filter(|step| step > total_steps) {
            let what = format!("worker {worker} tells of step {step} of {id}, which has {total_steps}");
            return Err(rpc::Rejected::Impossible(what));
        }
        let Some(rank) = rank else {
            self.newcomer_reports(cx, worker, event);
            return Ok(());
        };
        match event {
            Event::Preparing { what, done_bytes, total_bytes } => {
                self.preparing(cx, &what, done_bytes, total_bytes);
            }
            Event::Prepared { dataset, found, summary } if rank.is_leader() => {
                self.prepared(cx, dataset, found, &summary);
            }
            Event::Prepared { .. } => {}
            Event::Fetched => {}
            Event::Formed { step, from } => self.rank_formed(cx, rank, step, from),
            Event::Progress(progress) => self.progressed(cx, rank, progress),
            Event::Validated { step, metrics } => self.validated(cx, rank, step, metrics),
            Event::Verified { step, state_hash } if rank.is_leader() => {
                self.verified(cx, step, &state_hash);
                self.follow_wishes(cx);
            }
            Event::Verified { .. } => {}
            Event::CheckpointPart(part) => {
                // Whoever has written it is answered.
                self.store_is_back(cx, Some(worker));
                self.part_written(cx, rank, *part);
            }
            Event::StoreAway { lasting, why } => self.store_is_away(cx, Some(worker), lasting, why),
            Event::StoreBack => self.store_is_back(cx, Some(worker)),
            Event::Stopped { step } => self.stopped(cx, rank, step),
            Event::Evaluating => self.evaluating(cx, rank),
            Event::Finished(finished) => self.finished(cx, rank, *finished),
            Event::Failed(failure) => self.rank_failed(cx, worker, failure),
        }
        Ok(())
    }

    /// The rank of a worker that still belongs to the job's generation (invariant 3).
    fn rank_in(&self, worker: WorkerId, generation: Generation) -> Result<Rank, rpc::Rejected> {
        let current = self.record.generation;
        let member = self.phase.gang().and_then(|gang| gang.rank_of(worker));
        member
            .filter(|_| generation == current)
            .ok_or(rpc::Rejected::StaleGeneration { got: generation, current })
    }

    fn preparing(&mut self, cx: &mut Context<'_>, now: &str, done_bytes: u64, total_bytes: u64) {
        let limit = cx.after(cx.config.timeouts.step);
        if let Phase::Preparing { what, deadline, .. } = &mut self.phase {
            let mega = |bytes: u64| bytes as f64 / 1e6;
            let text = format!("{now} ({:.1} of {:.1} MB)", mega(done_bytes), mega(total_bytes));
            (*what, *deadline) = (Some(bounded(text)), limit);
            cx.turn.changed.insert(self.record.id.clone());
        }
    }

    fn newcomer_reports(&mut self, cx: &mut Context<'_>, newcomer: WorkerId, event: Event) {
        match event {
            Event::Fetched => self.fetched(cx, newcomer),
            Event::Failed(failure) => self.not_fetched(cx, newcomer, &bounded(failure.reason())),
            // The generation goes on without it meanwhile.
            Event::StoreAway { .. } | Event::StoreBack => {}
            // Of an earlier generation.
            Event::Preparing { .. }
            | Event::Prepared { .. }
            | Event::Formed { .. }
            | Event::Progress(_)
            | Event::Validated { .. }
            | Event::Verified { .. }
            | Event::CheckpointPart(_)
            | Event::Stopped { .. }
            | Event::Evaluating
            | Event::Finished(_) => {}
        }
    }

    fn rank_formed(&mut self, cx: &mut Context<'_>, rank: Rank, step: u64, from: StateSource) {
        let Phase::Forming { gang, formed, .. } = &mut self.phase else { return };
        let is_first_word = formed.insert(rank);
        let all = formed.len() == gang.members.len();
        if rank.is_leader() && is_first_word {
            self.begins_at(cx, step, from);
        }
        if all {
            self.formed(cx);
        }
    }

    /// A step takes all ranks: who reports one has heard from all others, even
    /// if their own word is still on its way.
    pub(super) fn formed_by_now(&mut self, cx: &mut Context<'_>) {
        if matches!(self.phase, Phase::Forming { .. }) {
            self.formed(cx);
        }
    }

    /// Whether the ranks train, evaluate, or are about to stop doing so.
    pub(super) fn has_begun(&self) -> bool {
        self.phase.saves().is_some()
    }

    fn progressed(&mut self, cx: &mut Context<'_>, rank: Rank, report: Progress) {
        self.formed_by_now(cx);
        if !rank.is_leader() || !self.has_begun() || report.step < self.record.progress.step {
            return;
        }
        let progress = &mut self.record.progress;
        progress.step = report.step;
        progress.farthest_step = progress.farthest_step.max(report.step);
        progress.epoch = report.epoch;
        progress.cursor = report.cursor;
        progress.loss = Some(report.loss).filter(|loss| loss.is_finite());
        progress.learning_rate = Some(report.learning_rate).filter(|rate| rate.is_finite());
        progress.samples_per_second = Some(report.samples_per_second).filter(|rate| rate.is_finite());
        for (step, loss) in report.curve {
            self.record.curve.train.push(step, loss);
        }
        cx.turn.changed.insert(self.record.id.clone());
    }

    fn validated(&mut self, cx: &mut Context<'_>, rank: Rank, step: u64, metrics: Metrics) {
        self.formed_by_now(cx);
        if !rank.is_leader() || !self.has_begun() {
            return;
        }
        let last = self.record.progress.validated_step.replace(step);
        if last.is_some_and(|last| step <= last) {
            self.record.progress.validated_step = last;
            return;
        }
        let metrics = finite(metrics);
        let loss = ["loss", "log_loss", "mse"].into_iter().find_map(|name| metrics.get(name));
        if let Some(loss) = loss {
            self.record.curve.validation.push(step, *loss);
        }
        // Those of single classes are too many to be read.
        let shown = metrics.iter().filter(|(name, _)| !name.ends_with(']'));
        let shown = super::listed(shown.map(|(name, value)| format!("{name} {value:.4}")));
        self.tell(cx, format!("validation at step {step}: {shown}"), true);
        self.record.validation = metrics;
        self.store(cx);
    }

    fn evaluating(&mut self, cx: &mut Context<'_>, rank: Rank) {
        self.formed_by_now(cx);
        if let Phase::Training { gang, saves } = &self.phase
            && rank.is_leader()
        {
            self.phase = Phase::Evaluating { gang: gang.clone(), saves: saves.clone() };
            self.say(cx, "training is over; measuring the test split");
            if self.record.outage.is_some() {
                self.say(cx, format!("the object store still does not answer: {}", self.what_waits()));
            }
            self.store(cx);
        }
    }

    fn rank_failed(&mut self, cx: &mut Context<'_>, worker: WorkerId, failure: Failure) {
        let who = cx.fleet.get(worker).map_or(worker.to_string(), |w| worker::describe(worker, &w.hello));
        if let Phase::Stopping { goal: goal @ (Goal::Pause | Goal::Cancel), .. } = self.phase {
            return self.failed_while_stopping(cx, worker, goal, failure);
        }
        match failure {
            Failure::Job { reason } => self.fail(cx, reason),
            Failure::Storage { reason } => self.pause(cx, reason),
            Failure::Peer { reason, step } => {
                let farthest = &mut self.record.progress.farthest_step;
                *farthest = step.max(*farthest);
                if matches!(self.phase, Phase::Regrouping { .. }) {
                    return self.member_home(cx, worker);
                }
                let why = format!("worker {who} cannot go on: {}", bounded(reason));
                self.break_up(cx, why, Some(worker));
            }
            Failure::Differs { .. } if matches!(self.phase, Phase::Regrouping { .. }) => {
                self.member_home(cx, worker);
            }
            Failure::Differs { step, hashes } => {
                self.differ(cx, step, &by_rank(hashes), Some(worker));
            }
            Failure::CheckpointDamaged { manifest, reason } => {
                let count = self.record.checkpoints.len();
                self.record.checkpoints.retain(|kept| kept.checkpoint.manifest.path != manifest);
                if self.record.checkpoints.len() == count {
                    let why =
                        format!("worker {who} found {} damaged, which is no checkpoint", bounded(manifest));
                    return self.break_up(cx, why, Some(worker));
                }
                // No count of fruitless generations: each checkpoint is dropped once.
                self.say(cx, format!("checkpoint {manifest} is damaged and no longer used: {reason}"));
                self.regroup(cx, Some(worker));
            }
        }
    }

    fn failed_while_stopping(
        &mut self,
        cx: &mut Context<'_>,
        worker: WorkerId,
        goal: Goal,
        failure: Failure,
    ) {
        match failure {
            Failure::Job { reason } => self.fail(cx, reason),
            Failure::Storage { reason } => {
                self.reach(cx, goal, Some(bounded(format!("its state could not be saved: {reason}"))));
            }
            Failure::Differs { step, hashes } => {
                self.differ(cx, step, &by_rank(hashes), Some(worker));
            }
            Failure::Peer { .. } | Failure::CheckpointDamaged { .. } => {
                if let Phase::Stopping { gang, halted, .. } = &mut self.phase
                    && let Some(rank) = gang.rank_of(worker)
                {
                    halted.entry(rank).or_insert(Halt::Gone);
                }
                self.store(cx);
                self.conclude_if_halted(cx);
            }
        }
    }
}

/// The hashes of those ranks that have one.
fn by_rank(hashes: Vec<Option<HashHex>>) -> BTreeMap<Rank, HashHex> {
    (0..).zip(hashes).filter_map(|(rank, hash)| Some((Rank::new(rank), bounded(hash?)))).collect()
}

/// The metrics that are finite numbers: JSON holds no others.
pub(super) fn finite(metrics: Metrics) -> Metrics {
    metrics.into_iter().filter(|(_, value)| value.is_finite()).collect()
}
