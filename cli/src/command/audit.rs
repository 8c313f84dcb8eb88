//! `phalanx audit`: whether a job has trained on every sample exactly once. Reads the ledger's
//! files from the object store itself, so that the coordinator has no work with them.

use clap::Args;
use phalanx_protocol::{
    id::JobId,
    ledger::{self, Audit as Check, Expected, Verdict},
    view::{JobState, JobView},
};
use phalanx_storage::{Listed, Store};
use serde::Serialize;

use crate::{
    client::Client,
    connect::Where,
    error::{CliError, Exit},
    show,
};

/// Check that a job has trained on every sample exactly once
///
/// A job with `train.ledger = true` records in the object store which samples each lane took in each
/// step, as they were read. This goes through all of it: every step must be recorded, its lanes must have taken one
/// whole batch, and the steps together each sample of an epoch once, up to its last whole batch; a step that was
/// computed again must have taken the same samples. A job that is not done is checked up to its newest checkpoint.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  phalanx run examples/mnist.toml --set train.ledger=true
  phalanx audit mnist-1
  phalanx audit mnist-1 --json | jq .violations

Exit codes:
  0    every sample is in exactly one step
  1    some are in none or in several, or the ledger cannot be read
  2    there is no such job, or it keeps no ledger")]
pub(crate) struct Audit {
    /// The job
    id: String,

    /// Print the verdict as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    at: Where,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct AuditView<'a> {
    job: &'a JobId,
    right: bool,
    /// Files of the ledger.
    files: usize,
    #[serde(flatten)]
    verdict: &'a Verdict,
}

impl Audit {
    /// Audits.
    pub(crate) async fn run(self) -> Result<Exit, CliError> {
        let connection = self.at.connect().await?;
        let audited = audit(connection.client(), &self.id).await;
        connection.close().await;
        let (job, files, verdict) = audited?;
        let right = verdict.is_right();
        if self.json {
            show::print_json(&AuditView { job: &job.id, right, files, verdict: &verdict })?;
        } else {
            show::print(&show::audit(&job, &verdict))?;
        }
        Ok(if right { Exit::Done } else { Exit::Failed })
    }
}

/// The job, its ledger's files, and what they show.
async fn audit(client: &Client, id: &str) -> Result<(JobView, usize, Verdict), CliError> {
    // The store is looked at after the job: what the job counts as done is recorded there by then.
    let job = client.job(id).await?;
    let mut check = Check::new(expected(&job)?);
    let store = Store::open(&client.cluster().await?.store_url).map_err(CliError::failed)?;
    let files = store.list_prefix(&ledger::folder(&job.id)).await.map_err(CliError::failed)?;
    let progress = show::AuditProgress::begin(files.len());
    for Listed { path, .. } in &files {
        let content = store.read_path(path, ledger::FILE_BYTES_MAX).await.map_err(CliError::failed)?;
        let text = std::str::from_utf8(&content).map_err(|e| unreadable(path, &e))?;
        let entries = ledger::from_text(text).map_err(|e| unreadable(path, &e))?;
        entries.into_iter().for_each(|entry| check.take(entry));
        progress.read_one();
    }
    progress.end();
    Ok((job, files.len(), check.finish()))
}

/// What the job's ledger must show.
fn expected(job: &JobView) -> Result<Expected, CliError> {
    let id = &job.id;
    if !job.ledger {
        return Err(CliError::usage(format!("{id} keeps no ledger: nobody recorded what it trained on"))
            .hint("`ledger = true` in the [train] table of its file lets the next run keep one"));
    }
    let saved = job.checkpoints.last().map_or(0, |newest| newest.step);
    let steps = if job.state == JobState::Done { job.step } else { saved };
    match &job.dataset {
        Some(dataset) if steps > 0 => Ok(Expected {
            lanes: job.lanes,
            batch_size: job.batch_size,
            train_rows: dataset.train_rows,
            steps,
        }),
        _ => {
            Err(CliError::failed(format!("{id} has no checkpoint yet, and so nothing that could be audited"))
                .hint(format!("`phalanx job {id}` tells how far it is")))
        }
    }
}

fn unreadable(path: &str, error: &dyn std::fmt::Display) -> CliError {
    CliError::failed(format!("{path} of the object store is damaged: {error}"))
        .hint("a ledger is never written twice: restore the file from a copy of the store, if there is one")
}

#[cfg(test)]
mod tests {
    use phalanx_protocol::reference::{CheckpointRef, DatasetRef, FileRef};

    use super::*;
    use crate::show::fixture;

    fn file() -> FileRef {
        FileRef { path: "p".to_owned(), bytes: 1, blake3: String::new() }
    }

    fn job() -> JobView {
        let dataset = DatasetRef {
            version: "v".to_owned(),
            manifest: file(),
            train_rows: 640,
            validation_rows: 0,
            test_rows: 0,
        };
        JobView { ledger: true, dataset: Some(dataset), ..fixture::training() }
    }

    #[test]
    fn a_job_is_audited_as_far_as_it_cannot_fall_back() {
        let saved = CheckpointRef {
            step: 200,
            cursor: 0,
            generation: Default::default(),
            state_hash: String::new(),
            manifest: file(),
            bytes: 0,
            written_at: Default::default(),
        };
        let saved = JobView { checkpoints: vec![saved], ..job() };
        assert_eq!(expected(&saved).unwrap().steps, 200);
        let done = JobView { state: JobState::Done, step: 600, ..saved };
        assert_eq!(expected(&done).unwrap().steps, 600);
    }

    #[test]
    fn what_cannot_be_audited_is_refused_with_the_reason() {
        let none = expected(&JobView { ledger: false, ..job() }).unwrap_err();
        assert!(none.to_string().contains("keeps no ledger"), "{none}");
        let early = expected(&job()).unwrap_err();
        assert!(early.to_string().contains("no checkpoint yet"), "{early}");
    }
}
