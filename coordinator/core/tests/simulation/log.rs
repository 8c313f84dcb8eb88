//! What happens, in words for the event log.

use phalanx_protocol::message::Directive;

/// A directive without its job file.
pub(crate) fn short(directive: &Directive) -> String {
    match directive {
        Directive::Prepare { job, generation, .. } => format!("to prepare {job}, generation {generation}"),
        Directive::Train(a) => {
            let step = a.resume.as_ref().map_or(0, |resume| resume.step);
            format!("to train {}, generation {}, rank {} from step {step}", a.job, a.generation, a.rank)
        }
        Directive::Fetch { job, generation, .. } => format!("to fetch {job}, generation {generation}"),
        Directive::Stop { job, generation, save } => {
            format!("to stop {job}, generation {generation}, save: {save}")
        }
        Directive::Release { job, generation, keep } => {
            format!("that {job}, generation {generation} is over, keep: {keep}")
        }
        Directive::Leave => "to leave".to_owned(),
    }
}
