//! What is remembered of worker processes, whatever number they attach under: how often
//! their state was wrong and which they may still hold, and that they are about to leave. Survives restarts, ends of leases
//! and new attachments. Owns the table, and knows nothing of who is attached.

use phalanx_protocol::id::{Generation, JobId};

use crate::record::{Distrusted, Process, Remembered};

/// The most processes of which something is remembered. Of more, one that is only about to leave
/// is forgotten, or else the one that was noted first.
pub(crate) const PROCESSES_MAX: usize = 1_000;

/// A process whose state was wrong so often gets no more work.
pub(crate) const ERRORS_MAX: u32 = 2;

/// What is remembered, in the order in which it was first noted.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    all: Vec<Remembered>,
}

impl Processes {
    /// Those that a record holds.
    pub(crate) fn restored(mut all: Vec<Remembered>) -> Self {
        all.truncate(PROCESSES_MAX);
        Self { all }
    }

    /// What its record holds.
    pub(crate) fn stored(&self) -> Vec<Remembered> {
        self.all.clone()
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// How often the state of a process was wrong.
    pub(crate) fn errors(&self, process: &Process) -> u32 {
        self.find(process).map_or(0, |known| known.errors)
    }

    /// Whether a process is about to leave.
    pub(crate) fn is_draining(&self, process: &Process) -> bool {
        self.find(process).is_some_and(|known| known.draining)
    }

    /// Counts that the state of a process was wrong. Returns how often that is known by now.
    pub(crate) fn has_erred(&mut self, process: &Process) -> u32 {
        let known = self.noted(process);
        known.errors = known.errors.saturating_add(1);
        known.errors
    }

    /// The last generation in which a process has kept a state of `job` that is not to be trusted.
    pub(crate) fn distrusted(&self, process: &Process, job: &JobId) -> Option<Generation> {
        let distrusted = self.find(process)?.distrusted.as_ref();
        distrusted.filter(|distrusted| distrusted.job == *job).map(|distrusted| distrusted.generation)
    }

    /// Notes that the state is not to be trusted which a process keeps. It keeps one at a time.
    pub(crate) fn distrust(&mut self, process: &Process, distrusted: Distrusted) {
        self.noted(process).distrusted = Some(distrusted);
    }

    /// Notes that a process is about to leave.
    pub(crate) fn drains(&mut self, process: &Process) {
        self.noted(process).draining = true;
    }

    /// A process has left in order. Returns whether that changes anything.
    pub(crate) fn has_left(&mut self, process: &Process) -> bool {
        let Some(at) = self.all.iter().position(|known| known.process == *process) else { return false };
        let has_drained = std::mem::take(&mut self.all[at].draining);
        self.all[at].distrusted = None;
        if self.all[at].errors == 0 {
            self.all.remove(at);
        }
        has_drained
    }

    fn find(&self, process: &Process) -> Option<&Remembered> {
        self.all.iter().find(|known| known.process == *process)
    }

    fn noted(&mut self, process: &Process) -> &mut Remembered {
        let at = self.all.iter().position(|known| known.process == *process).unwrap_or_else(|| {
            if self.all.len() >= PROCESSES_MAX {
                self.all.remove(self.all.iter().position(|known| known.errors == 0).unwrap_or(0));
            }
            let process = process.clone();
            self.all.push(Remembered { process, errors: 0, draining: false, distrusted: None });
            self.all.len() - 1
        });
        &mut self.all[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32) -> Process {
        Process { host: "host".to_owned(), pid, data_addr: ([127, 0, 0, 1], 9_000).into() }
    }

    #[test]
    fn the_table_is_bounded_and_errors_are_remembered_longest() {
        let mut processes = Processes::default();
        processes.has_erred(&process(0));
        for pid in 1..=PROCESSES_MAX as u32 {
            processes.drains(&process(pid));
        }
        assert_eq!(processes.len(), PROCESSES_MAX);
        assert_eq!(processes.errors(&process(0)), 1);
        assert!(!processes.is_draining(&process(1)), "it was noted first of those that only drain");
        assert!(processes.is_draining(&process(2)));
    }

    #[test]
    fn of_a_process_that_has_left_only_its_errors_are_remembered() {
        let mut processes = Processes::default();
        processes.drains(&process(1));
        processes.drains(&process(2));
        assert_eq!(processes.has_erred(&process(2)), 1);
        assert!(processes.has_left(&process(1)) && processes.has_left(&process(2)));
        assert!(!processes.has_left(&process(2)));
        let left = Remembered { process: process(2), errors: 1, draining: false, distrusted: None };
        assert_eq!(processes.stored(), [left]);
    }
}
