//! The simulated world: its clock, what is going to happen, and how a run ends.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use phalanx_core::{Completion, Coordinator, Input, Leftovers};
use phalanx_protocol::{
    id::{Generation, JobId, WorkerId},
    message::Report,
    view::{JobState, JobView},
};

use crate::{
    collective::Group,
    driver::config,
    faults::Odds,
    process::{Letter, Slot},
    reports::Told,
    states::Wrong,
    stores::Stores,
    support::state_hash,
    work::{Act, Place},
};

/// Faults cease after this.
const FAULTS_END: Duration = Duration::from_secs(12);

/// All jobs must have ended by then.
const TIME_MAX: Duration = Duration::from_secs(600);

/// Something that is going to happen.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A worker asks for directives; if `regular`, then again and again.
    Poll { slot: usize, life: u64, regular: bool },
    /// Control of a worker looks at what it was told.
    Control { slot: usize, life: u64 },
    /// A directive arrives once more, from a coordinator that led before.
    LateLetter { slot: usize, life: u64, letter: Box<Letter> },
    /// A worker sends the next report.
    Send { slot: usize, life: u64 },
    /// A copy of a report arrives.
    Late { worker: WorkerId, report: Box<Report>, told: Told },
    /// Something happens to the work of a worker.
    Work { place: Place, act: Act },
    /// The ranks of a generation do something together.
    Together { job: JobId, generation: Generation },
    /// A worker is told to end, or tries to hand its work over again.
    Depart { slot: usize, life: u64 },
    /// It has waited for that too long.
    Detach { slot: usize, life: u64 },
    /// A process ends itself.
    Die { slot: usize, life: u64 },
    /// A dead worker's connection is seen to be gone.
    Disconnect { worker: WorkerId },
    /// The outcome of an effect is there, if the coordinator that wanted it still is.
    Complete { incarnation: u64, completion: Completion },
    /// Leftovers are deleted, if the coordinator that wanted it still is.
    Sweep { incarnation: u64, leftovers: Box<Leftovers> },
    /// The coordinator starts again.
    Restart,
    /// A fault, or a user does something.
    Trouble,
    /// A worker's process starts again.
    Respawn { slot: usize },
    /// Faults cease.
    Heal,
    /// A user resumes whatever has stopped.
    ResumeAll,
}

/// How often things happened, to see that the simulation meets them.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    pub(crate) done: u64,
    pub(crate) gate_failed: u64,
    pub(crate) crashes: u64,
    pub(crate) lost_workers: u64,
    pub(crate) generations: u64,
    pub(crate) resumed_from_checkpoint: u64,
    pub(crate) paused: u64,
    pub(crate) cancelled: u64,
    pub(crate) differing: u64,
    pub(crate) damaged: u64,
    pub(crate) stale: u64,
    /// Directives that came once more, long after.
    pub(crate) late: u64,
    /// Workers that have learned from an answer that their generation is over.
    pub(crate) superseded: u64,
    /// Ranks that have finished a step which others have not.
    pub(crate) ahead: u64,
    pub(crate) cut_while_forming: u64,
    pub(crate) stuck: u64,
    pub(crate) store_away: u64,
    /// States that were kept by who was away when they were found wrong, or disputed, and given up later.
    pub(crate) given_up: u64,
    /// Workers that took the state from others.
    pub(crate) healed: u64,
    /// Comparisons that have shown an error to the coordinator.
    pub(crate) judged: u64,
    /// Workers that it named for an error.
    pub(crate) named: u64,
    /// Workers that were replaced since they got no more work.
    pub(crate) quarantined: u64,
    /// Workers that left in order.
    pub(crate) left: u64,
    pub(crate) cut_off: u64,
    pub(crate) splits: u64,
    /// Workers that were found to be slow.
    pub(crate) stragglers: u64,
    /// Those whose place another took.
    pub(crate) relieved: u64,
    pub(crate) events: u64,
}

impl Ended {
    pub(crate) fn add(&mut self, other: &Self) {
        self.done += other.done;
        self.gate_failed += other.gate_failed;
        self.crashes += other.crashes;
        self.lost_workers += other.lost_workers;
        self.generations += other.generations;
        self.resumed_from_checkpoint += other.resumed_from_checkpoint;
        self.paused += other.paused;
        self.cancelled += other.cancelled;
        self.differing += other.differing;
        self.damaged += other.damaged;
        self.stale += other.stale;
        self.late += other.late;
        self.superseded += other.superseded;
        self.ahead += other.ahead;
        self.cut_while_forming += other.cut_while_forming;
        self.stuck += other.stuck;
        self.store_away += other.store_away;
        self.given_up += other.given_up;
        self.healed += other.healed;
        self.judged += other.judged;
        self.named += other.named;
        self.quarantined += other.quarantined;
        self.left += other.left;
        self.cut_off += other.cut_off;
        self.splits += other.splits;
        self.stragglers += other.stragglers;
        self.relieved += other.relieved;
        self.events += other.events;
    }

