//! What a job came to: told once it is over, and by `phalanx job`.

use phalanx_protocol::view::{Curve, JobView};

use super::{
    chart::chart,
    lists::state,
    metrics::metrics,
    number::{between, bytes, count, duration, figure, moment},
    ranks::ranks,
    style::{DIM, STRONG, styled},
};

/// Where the object store is, so that paths in it can be shown in full.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    root: String,
}

impl Place {
    /// The store at this URL; a folder below the current one is shown as seen from here.
    pub(crate) fn new(store_url: &str) -> Self {
        let url = reqwest::Url::parse(store_url).ok();
        let folder = url.filter(|url| url.scheme() == "file").and_then(|url| url.to_file_path().ok());
        let Some(folder) = folder else { return Self { root: store_url.trim_end_matches('/').to_owned() } };
        Self { root: super::path(&folder) }
    }

    /// Where the file at `path` in the store is.
    pub(super) fn of(&self, path: &str) -> String {
        format!("{}/{path}", self.root)
    }
}

/// The whole report, `columns` wide.
pub(crate) fn report(job: &JobView, curve: &Curve, place: &Place, columns: usize) -> String {
    let mut text = format!("{} {}\n", styled(STRONG, &job.id), headline(job));
    if let Some(reason) = &job.reason {
        text.push_str(&format!("{reason}\n"));
    }
    if let Some(chart) = chart(curve, columns) {
        text.push_str(&section("loss"));
        text.push_str(&chart);
    }
    if !job.metrics.is_empty() {
        text.push_str(&section("test split"));
        text.push_str(&metrics(&job.metrics, job.confusion.as_ref()));
    } else if !job.validation.is_empty() {
        text.push_str(&section("validation split"));
        text.push_str(&metrics(&job.validation, None));
    }
    if !job.ranks.is_empty() {
        text.push_str(&section("ranks"));
        text.push_str(&ranks(&job.ranks));
    }
    if let Some(sample) = &job.sample {
        text.push_str(&section("sample"));
        text.push_str(&quoted(sample, columns));
    }
    text.push('\n');
    for (name, value) in facts(job, place) {
        text.push_str(&field(name, &value));
    }
    text
}

/// One line of a report's foot.
pub(super) fn field(name: &str, value: &str) -> String {
    format!("  {DIM}{name:<11}{DIM:#} {value}\n")
}

fn section(title: &str) -> String {
    format!("\n{}\n", styled(STRONG, title))
}

/// `done: 600 steps, 12 epochs in 1m 12s`.
fn headline(job: &JobView) -> String {
    let mut text = state(job.state);
    if job.total_steps > 0 {
        text.push_str(&format!(": {} of {} steps", count(job.step), count(job.total_steps)));
    }
    if let (Some(begin), Some(end)) = (job.started_at, job.finished_at) {
        text.push_str(&format!(" in {}", duration(between(begin, end))));
    }
    text
}

/// What the job was made of and what it left behind.
fn facts(job: &JobView, place: &Place) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if let Some(model) = &job.model {
        facts.push(("model", format!("{} version {}", model.name, model.version)));
    }
    if let Some(artifact) = &job.artifact {
        let weights = &artifact.weights;
        facts.push(("weights", format!("{} ({})", place.of(&weights.path), bytes(weights.bytes))));
        if let Some(page) = &artifact.page {
            facts.push(("report", place.of(&page.path)));
        }
    }
    if let Some(dataset) = &job.dataset {
        let rows = [dataset.train_rows, dataset.validation_rows, dataset.test_rows].map(count);
        let version = dataset.version.get(..12).unwrap_or(&dataset.version);
        facts.push((
            "data",
            format!("{version}: {} training, {} validation, {} test", rows[0], rows[1], rows[2]),
        ));
    }
    if let Some(loss) = job.loss {
        facts.push(("loss", format!("{} at the last step", figure(loss))));
    }
    if let Some(checkpoint) = job.checkpoints.last() {
        let (step, size) = (count(checkpoint.step), bytes(checkpoint.bytes));
        facts.push(("checkpoint", format!("step {step} ({size}), {}", moment(checkpoint.written_at))));
    }
    if let Some(away) = &job.store_away {
        facts.push(("store", format!("away since {}: {}", moment(away.since), away.why)));
    }
    if job.world_size > 0 {
        facts.push(("workers", format!("{} in generation {}", job.world_size, job.generation)));
    }
    facts.push(("submitted", moment(job.submitted_at)));
    if let Some(hash) = &job.state_hash {
        facts.push(("state hash", hash.clone()));
    }
    facts
}

/// Text of a model, every line marked as such. It may hold anything: what would steer a terminal is left out.
fn quoted(sample: &str, columns: usize) -> String {
    let safe = |line: &str| line.chars().filter(|c| !c.is_control()).collect::<String>();
    let safe: Vec<String> = sample.lines().map(safe).collect();
    let lines = safe.iter().flat_map(|line| textwrap::wrap(line, columns.saturating_sub(6)));
    lines.map(|line| format!("  {DIM}│{DIM:#} {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use phalanx_protocol::view::StoreAway;

    use super::*;
    use crate::show::fixture;

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn a_finished_job_is_told_in_full() {
        let job = fixture::done();
        let curve =
            Curve { train: (1..50).map(|step| (step, 1.0 / step as f64)).collect(), validation: vec![] };
        let place = Place::new("file:///data/store");
        let text = plain(&report(&job, &curve, &place, 80));
        let without_times: Vec<&str> = text.lines().filter(|line| !line.contains("submitted")).collect();
        insta::assert_snapshot!(without_times.join("\n"));
    }

    #[test]
    fn a_job_that_waits_says_what_for() {
        let job = fixture::queued("waits for 2 workers; 1 is free");
        let text = plain(&report(&job, &Curve::default(), &Place::new(""), 80));
        assert!(text.starts_with("mnist-3 queued\nwaits for 2 workers; 1 is free\n"), "{text}");
    }

    #[test]
    fn a_job_whose_store_is_away_says_since_when_and_why() {
        let since = "2026-11-24T17:05:40Z".parse().unwrap();
        let store_away = Some(StoreAway { since, why: "connection refused".to_owned() });
        let reason = Some("checkpoints are stalled while training goes on".to_owned());
        let job = JobView { store_away, reason, ..fixture::training() };
        let text = plain(&report(&job, &Curve::default(), &Place::new(""), 80));
        let expected = format!("away since {}: connection refused", moment(since));
        assert!(text.contains(&expected) && text.contains("checkpoints are stalled"), "{text}");
    }

    #[test]
    fn a_sample_cannot_steer_the_terminal() {
        assert_eq!(plain(&quoted("a\u{7}b\x1b[31mc\nd", 80)), "  │ ab[31mc\n  │ d\n");
    }

    #[test]
    fn a_store_elsewhere_keeps_its_url() {
        let place = Place::new("s3://bucket/phalanx/");
        assert_eq!(place.of("models/x"), "s3://bucket/phalanx/models/x");
    }
}
