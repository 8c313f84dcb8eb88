//! The coordinator's state machine: jobs, generations, leases, scheduling and
//! the registry.
//!
//! [`Coordinator::handle`] takes one [`Input`] and queues [`Effect`]s; a driver
//! does them and brings the outcome of those that have one back as an input.
//! The modules, in reading order: what comes in and what goes out (`input`,
//! `effect`, `record`), the entry (`coordinator`), a job's life (`job`), the
//! workers (`processes`, `worker`), who gets which of them (`schedule`, `relief`, `placement`) and how many are wanted (`demand`), the
//! registry, what of the object store is garbage, and the invariants.
//!
//! Architecture invariant: no clocks, sockets, files, threads or randomness.
//! The time comes in with each input.
//!
//! # A job's life
//!
//! | in | when | then |
//! | --- | --- | --- |
//! | – | submit | Queued |
//! | Queued | enough idle workers (`schedule`) | next generation stored; `Prepare` to rank 0; Preparing; or Forming, if the data set is known |
//! | Preparing | rank 0 `Prepared` | `Train` to all ranks, with the newest checkpoint; Forming |
//! | Preparing | a rank other than 0 is lost or about to leave | goes on without it; Regrouping, if too few are left |
//! | Preparing | rank 0 tells nothing for a step's time | Regrouping, where another rank takes its place |
//! | Forming | all ranks `Formed`, or one reports a step | Training |
//! | Forming | step time is over | as a rank lost |
//! | Training | idle workers, and room for them | `Fetch` to those; when all have `Fetched`, or their step time is over, `Stop` to all ranks; Stopping |
//! | Training | a rank is a straggler that is to be evicted, and a worker is idle | as for an idle worker; the straggler is not taken along |
//! | Training | a rank is about to leave, or there are more than the job takes | `Stop` to all ranks; Stopping |
//! | Evaluating | a rank is about to leave | Regrouping; if too few would stay, once the state is saved |
//! | Training, Evaluating | a rank is found to have erred twice | as one that is about to leave |
//! | Training, Evaluating | `CheckpointPart` of all ranks | manifest written, then recorded, then older ones deleted |
//! | Training | rank 0 `Evaluating` | Evaluating |
//! | Training, Evaluating, Stopping | rank 0 `Finished`, the checkpoint of its step in the making | what came out kept in the record; goes on below once it is whole |
//! | Training, Evaluating, Stopping | rank 0 `Finished`, gates hold, `[register]` | version reserved; manifest written; Registering |
//! | Training, Evaluating, Stopping | rank 0 `Finished`, gates hold, no `[register]` | Done |
//! | Training, Evaluating, Stopping | rank 0 `Finished`, a gate fails | Failed |
//! | Registering | manifest durable | version and alias recorded; Done |
//! | Registering | manifest not written | Paused; a resume goes back to Registering |
//! | Preparing to Evaluating | a rank lost, `Failed(Peer)`, or ranks differ | `Release` to those who have not told that; Regrouping, or Failed if that happens too often without progress |
//! | Preparing to Evaluating | `Failed(CheckpointDamaged)` | that checkpoint dropped; `Release`; Regrouping |
//! | Regrouping | all members are home or cut off, or a heartbeat is over | next generation stored; `Train` to all ranks; Forming; Queued, if too few are home |
//! | Preparing to Regrouping | `Failed(Storage)`, or a checkpoint's manifest not written | `Release` to all; Paused |
//! | Preparing to Regrouping | `Failed(Job)` | `Release` to all; Failed |
//! | Queued, Preparing, Forming | cancel, interrupt | Cancelled, Paused; once it trains, if members hold what was not saved |
//! | Training, Evaluating | cancel, interrupt | `Stop` to all ranks; Stopping |
//! | Stopping | all ranks stopped or gone and their checkpoint recorded, or it cannot be, or step time is over | `Release` to all; Cancelled, Paused |
//! | Stopping to regroup | all ranks stopped or gone | Regrouping |
//! | Paused | cancel | Cancelled |
//! | Paused, Cancelled, Failed | resume | Queued |
//! | Preparing to Regrouping | the coordinator restarts | goes on, with the same members |
//! | Registering | the coordinator restarts | Registering, or Done if the version is recorded |
//!
//! # Invariants
//!
//! [`Coordinator::check_invariants`] checks what can be seen from inside, the
//! simulation (`tests/simulation/`) all of them after every event. The last four are kept by
//! workers together with this crate: it runs their decisions, which are `phalanx-member`'s.
//!
//! 1. A job's generation only grows, and is durable before anyone hears of it.
//! 2. A worker is a member of one generation at most, and both sides know it.
//! 3. Nothing that belongs to a generation that is over changes anything. (A worker that joins
//!    belongs to the next one, whichever it is.)
//! 4. A checkpoint that is listed has a durable manifest. Steps of checkpoints
//!    ascend. One is deleted only after a newer one is recorded.
//! 5. Model versions never change; a number is never given out twice; an alias
//!    names a version that is there.
//! 6. What leads to Done is durable in this order: the model's manifest, the
//!    version, the alias, the job.
//! 7. A job that is not over has a next event: idle workers that do not suffice,
//!    a lease, a deadline, or a write that the driver answers for. Whatever the
//!    scheduler would change was changed.
//! 8. Directives, messages, curves, checkpoints in the making, evicted workers, changes of
//!    aliases and processes that are remembered are bounded.
//! 9. Nobody goes on from a state that is known to be wrong or is disputed, and
//!    nobody is named who has computed rightly.
//! 10. All ranks of a generation begin with the same state, are equally far after each step, and
//!     decide alike what they do before the next one.
//! 11. A generation begins no earlier than any of its members has come, unless that state is wrong or
//!     disputed, was damaged by a failure, or its worker was told to give it up.
//! 12. A worker works for one generation at a time, and tells nothing more of it after its last word.
//! 13. A worker keeps nothing that it was told to give up.

mod effect;
mod input;
pub mod record;

mod config;
mod context;
mod coordinator;
mod restore;

mod checkpoint;
mod curve;
mod job;

mod processes;
mod worker;

mod claims;
mod demand;
mod placement;
mod relief;
mod schedule;

mod registry;

mod garbage;
mod invariants;

pub use checkpoint::Leftovers;
pub use config::Config;
pub use coordinator::Coordinator;
pub use curve::{LossCurve, Points};
pub use demand::{Attached, Demand};
pub use effect::Effect;
pub use garbage::{Named, Verdict};
pub use input::{Completion, Input, Now, Rejected, Reply, WriteFailed};
pub use invariants::BrokenInvariant;
pub use record::Record;
pub use restore::RestoreError;