    /// A simulation that never meets what it is for proves nothing.
    pub(crate) fn require_that_everything_happened(&self) {
        let counts = [
            ("done", self.done),
            ("gate_failed", self.gate_failed),
            ("crashes", self.crashes),
            ("lost_workers", self.lost_workers),
            ("resumed_from_checkpoint", self.resumed_from_checkpoint),
            ("paused", self.paused),
            ("cancelled", self.cancelled),
            ("differing", self.differing),
            ("damaged", self.damaged),
            ("stale", self.stale),
            ("late", self.late),
            ("superseded", self.superseded),
            ("given_up", self.given_up),
            ("ahead", self.ahead),
            ("cut_while_forming", self.cut_while_forming),
            ("stuck", self.stuck),
            ("store_away", self.store_away),
            ("healed", self.healed),
            ("judged", self.judged),
            ("named", self.named),
            ("quarantined", self.quarantined),
            ("left", self.left),
            ("cut_off", self.cut_off),
            ("splits", self.splits),
            ("stragglers", self.stragglers),
            ("relieved", self.relieved),
        ];
        for (what, count) in counts {
            assert!(count > 50, "too little of this happened: {what}, {count} times");
        }
    }
}

/// The simulated world.
pub(crate) struct World {
    pub(crate) rng: fastrand::Rng,
    pub(crate) now: Duration,
    pub(crate) queue: BTreeMap<(Duration, u64), Happening>,
    pub(crate) coordinator: Option<Coordinator>,
    pub(crate) incarnation: u64,
    pub(crate) stores: Stores,
    pub(crate) slots: Vec<Slot>,
    pub(crate) groups: BTreeMap<(JobId, Generation), Group>,
    /// Whose state was wrong in comparisons of which the coordinator may hear.
    pub(crate) compared: BTreeMap<(JobId, Generation, u64), Wrong>,
    /// Processes that have ever made an error.
    pub(crate) erred: BTreeSet<u64>,
    /// The process that got each worker's number.
    pub(crate) lives: BTreeMap<WorkerId, u64>,
    /// The number of the last word of each work that has told one.
    pub(crate) last_words: BTreeMap<u64, u64>,
    pub(crate) odds: Odds,
    pub(crate) disk_full_until: Duration,
    pub(crate) store_away_until: Duration,
    /// Slots that do not reach the others, nor these them, and until when.
    pub(crate) split_slots: BTreeSet<usize>,
    pub(crate) split_until: Duration,
    /// Job files differ by their number: another first one for each seed.
    pub(crate) first_job: u64,
    pub(crate) submitted: u64,
    pub(crate) calm: bool,
    pub(crate) ended: Ended,
    pub(crate) log: Vec<String>,
    logging: bool,
    scheduled: u64,
    numbers: u64,
}

