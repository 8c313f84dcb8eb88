//! How reports of simulated workers reach the coordinator: one after the other and each until it is
//! heard, some twice, and some copies long after what was said since.

use phalanx_core::{Input, Rejected};
use phalanx_member::{Answered, Outgoing};
use phalanx_protocol::{
    id::WorkerId,
    message::{Event, Report},
    rpc,
};

use crate::{
    process::Letter,
    states::compared_at,
    world::{Happening, World},
};

/// Who tells a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    /// The number of the work.
    pub(crate) work: u64,
    /// It is a newcomer's, and so belongs to the next generation, whichever that is.
    pub(crate) fetches: bool,
}

impl World {
    /// The coordinator hears of what this process has to tell, one report after the other.
    pub(crate) fn send(&mut self, slot: usize, life: u64) -> Result<(), String> {
        let again = || Happening::Send { slot, life };
        if self.slots[slot].life != life {
            return Ok(());
        }
        if let Some(until) = self.unheard(slot) {
            self.at(until, again());
            return Ok(());
        }
        let at = &mut self.slots[slot];
        let Some(outgoing) = at.reports.send() else {
            at.sends = false;
            return Ok(());
        };
        let Some(worker) = at.id else {
            self.schedule(100, 500, again());
            return Ok(());
        };
        if self.chance(self.odds.twice) {
            // A call that was given up may arrive late, and so after what was said since.
            let (report, told) = (Box::new(outgoing.report.clone()), outgoing.with);
            self.schedule(1, 2_000, Happening::Late { worker, report, told });
        }
        self.check_last_word(&outgoing)?;
        let Some(answer) = self.report(worker, outgoing.report.clone(), outgoing.with)? else {
            self.schedule(50, 500, again());
            return Ok(());
        };
        let is_unknown = matches!(answer, Err(rpc::Rejected::UnknownWorker(_)));
        let (least_ms, most_ms) = self.answered(slot, outgoing, answer)?;
        if is_unknown && self.slots[slot].id == Some(worker) {
            // The next poll finds that out, too.
            self.schedule(1, 50, Happening::Poll { slot, life, regular: false });
        }
        self.schedule(least_ms, most_ms, again());
        Ok(())
    }

    /// What an answer to a report means. Gives between which times the next one is sent.
    fn answered(
        &mut self,
        slot: usize,
        outgoing: Outgoing<Told>,
        answer: Result<(), rpc::Rejected>,
    ) -> Result<(u64, u64), String> {
        let Report { job, generation, .. } = outgoing.report;
        Ok(match self.slots[slot].reports.answered(outgoing.number, answer) {
            Answered::Heard => (1, 60),
            Answered::Refused(why) => return Err(format!("slot {slot} tells what cannot be true: {why}")),
            Answered::Superseded => {
                self.ended.stale += 1;
                self.write_to(slot, Letter::Superseded { job, generation });
                (1, 60)
            }
            Answered::AttachFirst => (100, 1_000),
            Answered::Later(why) => return Err(format!("a report was put off: {why}")),
        })
    }

    /// The coordinator gets a report. `None` where it does not answer.
    fn report(
        &mut self,
        worker: WorkerId,
        report: Report,
        told: Told,
    ) -> Result<Option<Result<(), rpc::Rejected>>, String> {
        let durable = self.stores.generation(&report.job);
        let (job, generation) = (report.job.clone(), report.generation);
        let compared = compared_at(&report.event).map(|step| (step, self.last_message(&job)));
        self.note(|| format!("worker {worker} reports {report:?}"));
        match self.call(Input::Report { worker, report: Box::new(report) })? {
            None => Ok(None),
            Some(Ok(_)) if generation < durable && !told.fetches => {
                Err(format!("invariant 3: generation {generation} of {job} was heard in {durable}"))
            }
            Some(Ok(_)) => {
                if let Some((step, last)) = compared {
                    self.hear_judgement((&job, generation), step, last)?;
                }
                Ok(Some(Ok(())))
            }
            Some(Err(Rejected::Call(rejected))) => Ok(Some(Err(rejected))),
            Some(Err(other)) => Err(format!("a report was answered with {other}")),
        }
    }

    /// A report arrives that nobody waits for any more.
    pub(crate) fn late(&mut self, worker: WorkerId, report: Report, told: Told) -> Result<(), String> {
        self.report(worker, report, told).map(|_| ())
    }

    /// After its last word, a work tells nothing new.
    fn check_last_word(&mut self, outgoing: &Outgoing<Told>) -> Result<(), String> {
        let Outgoing { number, report, with: Told { work, .. } } = outgoing;
        if self.last_words.get(work).is_some_and(|last| number > last) {
            return Err(format!("invariant 12: {report:?} comes after the last word of its work"));
        }
        if matches!(report.event, Event::Stopped { .. } | Event::Finished(_) | Event::Failed(_)) {
            self.last_words.insert(*work, *number);
        }
        Ok(())
    }
}
