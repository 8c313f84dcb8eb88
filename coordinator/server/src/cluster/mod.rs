//! Coordinators in numbers, over etcd: one leads, the others stand by.
//!
//! In reading order: where etcd is and how one gets in (`place`), calls on it that
//! survive the loss of an endpoint (`etcd`), the leader's seat (`election`)
//! and the hold on it (`tenure`), and the state store (`store`).
//!
//! # Keys
//!
//! All below one prefix, which is the cluster's own.
//!
//! | key | value |
//! | --- | --- |
//! | `format` | the number of the format |
//! | `leader` | where the leader is reached (JSON); held by the leader's lease |
//! | `head` | the revision of the state, who made it, and whether it lies in `staged` still (JSON) |
//! | `record/KEY#PIECE` | a record's value, in pieces of a quarter of a mebibyte, numbered from `0000` |
//! | `staged/TOKEN-REVISION/KEY#PIECE` | the same of a commit that is too large for one transaction |
//!
//! # Why no two leaders both commit
//!
//! 1. `leader` is created only where it is absent, with a lease. Its *create revision*
//!    is the leader's fencing token: etcd gives out each once, and ever greater ones.
//! 2. Every transaction that writes compares the create revision of `leader` with the
//!    writer's token, in etcd. So from the moment at which another leader is elected,
//!    or the seat is only empty, nothing of the former one is applied, whenever it was sent.
//! 3. A new leader reads the state after its election. What it reads is all that its
//!    predecessors will ever have written, by 2.
//! 4. Every write also compares the whole of `head`, and a commit replaces it. So it is applied
//!    once, though it may be sent again after an answer was lost: who finds the head that it
//!    wanted to write, with its own token, knows that it has written it; and what was sent
//!    twice and comes late finds another head.
//! 5. Clocks are not needed for any of this. They are for those who only read and listen:
//!    a leader stops answering when its lease could have ended. It counts the lease from
//!    before it asked for it, and nine tenths of it, in case the clocks of the two run
//!    apart; etcd counts from later on. Between the last look at the clock and the wire
//!    an answer may still be late: then it tells what was true and durable, and what follows
//!    from it is refused by 2, and by generations where workers are concerned.

mod election;
mod etcd;
mod place;
mod store;
mod tenure;

#[cfg(test)]
pub(crate) mod tests;

pub(crate) use election::{Candidate, Elected};
pub(crate) use place::Place;
