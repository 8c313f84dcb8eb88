//! `phalanx check`: every mistake in a job file at once.

use clap::Args;
use phalanx_protocol::spec::JobSpec;

use super::job_file::JobFileArgs;
use crate::{
    error::{CliError, Exit},
    show::{self, DIM, GOOD},
};

/// Tell every mistake in a job file at once, each with its line
///
/// Nothing is run and nothing is written. What can be wrong inside the data is told by `run`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  phalanx check examples/mnist.toml
  phalanx check examples/mnist.toml --set train.lanes=8")]
pub(crate) struct Check {
    #[command(flatten)]
    job: JobFileArgs,
}

impl Check {
    /// Reads the file and tells what it found.
    pub(crate) fn run(self) -> Result<Exit, CliError> {
        let spec = self.job.read()?;
        show::print(&summary(&self.job.name(), &spec))?;
        Ok(Exit::Done)
    }
}

/// A job in a few lines.
fn summary(file: &str, spec: &JobSpec) -> String {
    let mut text = format!("{file}: {GOOD}right{GOOD:#}\n\n");
    let mut line = |name: &str, value: String| text.push_str(&format!("  {DIM}{name:<9}{DIM:#} {value}\n"));
    line("job", spec.name.clone());
    if let Some(source) = spec.data.source() {
        let path = source.path();
        let size = path.and_then(|path| std::fs::metadata(path).ok()).filter(|seen| seen.is_file());
        let size = size.map(|seen| format!(" ({})", show::bytes(seen.len()))).unwrap_or_default();
        line("data", format!("{}{size}", path.map_or_else(|| source.kind().to_owned(), show::path)));
    }
    let split = &spec.data.split;
    let test = match split.fold {
        None => format!("{} test", split.test),
        Some(fold) => format!("fold {} of {} as test", fold.number, fold.of),
    };
    line("split", format!("{} training, {} validation, {test}", split.train, split.validation));
    line("model", spec.model.kind().to_owned());
    let train = &spec.train;
    let length = match (train.epochs, train.steps) {
        (Some(epochs), _) => format!("{epochs} epochs"),
        (None, Some(steps)) => format!("{steps} steps"),
        (None, None) => String::new(),
    };
    let (batch, lanes) = (train.batch_size, train.lanes);
    line("training", format!("{length} with {batch} samples a step in {lanes} lanes"));
    let gates: Vec<String> = spec.evaluate.gates.iter().map(ToString::to_string).collect();
    if !gates.is_empty() {
        line("gates", gates.join(", "));
    }
    if let Some(register) = &spec.register {
        let alias = register.alias.as_ref().map(|alias| format!(", alias {alias}")).unwrap_or_default();
        line("model to", format!("{}{alias}", register.model));
    }
    line("job hash", spec.hash());
    text
}
