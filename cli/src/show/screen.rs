//! A job while it runs: a progress bar on a terminal, a line every few seconds
//! elsewhere, and above it whatever is said. Owns the bar and remembers what it
//! has told already.

use std::{
    fmt::Display,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use phalanx_protocol::view::{JobState, JobView};

use super::{
    number::{count, duration, figure},
    style::{BAD, DIM, STRONG, styled},
};

/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// The share of the newest rate in the smoothed one.
const RATE_SHARE: f64 = 0.15;

/// The live view of one job, on standard error.
#[derive(Debug)]
pub(crate) struct Screen {
    /// `None` where standard error is no terminal.
    bar: Option<ProgressBar>,
    /// Number of the last message told.
    told: u64,
    /// The state and reason told last.
    state: Option<(JobState, Option<String>)>,
    /// When the last line of progress was written, where there is no bar.
    written_at: Option<Instant>,
    /// Samples a second, smoothed.
    rate: Option<f64>,
}

impl Screen {
    /// An empty one.
    pub(crate) fn new() -> Self {
        let bar = console::Term::stderr().is_term().then(|| {
            let bar = ProgressBar::new(0).with_style(waiting_style());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self { bar, told: 0, state: None, written_at: None, rate: None }
    }

    /// Says something for good.
    pub(crate) fn say(&self, line: impl Display) {
        match &self.bar {
            Some(bar) => bar.suspend(|| anstream::eprintln!("{line}")),
            None => anstream::eprintln!("{line}"),
        }
    }

    /// Warns of something.
    pub(crate) fn warn(&self, line: impl Display) {
        self.say(format!("{} {line}", styled(BAD, "!")));
    }

    /// Shows what becomes of the job.
    pub(crate) fn show(&mut self, job: &JobView) {
        for message in &job.messages {
            // How a job ended is told in full by whoever waited for it.
            let is_last = job.state.is_over() && message.text.starts_with(job.state.as_str());
            if message.number > self.told && !is_last {
                self.say(format!("{} {}", styled(DIM, &job.id), message.text));
            }
            self.told = self.told.max(message.number);
        }
        if let Some(newest) = job.samples_per_second {
            let old = self.rate.unwrap_or(newest);
            self.rate = Some(old + RATE_SHARE * (newest - old));
        }
        let now = (job.state, job.reason.clone());
        let changed = self.state.as_ref() != Some(&now);
        self.state = Some(now);
        match &self.bar {
            Some(bar) => draw(bar, job, self.rate, changed),
            None if self.is_due(job, changed) => {
                self.written_at = Some(Instant::now());
                self.say(format!("{} {}", styled(DIM, &job.id), line(job, self.rate)));
            }
            None => {}
        }
    }

    /// Takes what was said of the job up to now as told.
    pub(crate) fn skip(&mut self, job: &JobView) {
        self.told = job.messages.last().map_or(self.told, |last| last.number);
    }

    /// Takes the bar away.
    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Whether a line is written, where there is no bar: now and then while it trains, and where
    /// a reason is new. Transitions are told by the job's messages.
    fn is_due(&self, job: &JobView, changed: bool) -> bool {
        if job.state == JobState::Training && job.total_steps > 0 {
            return self.written_at.is_none_or(|at| at.elapsed() >= LINE_EVERY);
        }
        let waits = matches!(job.state, JobState::Queued | JobState::Preparing);
        changed && waits && job.reason.is_some()
    }
}

fn draw(bar: &ProgressBar, job: &JobView, rate: Option<f64>, changed: bool) {
    let trains = job.state == JobState::Training && job.total_steps > 0;
    bar.set_message(if trains { figures(job, rate) } else { waiting(job) });
    bar.set_length(job.total_steps);
    bar.set_position(job.step);
    if changed {
        bar.set_style(if trains { training_style() } else { waiting_style() });
    }
}

/// A line of progress.
fn line(job: &JobView, rate: Option<f64>) -> String {
    if job.state != JobState::Training || job.total_steps == 0 {
        return waiting(job);
    }
    let percent = job.step.saturating_mul(100) / job.total_steps;
    format!("{} {percent:>3} %  {}", styled(STRONG, "training"), figures(job, rate))
}

fn waiting(job: &JobView) -> String {
    let reason = job.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    format!("{}{reason}", styled(STRONG, job.state.as_str()))
}

/// Step, epoch, loss, time left and rate; what says most comes first, for a narrow terminal.
fn figures(job: &JobView, rate: Option<f64>) -> String {
    let mut parts = vec![format!("step {}/{}", count(job.step), count(job.total_steps))];
    // People count epochs from one, and the last step belongs to the epoch that it ends.
    let ended = job.step >= job.total_steps && job.epoch > 0;
    parts.push(format!("epoch {}", if ended { job.epoch } else { job.epoch + 1 }));
    if let Some(loss) = job.loss {
        parts.push(format!("loss {}", figure(loss)));
    }
    if let Some(rate) = rate {
        parts.extend(time_left(job, rate).map(|left| format!("eta {}", duration(left))));
        parts.push(format!("{} samples/s", count(rate.max(0.0) as u64)));
    }
    parts.join("  ")
}

/// How long the rest takes at this rate.
fn time_left(job: &JobView, rate: f64) -> Option<Duration> {
    if job.step == 0 {
        return None;
    }
    let samples_per_step = job.cursor as f64 / job.step as f64;
    let left = job.total_steps.saturating_sub(job.step) as f64 * samples_per_step;
    Duration::try_from_secs_f64(left / rate).ok().map(|left| Duration::from_secs(left.as_secs()))
}

fn waiting_style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner:.cyan} {wide_msg}").expect("invariant: the template is right")
}

fn training_style() -> ProgressStyle {
    // Beside a bar of this width, the figures fit into 80 and 100 columns.
    let width = if console::Term::stderr().size().1 < 100 { 12 } else { 30 };
    ProgressStyle::with_template(&format!("{{bar:{width}.cyan/240}} {{percent:>3}} %  {{wide_msg}}"))
        .expect("invariant: the template is right")
        .progress_chars("━╸ ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::fixture;

    fn check(job: &JobView, rate: Option<f64>, expected: &str) {
        assert_eq!(anstream::adapter::strip_str(&line(job, rate)).to_string(), expected);
    }

    #[test]
    fn progress_tells_step_epoch_loss_rate_and_time_left() {
        let job = fixture::training();
        check(
            &job,
            Some(1_000.0),
            "training  50 %  step 300/600  epoch 6  loss 0.1235  eta 19s  1,000 samples/s",
        );
        check(&job, None, "training  50 %  step 300/600  epoch 6  loss 0.1235");
    }

    #[test]
    fn the_last_step_belongs_to_the_epoch_that_it_ends() {
        let job = JobView { step: 600, epoch: 10, loss: None, ..fixture::training() };
        check(&job, None, "training 100 %  step 600/600  epoch 10");
    }

    #[test]
    fn a_rate_of_nothing_has_no_time_left() {
        let job = JobView { loss: None, ..fixture::training() };
        check(&job, Some(0.0), "training  50 %  step 300/600  epoch 6  0 samples/s");
    }

    #[test]
    fn a_waiting_job_says_what_it_waits_for() {
        check(&fixture::queued("2 workers"), None, "queued: 2 workers");
    }
}
