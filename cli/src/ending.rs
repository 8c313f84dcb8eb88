//! The end of a job: what is told of it, and the exit code that it means.

use phalanx_protocol::view::{JobState, JobView};

use crate::{
    client::Client,
    error::{CliError, Exit},
    show::{self, Place, STRONG},
};

/// Tells how a job that is over ended.
///
/// # Errors
///
/// If it did not end well: the error says how.
pub(crate) async fn tell(
    client: &Client,
    job: &JobView,
    json: bool,
    interrupted: bool,
    resume: &str,
) -> Result<Exit, CliError> {
    if json {
        show::print_json(job)?;
    } else if job.started_at.is_some() && matches!(job.state, JobState::Done | JobState::Failed) {
        show::print(&report(client, &JobView { reason: None, ..job.clone() }).await?)?;
    }
    verdict(job, interrupted, resume)
}

/// The report of a job, with what else must be asked for it.
pub(crate) async fn report(client: &Client, job: &JobView) -> Result<String, CliError> {
    let curve = client.curve(job.id.as_str()).await?;
    let place = Place::new(&client.cluster().await?.store_url);
    Ok(show::report(job, &curve, &place, show::columns()))
}

/// What a job's end means to whoever waited for it.
fn verdict(job: &JobView, interrupted: bool, resume: &str) -> Result<Exit, CliError> {
    let id = &job.id;
    let reason = job.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    match job.state {
        JobState::Done => Ok(Exit::Done),
        // It never trained: its data or its model were refused, as a wrong job file is.
        JobState::Failed if job.started_at.is_none() => {
            Err(CliError::usage(format!("{id} cannot begin{reason}")))
        }
        JobState::Failed => Err(CliError::failed(format!("{id} failed{reason}"))),
        JobState::Paused | JobState::Cancelled if interrupted => {
            anstream::eprintln!("{id} is saved at step {} and stopped", show::count(job.step));
            anstream::eprintln!("to go on: {STRONG}{resume}{STRONG:#}");
            Ok(Exit::Interrupted)
        }
        JobState::Paused => {
            Err(CliError::failed(format!("{id} is paused{reason}")).hint(format!("`{resume}` goes on")))
        }
        JobState::Cancelled => {
            Err(CliError::failed(format!("{id} was cancelled{reason}")).hint(format!("`{resume}` goes on")))
        }
        state @ (JobState::Queued
        | JobState::Preparing
        | JobState::Forming
        | JobState::Training
        | JobState::Evaluating
        | JobState::Registering
        | JobState::Stopping) => Err(CliError::failed(format!("{id} is still {}", state.as_str()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::fixture;

    fn check(job: &JobView, interrupted: bool, expected: Exit) {
        let exit = verdict(job, interrupted, "phalanx resume mnist-3").unwrap_or_else(|error| error.exit());
        assert_eq!(exit, expected);
    }

    #[test]
    fn the_exit_code_tells_a_failed_job_from_bad_input_and_an_interruption() {
        let over = |state| JobView { state, ..fixture::training() };
        check(&fixture::done(), false, Exit::Done);
        check(&fixture::done(), true, Exit::Done);
        check(&over(JobState::Failed), false, Exit::Failed);
        check(&JobView { started_at: None, ..over(JobState::Failed) }, false, Exit::Usage);
        check(&over(JobState::Paused), true, Exit::Interrupted);
        check(&over(JobState::Paused), false, Exit::Failed);
        check(&over(JobState::Cancelled), false, Exit::Failed);
    }
}
