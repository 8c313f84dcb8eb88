//! Lists of jobs, workers and models, one line each.

use phalanx_protocol::view::{JobState, JobView, ModelView, WorkerView};

use super::{
    number::{count, figure, moment},
    style::{BAD, DIM, GOOD, STRONG, styled},
    table::{Column, indented, table},
};

/// All jobs, the newest last.
pub(crate) fn jobs(jobs: &[JobView]) -> String {
    if jobs.is_empty() {
        return "no jobs\n".to_owned();
    }
    let mut table = table(&[
        Column::Text("job"),
        Column::Text("state"),
        Column::Figure("step"),
        Column::Figure("of"),
        Column::Figure("loss"),
        Column::Figure("workers"),
        Column::Text("model"),
        Column::Text("submitted"),
    ]);
    for job in jobs {
        let model = job.model.as_ref().map(|model| format!("{}@{}", model.name, model.version));
        table.add_row([
            job.id.to_string(),
            job.state.as_str().to_owned(),
            count(job.step),
            if job.total_steps == 0 { String::new() } else { count(job.total_steps) },
            job.loss.map(figure).unwrap_or_default(),
            job.world_size.to_string(),
            model.unwrap_or_default(),
            moment(job.submitted_at),
        ]);
    }
    indented(&table)
}

/// All workers.
pub(crate) fn workers(workers: &[WorkerView]) -> String {
    if workers.is_empty() {
        return "no workers\n".to_owned();
    }
    let mut table = table(&[
        Column::Figure("worker"),
        Column::Text("host"),
        Column::Figure("pid"),
        Column::Text("address"),
        Column::Text("processor"),
        Column::Text("job"),
        Column::Figure("rank"),
        Column::Text("attached"),
        Column::Text(""),
    ]);
    for worker in workers {
        table.add_row([
            worker.id.to_string(),
            worker.host.clone(),
            worker.pid.to_string(),
            worker.data_addr.to_string(),
            worker.kind.clone(),
            worker.job.as_ref().map(ToString::to_string).unwrap_or_default(),
            worker.rank.map(|rank| rank.to_string()).unwrap_or_default(),
            moment(worker.attached_at),
            standing(worker).to_owned(),
        ]);
    }
    indented(&table)
}

/// What is special about a worker.
fn standing(worker: &WorkerView) -> &'static str {
    match worker {
        WorkerView { quarantined: true, .. } => "quarantined: it has computed wrongly",
        WorkerView { draining: true, .. } => "leaving",
        _ => "",
    }
}

/// All models with their newest version.
pub(crate) fn models(models: &[ModelView]) -> String {
    if models.is_empty() {
        return "no models\n".to_owned();
    }
    let mut table = table(&[
        Column::Text("model"),
        Column::Figure("versions"),
        Column::Text("aliases"),
        Column::Text("newest from"),
        Column::Text("registered"),
    ]);
    for model in models {
        let aliases: Vec<String> =
            model.aliases.iter().map(|(alias, version)| format!("{alias} → {version}")).collect();
        let newest = model.versions.last();
        table.add_row([
            model.name.clone(),
            model.versions.len().to_string(),
            aliases.join(", "),
            newest.map(|version| version.job.to_string()).unwrap_or_default(),
            newest.map(|version| moment(version.created_at)).unwrap_or_default(),
        ]);
    }
    indented(&table)
}

/// A state in the colour that says whether it is well.
pub(super) fn state(state: JobState) -> String {
    let look = match state {
        JobState::Done => GOOD,
        JobState::Failed => BAD,
        JobState::Paused | JobState::Cancelled | JobState::Queued => DIM,
        JobState::Preparing
        | JobState::Forming
        | JobState::Training
        | JobState::Evaluating
        | JobState::Registering
        | JobState::Stopping => STRONG,
    };
    styled(look, state.as_str())
}
