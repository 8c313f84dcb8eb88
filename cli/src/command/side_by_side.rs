//! Several jobs that belong together, side by side as far as there are workers: they are submitted at once, and
//! awaited or cancelled together. None of them registers a model.

use phalanx_protocol::{
    id::JOB_NAME_CHARS_MAX,
    spec::{Bound, JobSpec},
    view::JobView,
};

use phalanx_report::Report;

use super::registered::{open, read_report};
use crate::{
    client::{Client, ClientError},
    connect::{Connection, Where},
    error::CliError,
    show::DIM,
    signal::StopSignals,
};

/// A coordinator that takes jobs.
///
/// # Errors
///
/// If none runs.
pub(super) async fn connect(at: &Where) -> Result<Connection, CliError> {
    at.living().await?.ok_or_else(|| {
        CliError::usage("no coordinator is running here that could take the jobs").hint(
            "`phalanx coordinator` and `phalanx worker` make a cluster; --coordinator URL names one elsewhere",
        )
    })
}

/// `spec` as one of several jobs: under a name of its own, and without a model. Versions are compared on the test split
/// that they share, which such jobs do not.
pub(super) fn one_of_several(spec: &JobSpec, suffix: &str) -> JobSpec {
    let mut spec = spec.clone();
    spec.name.truncate(JOB_NAME_CHARS_MAX - suffix.len());
    spec.name.push_str(suffix);
    spec.register = None;
    spec.evaluate.gates.retain(|gate| match gate.bound {
        Bound::Number(_) => true,
        Bound::Version { .. } => false,
    });
    spec
}

/// Trains all of them and gives them as they ended, in their order; `None` if a signal came before. What is not over by
/// then, or when one fails, is cancelled.
///
/// # Errors
///
/// If a job has not measured its test split. One whose gates fail has.
pub(super) async fn train(
    connection: &Connection,
    specs: Vec<JobSpec>,
) -> Result<Option<Vec<JobView>>, CliError> {
    let client = connection.client();
    let mut signals = StopSignals::listen()?;
    let mut ids = Vec::new();
    for spec in specs {
        match client.submit(spec).await {
            Ok(job) => ids.push(job.id.as_str().to_owned()),
            Err(error) => {
                cancel(client, &ids).await;
                return Err(error.into());
            }
        }
    }
    let ended = tokio::select! {
        ended = all(client, &ids) => Some(ended),
        () = signals.next() => None,
    };
    if !matches!(ended, Some(Ok(_))) {
        cancel(client, &ids).await;
    }
    if ended.is_none() {
        anstream::eprintln!("the jobs are cancelled");
    }
    ended.transpose()
}

/// Waits until all jobs have measured their test splits.
async fn all(client: &Client, ids: &[String]) -> Result<Vec<JobView>, CliError> {
    let mut jobs = Vec::new();
    for id in ids {
        let mut follow = client.follow(id);
        let job = loop {
            let job = follow.next().await?;
            if job.state.is_over() {
                break job;
            }
        };
        if job.artifact.is_none() {
            let why = job.reason.unwrap_or_else(|| "for a reason that is not known".to_owned());
            let message = format!("{id} is {}, and the others are cancelled: {why}", job.state.as_str());
            return Err(CliError::failed(message));
        }
        anstream::eprintln!("{DIM}{} of {}{DIM:#} {id}", jobs.len() + 1, ids.len());
        jobs.push(job);
    }
    Ok(jobs)
}

/// Cancels what is not over yet.
async fn cancel(client: &Client, ids: &[String]) {
    for id in ids {
        match client.cancel(id).await {
            Ok(_) | Err(ClientError::Refused { .. }) => {}
            Err(error) => anstream::eprintln!("{id} could not be cancelled: {error}"),
        }
    }
}

/// A report about all of them: what they have in common, without figures.
pub(super) async fn report_of_several(
    client: &Client,
    spec: &JobSpec,
    jobs: &[JobView],
) -> Result<Report, CliError> {
    let file = jobs.iter().find_map(|job| job.artifact.as_ref()?.report.as_ref());
    let of_one = read_report(&open(client).await?, file, &spec.name).await?;
    let mut identity = of_one.identity;
    identity.model.clone_from(&spec.name);
    (identity.alias, identity.artifact) = (None, None);
    (identity.parameters, identity.state_hash) = (None, None);
    (identity.job_file, identity.job_hash) = (spec.to_toml(), Some(spec.hash()));
    Ok(Report { environment: of_one.environment, ..Report::new(identity) })
}
