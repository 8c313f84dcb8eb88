//! `phalanx gc`: what nobody needs in the object store is deleted.

use std::time::Duration;

use clap::Args;
use phalanx_protocol::view::GC_SECONDS_MIN;

use crate::{
    connect::Where,
    error::{CliError, Exit},
    show,
};

/// Delete files of the object store that no job and no model needs
///
/// These are checkpoints that never became whole or were replaced, models of jobs that were given up, data sets that
/// no job and no model was trained on, and files that were begun and not ended. What a running job may be writing is
/// left alone, and so is everything that is younger than --older-than.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  phalanx gc --dry-run
  phalanx gc --older-than 7d
  phalanx gc --dry-run --json | jq -r '.files[].path'")]
pub(crate) struct Gc {
    /// Delete nothing, and tell what would be deleted
    #[arg(long)]
    dry_run: bool,

    /// Leave alone what is younger, as in 90m, 1h or 7d; an hour at least
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = age)]
    older_than: Duration,

    /// Print the outcome as JSON, with the paths of the first thousand files
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    at: Where,
}

impl Gc {
    /// Collects.
    pub(crate) async fn run(self) -> Result<Exit, CliError> {
        let connection = self.at.connect().await?;
        let progress = show::GcProgress::begin();
        let mut collection = connection.client().collect_garbage(self.older_than, self.dry_run).await?;
        let outcome = loop {
            let view = collection.next().await?;
            if view.done {
                break view;
            }
            progress.show(&view);
        };
        progress.end();
        if self.json {
            show::print_json(&outcome)?;
        } else {
            show::print(&show::garbage(&outcome))?;
        }
        connection.close().await;
        match outcome.problem {
            None => Ok(Exit::Done),
            Some(problem) => Err(CliError::failed(format!("not everything was deleted: {problem}"))
                .hint("`phalanx gc` again deletes the rest")),
        }
    }
}

/// Reads an age: a whole number and its unit.
fn age(text: &str) -> Result<Duration, String> {
    let expected = || "expected a whole number and a unit, an hour at least, as in 90m, 1h or 7d".to_owned();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).ok_or_else(expected)?);
    let unit_seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(expected()),
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_seconds));
    seconds.filter(|seconds| *seconds >= GC_SECONDS_MIN).map(Duration::from_secs).ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_a_number_and_a_unit_and_an_hour_at_least() {
        for (text, seconds) in [("1h", 3_600), ("90m", 5_400), ("3600s", 3_600), ("7d", 604_800)] {
            assert_eq!(age(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for wrong in
            ["", "1", "h", "59m", "-1h", "1.5h", "1w", "99999999999999999999h", "9999999999999999999d"]
        {
            assert!(age(wrong).is_err(), "{wrong}");
        }
    }
}
