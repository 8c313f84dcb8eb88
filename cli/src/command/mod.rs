//! The command line: one file for each command, with its arguments, its page of
//! help and what it does. A command asks a coordinator through
//! [`Client`](crate::client::Client) and prints what [`show`](crate::show) makes
//! of the answer.

mod alias;
mod audit;
mod bench;
mod cancel;
mod check;
mod compare;
mod completions;
mod coordinator;
mod cross_validate;
mod data;
mod drain;
mod evaluate;
mod follow;
mod gc;
mod job;
mod job_file;
mod jobs;
mod learning_curve;
mod model;
mod models;
mod predict;
mod registered;
mod report;
mod resume;
mod run;
mod scale;
mod side_by_side;
mod submit;
mod telemetry;
mod worker;
mod workers;

use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::error::{CliError, Exit};

/// Trains models on many workers, and keeps what comes out of it.
///
/// A job file says what to train on, what to train and how; `docs/job-file.md` tells all of it.
/// A job's final weights depend on its job file and its data and on nothing else: not on how
/// many workers ran it, not on how often it was stopped.
#[derive(Debug, Parser)]
#[command(name = "phalanx", version, max_term_width = 100, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  phalanx run examples/mnist.toml                train on this machine until the job is done
  phalanx job mnist-1 --plot loss.svg            look at it, and draw its loss
  phalanx predict mnist digits.parquet           apply the model that it made

  phalanx coordinator --listen 0.0.0.0:7700 --state state.redb --store s3://bucket/phalanx
  phalanx worker --coordinator host:7701         on every machine that shall help
  phalanx submit examples/mnist.toml --follow --coordinator http://host:7700

Exit codes:
  0    done
  1    the job failed, or something else did
  2    wrong usage, a wrong job file, or wrong data
  130  interrupted";

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Other(Asked),
    Worker(worker::Worker),
}

/// What is done on the runtime of `main`; a worker has its own.
#[derive(Debug, Subcommand)]
pub(crate) enum Asked {
    Run(run::Run),
    Resume(resume::Resume),
    Check(check::Check),
    Jobs(jobs::Jobs),
    Job(job::Job),
    Follow(follow::Follow),
    Cancel(cancel::Cancel),
    Scale(scale::Scale),
    Models(models::Models),
    Model(model::Model),
    Alias(alias::Alias),
    Predict(predict::Predict),
    Evaluate(evaluate::Evaluate),
    Compare(compare::Compare),
    CrossValidate(cross_validate::CrossValidate),
    #[command(name = "learning-curve")]
    LearningCurves(learning_curve::LearningCurves),
    Report(report::Report),
    Submit(submit::Submit),
    Workers(workers::Workers),
    Drain(drain::Drain),
    Data(data::Data),
    Gc(gc::Gc),
    Audit(audit::Audit),
    Coordinator(Box<coordinator::Coordinator>),
    #[command(display_order = 998)]
    Bench(bench::Bench),
    #[command(display_order = 999)]
    Completions(completions::Completions),
}

impl Asked {
    /// Does it.
    pub(crate) async fn run(self) -> Result<Exit, CliError> {
        match self {
            Self::Run(command) => Box::pin(command.run()).await,
            Self::Resume(command) => command.run().await,
            Self::Check(command) => command.run(),
            Self::Jobs(command) => command.run().await,
            Self::Job(command) => command.run().await,
            Self::Follow(command) => command.run().await,
            Self::Cancel(command) => command.run().await,
            Self::Scale(command) => command.run().await,
            Self::Models(command) => command.run().await,
            Self::Model(command) => command.run().await,
            Self::Alias(command) => command.run().await,
            Self::Predict(command) => Box::pin(command.run()).await,
            Self::Evaluate(command) => Box::pin(command.run()).await,
            Self::Compare(command) => Box::pin(command.run()).await,
            Self::CrossValidate(command) => Box::pin(command.run()).await,
            Self::LearningCurves(command) => Box::pin(command.run()).await,
            Self::Report(command) => Box::pin(command.run()).await,
            Self::Submit(command) => command.run().await,
            Self::Workers(command) => command.run().await,
            Self::Drain(command) => command.run().await,
            Self::Data(command) => Box::pin(command.run()).await,
            Self::Gc(command) => command.run().await,
            Self::Audit(command) => command.run().await,
            Self::Coordinator(command) => command.run().await,
            Self::Bench(command) => command.run().await,
            Self::Completions(command) => command.run(),
        }
    }
}

/// Reads an argument that is a number of seconds.
fn seconds(text: &str) -> Result<Duration, String> {
    let expected = "expected a number of seconds, as in 5 or 0.5";
    let seconds: f64 = text.parse().map_err(|_| expected)?;
    Duration::try_from_secs_f64(seconds).map_err(|_| expected.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let example = format!("phalanx {}", command.get_name());
            assert!(help.contains(&example), "`{example}` is not in its own help");
        }
    }
}
