//! The phases of a job's life, each with the data that exists only in it. Owns
//! what a job forgets at a restart.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use phalanx_protocol::{
    id::{JobId, Rank, WorkerId},
    view::{JobState, ModelVersion},
};

use crate::{
    checkpoint::Saves,
    record::{Goal, Halt, Member, Stage, Standing},
    worker::Fleet,
};

/// Where a job is in its life. The transition table stands in the crate's documentation.
#[derive(Debug, Clone)]
pub(crate) enum Phase {
    /// It waits for workers.
    Queued {
        muster: Muster,
        /// Why it waits, in words.
        why: String,
    },
    /// Rank 0 finds or writes the data set; the others are kept ready and know nothing yet.
    Preparing {
        gang: Gang,
        /// What rank 0 does now, for people.
        what: Option<String>,
        /// Until then it must tell more.
        deadline: Duration,
    },
    /// The ranks connect and load the state.
    Forming { gang: Gang, formed: BTreeSet<Rank>, deadline: Duration },
    /// The ranks train.
    Training { gang: Gang, saves: Saves },
    /// The ranks measure the test split.
    Evaluating { gang: Gang, saves: Saves },
    /// The ranks stop, and save their state first if that is wanted.
    Stopping {
        gang: Gang,
        saves: Saves,
        goal: Goal,
        save: bool,
        halted: BTreeMap<Rank, Halt>,
        deadline: Duration,
    },
    /// The generation is over. Its members are `home` as soon as they show that they know; those
    /// form the next one with the state that they hold.
    Regrouping { gang: Gang, home: BTreeSet<WorkerId>, deadline: Duration },
    /// The model's manifest is being written.
    Registering { version: Box<ModelVersion> },
    /// Somebody must mend something and resume it.
    Paused {
        reason: String,
        /// The version whose manifest could not be written: it goes on from there.
        unregistered: Option<Box<ModelVersion>>,
    },
    /// It was given up.
    Cancelled { reason: Option<String> },
    /// It is done.
    Done,
    /// It failed.
    Failed { reason: String },
}

/// Why a job waits for workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Muster {
    /// It was submitted or resumed: its data set is looked for first.
    Start,
    /// Too few of its last generation are left.
    GoOn,
}

/// The members of a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gang {
    /// The index is the rank.
    pub(crate) members: Vec<WorkerId>,
    /// The farthest step of the job when this generation began.
    pub(crate) farthest_step: u64,
}

impl Gang {
    pub(crate) fn rank_of(&self, worker: WorkerId) -> Option<Rank> {
        let index = self.members.iter().position(|member| *member == worker)?;
        Some(Rank::new(u32::try_from(index).expect("invariant: a gang has at most LANES_MAX members")))
    }

    pub(crate) fn leader(&self) -> Option<WorkerId> {
        self.members.first().copied()
    }

    pub(crate) fn world_size(&self) -> u32 {
        u32::try_from(self.members.len()).expect("invariant: a gang has at most LANES_MAX members")
    }
}

impl Phase {
    /// The state that users see.
    pub(crate) fn state(&self) -> JobState {
        match self {
            Self::Queued { .. } => JobState::Queued,
            Self::Preparing { .. } => JobState::Preparing,
            // Others join or leave: for people it goes on.
            Self::Forming { .. } | Self::Regrouping { .. } | Self::Stopping { goal: Goal::Regroup, .. } => {
                JobState::Forming
            }
            Self::Training { .. } => JobState::Training,
            Self::Evaluating { .. } => JobState::Evaluating,
            Self::Stopping { .. } => JobState::Stopping,
            Self::Registering { .. } => JobState::Registering,
            Self::Paused { .. } => JobState::Paused,
            Self::Cancelled { .. } => JobState::Cancelled,
            Self::Done => JobState::Done,
            Self::Failed { .. } => JobState::Failed,
        }
    }

    /// Why the job is there.
    pub(crate) fn reason(&self) -> Option<&str> {
        match self {
            Self::Queued { why, .. } => Some(why),
            Self::Preparing { what, .. } => what.as_deref(),
            Self::Paused { reason, .. } | Self::Failed { reason } => Some(reason),
            Self::Cancelled { reason } => reason.as_deref(),
            Self::Stopping { goal: Goal::Pause, .. } => Some("interrupted"),
            Self::Stopping { goal: Goal::Cancel, .. } => Some("cancelled"),
            Self::Stopping { goal: Goal::Regroup, .. } => Some("others join or leave"),
            Self::Regrouping { .. } => Some("waits for its workers"),
            Self::Forming { .. }
            | Self::Training { .. }
            | Self::Evaluating { .. }
            | Self::Registering { .. }
            | Self::Done => None,
        }
    }

