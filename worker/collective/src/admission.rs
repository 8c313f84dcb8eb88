//! Which connection belongs to which generation: a pure state machine, generic over
//! the connection. The listener owns it and does what it says; sockets, threads and
//! clocks are not known here.
//!
//! Invariants:
//!
//! 1. Generations of a job are opened in growing order only.
//! 2. A connection of a generation that is not open is parked if the generation is
//!    newer than any opened one of its job, refused otherwise.
//! 3. At most [`PARKED_MAX`] connections are kept; the oldest goes first. At most
//!    [`JOBS_MAX`] jobs are remembered; the one opened longest ago is forgotten first.

use std::collections::VecDeque;

use crate::wire::Hello;

/// The most connections that wait for their generation or for being taken.
pub(crate) const PARKED_MAX: usize = 256;

/// The most jobs whose newest generation is remembered.
pub(crate) const JOBS_MAX: usize = 256;

/// The state.
#[derive(Debug)]
pub(crate) struct Admission<C> {
    /// By job, in the order of the last opening.
    jobs: VecDeque<Job>,
    parked: VecDeque<(Hello, C)>,
}

#[derive(Debug)]
struct Job {
    name: String,
    newest: u64,
    open: bool,
}

/// What became of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrival<C> {
    /// Its generation is open: it can be taken.
    Ready,
    /// Its generation is yet to be opened.
    Parked,
    /// Its generation is over: the newest is given.
    Refused(C, u64),
}

impl<C> Admission<C> {
    /// Nothing opened, nothing parked.
    pub(crate) fn new() -> Self {
        Self { jobs: VecDeque::new(), parked: VecDeque::new() }
    }

    /// Opens a generation. Returns the parked connections of older ones, which are to
    /// be refused, or as an error the newest generation, if this one is not newer.
    pub(crate) fn open(&mut self, job: &str, generation: u64) -> Result<Vec<(Hello, C)>, u64> {
        let known = self.jobs.iter().position(|known| known.name == job);
        if let Some(known) = known {
            if self.jobs[known].newest >= generation {
                return Err(self.jobs[known].newest);
            }
            self.jobs.remove(known);
        }
        if self.jobs.len() == JOBS_MAX {
            self.jobs.pop_front();
        }
        self.jobs.push_back(Job { name: job.to_owned(), newest: generation, open: true });
        Ok(self.extract(|hello| hello.job == job && hello.generation < generation))
    }

    /// Closes a generation to further connections, and returns those not taken.
    pub(crate) fn close(&mut self, job: &str, generation: u64) -> Vec<(Hello, C)> {
        let of_it = self.jobs.iter_mut().find(|known| known.name == job && known.newest == generation);
        if let Some(known) = of_it {
            known.open = false;
        }
        self.take(job, generation)
    }

    /// A connection has said hello.
    pub(crate) fn arrive(&mut self, hello: Hello, connection: C) -> Arrival<C> {
        let known = self.jobs.iter().find(|known| known.name == hello.job);
        let arrival = match known {
            Some(job) if hello.generation == job.newest && job.open => Arrival::Ready,
            Some(job) if hello.generation <= job.newest => {
                return Arrival::Refused(connection, job.newest);
            }
            _ => Arrival::Parked,
        };
        if self.parked.len() == PARKED_MAX {
            self.parked.pop_front();
        }
        self.parked.push_back((hello, connection));
        arrival
    }

    /// The connections of a generation that have arrived since the last call.
    pub(crate) fn take(&mut self, job: &str, generation: u64) -> Vec<(Hello, C)> {
        self.extract(|hello| hello.job == job && hello.generation == generation)
    }

    fn extract(&mut self, wanted: impl Fn(&Hello) -> bool) -> Vec<(Hello, C)> {
        let (taken, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.parked).into_iter().partition(|(hello, _)| wanted(hello));
        self.parked = kept.into();
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Purpose;

    fn hello(job: &str, generation: u64, from: u32) -> Hello {
        Hello { purpose: Purpose::Join, job: job.into(), generation, from, to: 0, world_size: 4, lanes: 4 }
    }

    fn ids(connections: Vec<(Hello, u32)>) -> Vec<u32> {
        connections.into_iter().map(|(_, id)| id).collect()
    }

    #[test]
    fn a_connection_of_a_newer_generation_waits_until_it_is_opened() {
        let mut admission = Admission::new();
        assert_eq!(admission.open("a", 1).map(ids), Ok(vec![]));
        assert_eq!(admission.arrive(hello("a", 2, 1), 21), Arrival::Parked);
        assert_eq!(admission.arrive(hello("a", 1, 1), 11), Arrival::Ready);
        assert_eq!(ids(admission.take("a", 1)), [11]);
        assert_eq!(admission.open("a", 2).map(ids), Ok(vec![]));
        assert_eq!(ids(admission.take("a", 2)), [21]);
    }

    #[test]
    fn a_connection_of_an_older_or_closed_generation_is_refused() {
        let mut admission = Admission::new();
        assert_eq!(admission.arrive(hello("a", 3, 1), 31), Arrival::Parked);
        assert_eq!(admission.open("a", 4).map(ids), Ok(vec![31]), "it waited for nothing");
        assert_eq!(admission.arrive(hello("a", 3, 1), 32), Arrival::Refused(32, 4));
        assert_eq!(ids(admission.close("a", 4)), []);
        assert_eq!(admission.arrive(hello("a", 4, 1), 41), Arrival::Refused(41, 4));
    }

    #[test]
    fn generations_of_a_job_are_opened_in_growing_order_only() {
        let mut admission = Admission::<u32>::new();
        assert_eq!(admission.open("a", 5).map(ids), Ok(vec![]));
        assert_eq!(admission.open("a", 5).map(ids), Err(5));
        assert_eq!(admission.open("a", 4).map(ids), Err(5));
        assert_eq!(admission.open("b", 1).map(ids), Ok(vec![]), "each job counts for itself");
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_oldest_goes_first() {
        let mut admission = Admission::new();
        for id in 0..PARKED_MAX as u32 + 2 {
            assert_eq!(admission.arrive(hello("a", 1, 0), id), Arrival::Parked);
        }
        let kept = ids(admission.take("a", 1));
        assert_eq!((kept.len(), kept[0]), (PARKED_MAX, 2));
        for number in 0..=JOBS_MAX {
            assert!(admission.open(&number.to_string(), 1).is_ok());
        }
        assert_eq!(admission.jobs.len(), JOBS_MAX);
        assert!(admission.open("0", 1).is_ok(), "the first job is forgotten");
    }
}