impl World {
    pub(crate) fn new(seed: u64, logging: bool) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let odds = Odds::any(&mut rng);
        let workers = rng.usize(1..=5);
        let mut world = Self {
            rng,
            now: Duration::from_secs(1),
            queue: BTreeMap::new(),
            coordinator: Some(Coordinator::new(config())),
            incarnation: 0,
            stores: Stores::default(),
            slots: (0..workers).map(|_| Slot::default()).collect(),
            groups: BTreeMap::new(),
            compared: BTreeMap::new(),
            erred: BTreeSet::new(),
            lives: BTreeMap::new(),
            last_words: BTreeMap::new(),
            odds,
            disk_full_until: Duration::ZERO,
            store_away_until: Duration::ZERO,
            split_slots: BTreeSet::new(),
            split_until: Duration::ZERO,
            first_job: seed % 12,
            submitted: 0,
            calm: false,
            ended: Ended::default(),
            log: Vec::new(),
            logging,
            scheduled: 0,
            numbers: 0,
        };
        for slot in 0..workers {
            world.schedule(0, 500, Happening::Respawn { slot });
        }
        world.schedule(0, 300, Happening::Trouble);
        world.at(FAULTS_END, Happening::Heal);
        world
    }

    /// Runs until all jobs have ended after the faults.
    pub(crate) fn run(&mut self) -> Result<Ended, String> {
        while let Some(next) = self.queue.first_entry().map(|entry| entry.key().0) {
            if self.now > TIME_MAX {
                return Err(format!("no progress: {:#?}", self.jobs()));
            }
            let deadline = self.coordinator.as_ref().and_then(Coordinator::next_deadline);
            if let Some(deadline) = deadline.filter(|deadline| *deadline < next) {
                self.now = self.now.max(deadline);
                self.call(Input::Tick)?;
                continue;
            }
            let Some(((at, _), happening)) = self.queue.pop_first() else { break };
            self.now = self.now.max(at);
            self.ended.events += 1;
            self.happen(happening)?;
            if self.calm && self.all_have_ended() {
                return self.finish();
            }
        }
        Err("nothing is left that could happen".to_owned())
    }

    fn happen(&mut self, happening: Happening) -> Result<(), String> {
        match happening {
            Happening::Poll { slot, life, regular } => self.poll(slot, life, regular),
            Happening::Control { slot, life } => self.control(slot, life),
            Happening::LateLetter { slot, life, letter } => {
                if self.slots[slot].life == life {
                    self.ended.late += 1;
                    self.write_to(slot, *letter);
                }
                Ok(())
            }
            Happening::Send { slot, life } => self.send(slot, life),
            Happening::Late { worker, report, told } => self.late(worker, *report, told),
            Happening::Work { place, act } => self.work(place, act),
            Happening::Together { job, generation } => self.together(&job, generation),
            Happening::Depart { slot, life } => self.depart(slot, life),
            Happening::Detach { slot, life } => {
                if self.slots[slot].life == life {
                    self.detach(slot)
                } else {
                    Ok(())
                }
            }
            Happening::Die { slot, life } => {
                if self.slots[slot].life == life {
                    self.kill(slot);
                    self.schedule(100, 3_000, Happening::Respawn { slot });
                }
                Ok(())
            }
            Happening::Disconnect { worker } => self.call(Input::Disconnected { worker }).map(|_| ()),
            Happening::Complete { incarnation, completion } => {
                if incarnation == self.incarnation {
                    self.note(|| format!("{completion:?}"));
                    self.call(Input::EffectDone(completion))?;
                }
                Ok(())
            }
            Happening::Sweep { incarnation, leftovers } => {
                if incarnation == self.incarnation {
                    self.stores.sweep(&leftovers)?;
                }
                Ok(())
            }
            Happening::Restart => self.restart(),
            Happening::Trouble => self.trouble(),
            Happening::Respawn { slot } => {
                self.respawn(slot);
                Ok(())
            }
            Happening::Heal => self.heal(),
            Happening::ResumeAll => self.resume_all(),
        }
    }

    pub(crate) fn jobs(&self) -> Vec<JobView> {
        self.coordinator.as_ref().map(Coordinator::jobs).unwrap_or_default()
    }

    /// A gate that fails is an end that nothing mends.
    pub(crate) fn has_failed_gate(job: &JobView) -> bool {
        job.state == JobState::Failed && job.reason.as_ref().is_some_and(|reason| reason.contains("gate"))
    }

    fn all_have_ended(&self) -> bool {
        let Some(coordinator) = &self.coordinator else { return false };
        // Views are costly: most jobs that have not ended show it at once.
        coordinator.jobs().iter().all(|job| job.state == JobState::Done || Self::has_failed_gate(job))
    }

    fn finish(&mut self) -> Result<Ended, String> {
        for job in self.jobs() {
            let Some(spec) = self.stores.spec(&job.id) else {
                return Err(format!("{} is not stored", job.id));
            };
            let expected = state_hash(spec, job.total_steps);
            if job.state_hash.as_ref() != Some(&expected) {
                return Err(format!("{} ended in {:?} and not in {expected}", job.id, job.state_hash));
            }
            self.ended.generations += job.generation.get();
            self.count_stragglers(&job);
            if job.state == JobState::Done {
                self.ended.done += 1;
            } else {
                self.ended.gate_failed += 1;
            }
        }
        Ok(std::mem::take(&mut self.ended))
    }

    /// A number that nothing else has.
    pub(crate) fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Lets something happen after a random time between these milliseconds.
    pub(crate) fn schedule(&mut self, least_ms: u64, most_ms: u64, happening: Happening) {
        let delay = Duration::from_micros(self.rng.u64(least_ms * 1_000..=most_ms * 1_000));
        self.at(self.now + delay, happening);
    }

    pub(crate) fn at(&mut self, at: Duration, happening: Happening) {
        self.scheduled += 1;
        self.queue.insert((at, self.scheduled), happening);
    }

    /// Whether something happens that happens this often of a thousand times; no fault does once the faults have ceased.
    pub(crate) fn chance(&mut self, per_mille: u32) -> bool {
        !self.calm && self.rng.u32(0..1_000) < per_mille
    }

    pub(crate) fn note(&mut self, text: impl FnOnce() -> String) {
        if self.logging {
            self.log.push(format!("{:>10.3} {}", self.now.as_secs_f64(), text()));
        }
    }
}