    /// The members of its generation, while there is one.
    pub(crate) fn gang(&self) -> Option<&Gang> {
        match self {
            Self::Preparing { gang, .. }
            | Self::Forming { gang, .. }
            | Self::Training { gang, .. }
            | Self::Evaluating { gang, .. }
            | Self::Stopping { gang, .. }
            | Self::Regrouping { gang, .. } => Some(gang),
            Self::Queued { .. }
            | Self::Registering { .. }
            | Self::Paused { .. }
            | Self::Cancelled { .. }
            | Self::Done
            | Self::Failed { .. } => None,
        }
    }

    /// Whether a member was lost or failed while the job was stopping.
    pub(crate) fn is_gone(&self, worker: WorkerId) -> bool {
        let rank = self.gang().and_then(|gang| gang.rank_of(worker));
        match self {
            Self::Stopping { halted, .. } => rank.is_some_and(|rank| halted.get(&rank) == Some(&Halt::Gone)),
            // Whoever is lost is waited for no longer.
            Self::Regrouping { .. } => true,
            Self::Queued { .. }
            | Self::Preparing { .. }
            | Self::Forming { .. }
            | Self::Training { .. }
            | Self::Evaluating { .. }
            | Self::Registering { .. }
            | Self::Paused { .. }
            | Self::Cancelled { .. }
            | Self::Done
            | Self::Failed { .. } => false,
        }
    }

    /// The checkpoints in the making of its generation.
    pub(crate) fn saves(&self) -> Option<&Saves> {
        match self {
            Self::Training { saves, .. } | Self::Evaluating { saves, .. } | Self::Stopping { saves, .. } => {
                Some(saves)
            }
            Self::Queued { .. }
            | Self::Preparing { .. }
            | Self::Forming { .. }
            | Self::Regrouping { .. }
            | Self::Registering { .. }
            | Self::Paused { .. }
            | Self::Cancelled { .. }
            | Self::Done
            | Self::Failed { .. } => None,
        }
    }

    /// The checkpoints in the making of its generation, to be changed.
    pub(crate) fn saves_mut(&mut self) -> Option<&mut Saves> {
        match self {
            Self::Training { saves, .. } | Self::Evaluating { saves, .. } | Self::Stopping { saves, .. } => {
                Some(saves)
            }
            Self::Queued { .. }
            | Self::Preparing { .. }
            | Self::Forming { .. }
            | Self::Regrouping { .. }
            | Self::Registering { .. }
            | Self::Paused { .. }
            | Self::Cancelled { .. }
            | Self::Done
            | Self::Failed { .. } => None,
        }
    }

    /// When something must have happened.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        match self {
            Self::Preparing { deadline, .. }
            | Self::Forming { deadline, .. }
            | Self::Stopping { deadline, .. }
            | Self::Regrouping { deadline, .. } => Some(*deadline),
            // A worker that trains or evaluates has a lease, and watches its own trainer;
            // the driver answers for a manifest that is being written.
            Self::Queued { .. }
            | Self::Training { .. }
            | Self::Evaluating { .. }
            | Self::Registering { .. }
            | Self::Paused { .. }
            | Self::Cancelled { .. }
            | Self::Done
            | Self::Failed { .. } => None,
        }
    }

    /// What becomes of the job if the coordinator stops now.
    pub(crate) fn standing(&self, job: &JobId, fleet: &Fleet) -> Standing {
        let running = |gang: &Gang, stage| {
            let member = |worker: &WorkerId| Member {
                worker: *worker,
                attached: fleet.get(*worker).map(|worker| worker.known(job)),
            };
            Standing::Running { members: gang.members.iter().map(member).collect(), stage }
        };
        match self {
            Self::Queued { muster: Muster::Start, .. } => Standing::Waiting,
            Self::Queued { muster: Muster::GoOn, .. } => Standing::Broken,
            Self::Preparing { gang, .. } => running(gang, Stage::Preparing),
            Self::Forming { gang, .. } => running(gang, Stage::Forming),
            Self::Training { gang, saves } => running(gang, Stage::Training { saves: saves.clone() }),
            Self::Evaluating { gang, saves } => running(gang, Stage::Evaluating { saves: saves.clone() }),
            Self::Stopping { gang, saves, goal, save, halted, .. } => {
                let (goal, save) = (*goal, *save);
                running(gang, Stage::Stopping { goal, save, saves: saves.clone(), halted: halted.clone() })
            }
            Self::Regrouping { gang, .. } => running(gang, Stage::Regrouping),
            Self::Registering { version } => Standing::Registering(version.clone()),
            Self::Paused { reason, unregistered } => {
                Standing::Paused { reason: reason.clone(), unregistered: unregistered.clone() }
            }
            Self::Cancelled { reason } => Standing::Cancelled { reason: reason.clone() },
            Self::Done => Standing::Done,
            Self::Failed { reason } => Standing::Failed { reason: reason.clone() },
        }
    }
}
