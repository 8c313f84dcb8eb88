//! `phalanx learning-curve`: a job for each of several shares of the rows, side by side, and what more rows would bring.

use std::path::PathBuf;

use clap::Args;
use phalanx_evaluate::learning_curve::{Learned, LearningCurve, learning_curve};
use phalanx_protocol::{spec::JobSpec, view::JobView};
use phalanx_report::Report;

use super::{
    job_file::JobFileArgs,
    side_by_side::{self, one_of_several, report_of_several},
};
use crate::{
    connect::Where,
    error::{CliError, Exit},
    output::write_text,
    show,
};

/// The most points of a curve.
const SHARES_MAX: usize = 50;

/// Train a job on more and more of its rows, and say what still more would bring
///
/// Each job trains on a share of the training split, and all are measured on the same test split. With
/// --repeats the rows are divided anew, and points are means. From four points on, a power law through
/// them guesses what twice the rows would bring.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  phalanx learning-curve examples/adult.toml --coordinator http://host:7700
  phalanx learning-curve examples/adult.toml --shares 0.05,0.1,0.2,0.4,0.8,1 --repeats 3
  phalanx learning-curve examples/adult.toml --html curve.html")]
pub(crate) struct LearningCurves {
    #[command(flatten)]
    job: JobFileArgs,

    /// The shares of the training split
    #[arg(long, value_name = "SHARE,…", value_delimiter = ',', value_parser = share, default_value = "0.1,0.2,0.4,0.7,1")]
    shares: Vec<f64>,

    /// Divide the rows so many times, each time with the next seed
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    repeats: u32,

    /// Write it to this file as a page that browsers show
    #[arg(long, value_name = "FILE.html")]
    html: Option<PathBuf>,

    /// Print it as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    at: Where,
}

impl LearningCurves {
    /// Trains the jobs.
    pub(crate) async fn run(mut self) -> Result<Exit, CliError> {
        self.shares.sort_by(f64::total_cmp);
        self.shares.dedup();
        if self.shares.len() > SHARES_MAX {
            let message = format!("--shares must be at most {SHARES_MAX}, got {}", self.shares.len());
            return Err(CliError::usage(message));
        }
        // With a share, the rules of the job file say whether it can be trained on a part of its rows.
        let mut spec = self.job.clone().with("data.split.train_share", 0.5).read()?;
        spec.data.split.train_share = None;
        let connection = side_by_side::connect(&self.at).await?;
        let Some(jobs) = side_by_side::train(&connection, self.specs(&spec)).await? else {
            return Ok(Exit::Interrupted);
        };
        let curves = self.curves(&jobs)?;
        if let Some(file) = &self.html {
            let report = report_of_several(connection.client(), &spec, &jobs).await?;
            write_text(file, &Report { learning_curves: curves.clone(), ..report }.to_html())?;
        }
        if self.json {
            show::print_json(&curves)?;
        } else {
            show::print(&show::learning_curves(&curves, jobs.len()))?;
        }
        Ok(Exit::Done)
    }

    /// A job for each share, one repeat after the other.
    fn specs(&self, spec: &JobSpec) -> Vec<JobSpec> {
        let of_share = |(index, share): (usize, f64)| {
            let mut spec = one_of_several(spec, &format!("-share-{}", index + 1));
            let repeat = (index / self.shares.len()) as u64;
            spec.data.split.seed = spec.data.split.seed.wrapping_add(repeat);
            spec.data.split.train_share = Some(share);
            spec
        };
        let shares = std::iter::repeat_n(&self.shares, self.repeats as usize).flatten().copied();
        shares.enumerate().map(of_share).collect()
    }

    /// The curve of each metric that all jobs have.
    fn curves(&self, jobs: &[JobView]) -> Result<Vec<LearningCurve>, CliError> {
        let mut curves = Vec::new();
        for name in jobs.iter().take(1).flat_map(|job| job.metrics.keys()) {
            let value = |job: &JobView| job.metrics.get(name).copied().filter(|value| value.is_finite());
            let learned = |point: usize| -> Option<Learned> {
                let of_point: Vec<&JobView> = jobs.iter().skip(point).step_by(self.shares.len()).collect();
                let rows =
                    of_point.iter().filter_map(|job| Some(job.dataset.as_ref()?.train_rows)).sum::<u64>();
                let values = of_point.iter().map(|job| value(job)).collect::<Option<Vec<f64>>>()?;
                Some(Learned { rows: rows / of_point.len() as u64, values })
            };
            let Some(points) = (0..self.shares.len()).map(learned).collect::<Option<Vec<_>>>() else {
                continue;
            };
            curves.push(learning_curve(name, points).map_err(CliError::failed)?);
        }
        Ok(curves)
    }
}

/// Reads a share of the rows.
fn share(text: &str) -> Result<f64, String> {
    let share: Option<f64> = text.trim().parse().ok();
    share
        .filter(|share| *share > 0.0 && *share <= 1.0)
        .ok_or_else(|| "expected a number above 0 and at most 1".to_owned())
}
