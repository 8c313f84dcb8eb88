//! Reading a job file for a command: the text, what `--set` changes, and every
//! mistake as compilers print them, with the line and a mark beneath.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use clap::Args;
use phalanx_protocol::spec::{
    JOB_FILE_BYTES_MAX, JobFile, JobSpec, Mistake, Mistakes, Place, SourceSpec, is_glob, is_url,
};

use crate::{
    error::CliError,
    show::{BAD, DIM, STRONG},
};

/// The job file and what replaces parts of it.
#[derive(Debug, Clone, Args)]
pub(super) struct JobFileArgs {
    /// The job file; `-` reads it from standard input
    #[arg(value_name = "JOB")]
    file: PathBuf,

    /// Set a key of the job file, as in train.epochs=3; an empty value takes it out
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
}

impl JobFileArgs {
    /// The job file at `path`, as it is.
    pub(super) fn of(path: &Path) -> Self {
        Self { file: path.to_owned(), settings: Vec::new() }
    }

    /// With a key set to `value`.
    pub(super) fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.settings.push((key.to_owned(), value.to_string()));
        self
    }

    /// Reads the job, and checks that its data are there. Mistakes are printed.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or has mistakes.
    pub(super) fn read(&self) -> Result<JobSpec, CliError> {
        let spec = self.read_for_elsewhere()?;
        let file = self.file.display();
        check_source(&spec).map_err(|message| CliError::usage(format!("{file}: {message}")))?;
        Ok(spec)
    }

    /// [`read`](Self::read) where the data need not be on this machine.
    pub(super) fn read_for_elsewhere(&self) -> Result<JobSpec, CliError> {
        let file = self.file.display();
        let text = self.text().map_err(|reason| CliError::usage(format!("{file}: {reason}")))?;
        match JobFile::parse(&text, &self.file, &self.settings) {
            Ok(JobFile { spec }) => Ok(spec),
            Err(mistakes) => {
                print(&mistakes, &text);
                let count = mistakes.mistakes.len() + mistakes.left_out;
                let count = if count == 1 { "one mistake".to_owned() } else { format!("{count} mistakes") };
                Err(CliError::usage(format!("{file} has {count}")))
            }
        }
    }

    /// The file, as the user wrote it.
    pub(super) fn name(&self) -> String {
        self.file.display().to_string()
    }

    fn text(&self) -> Result<String, String> {
        if self.file.as_os_str() == STDIN {
            return bounded_text(std::io::stdin().lock());
        }
        let seen = fs::metadata(&self.file).map_err(|e| e.to_string())?;
        if !seen.is_file() {
            let what = if seen.is_dir() { "a folder" } else { "no regular file" };
            return Err(format!("it is {what}, expected a job file"));
        }
        if seen.len() > JOB_FILE_BYTES_MAX as u64 {
            return Err(format!("too long: {} bytes, expected at most {JOB_FILE_BYTES_MAX}", seen.len()));
        }
        bounded_text(File::open(&self.file).map_err(|e| e.to_string())?)
    }
}

/// The name of standard input.
const STDIN: &str = "-";

/// Reads a text that may have no end: what the system makes up as it is read has no length before.
fn bounded_text(from: impl Read) -> Result<String, String> {
    let mut bytes = Vec::new();
    from.take(JOB_FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if bytes.len() > JOB_FILE_BYTES_MAX {
        return Err(format!("too long: expected at most {JOB_FILE_BYTES_MAX} bytes"));
    }
    String::from_utf8(bytes).map_err(|e| {
        let line = e.as_bytes()[..e.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
        format!("line {line} is no UTF-8 text, expected TOML")
    })
}

/// What the job reads from this machine must be there; what a glob stands for, and what a URL, is found when it is read.
fn check_source(spec: &JobSpec) -> Result<(), String> {
    let Some(source) = spec.data.source() else { return Ok(()) };
    let Some(path) = source.path().filter(|path| !is_url(path)) else { return Ok(()) };
    let key = match source {
        SourceSpec::Sql(_) => "data.sql.sqlite".to_owned(),
        other => format!("data.{}.path", other.kind()),
    };
    let expected = |what: &str| format!("{key}: {} {what}", path.display());
    let folder = matches!(source, SourceSpec::Images(_));
    match fs::metadata(path) {
        Ok(seen) if seen.is_dir() && !folder => Err(expected("is a folder, expected a file")),
        Ok(seen) if !seen.is_dir() && folder => Err(expected("is a file, expected a folder")),
        Ok(_) => Ok(()),
        Err(_) if is_glob(path) => Ok(()),
        Err(e) => Err(expected(&format!("cannot be read: {e}"))),
    }
}

fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err("expected KEY=VALUE, as in train.epochs=3".to_owned()),
    }
}

fn print(mistakes: &Mistakes, text: &str) {
    for mistake in &mistakes.mistakes {
        anstream::eprint!("{}", shown(mistake, text));
    }
    if mistakes.left_out > 0 {
        anstream::eprintln!("and {} more", mistakes.left_out);
    }
}

/// A mistake with its line and a mark beneath the place.
fn shown(mistake: &Mistake, text: &str) -> String {
    let Mistake { place, message } = mistake;
    let mut shown = format!("{STRONG}{place}:{STRONG:#} {BAD}error:{BAD:#} {message}\n");
    if let Place::File { line, column, .. } = place
        && let Some(source) = text.lines().nth(line.saturating_sub(1))
        && !source.trim().is_empty()
    {
        let number = line.to_string();
        let gap = " ".repeat(number.len());
        // What stands before the place, tabs kept, so that the mark is below it.
        let before: String =
            source.chars().take(column - 1).map(|c| if c == '\t' { c } else { ' ' }).collect();
        shown.push_str(&format!(
            "{DIM} {number} |{DIM:#} {source}\n{DIM} {gap} |{DIM:#} {before}{BAD}^{BAD:#}\n"
        ));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_shown_in_its_line() {
        let place = Place::File { path: "mnist.toml".into(), line: 2, column: 3 };
        let mistake = Mistake { place, message: "unknown key `epoch`".to_owned() };
        let shown = shown(&mistake, "[train]\n\tx epoch = 3\n");
        let expected = "mnist.toml:2:3: error: unknown key `epoch`\n 2 | \tx epoch = 3\n   | \t ^\n";
        assert_eq!(anstream::adapter::strip_str(&shown).to_string(), expected);
    }

    #[test]
    fn a_setting_is_split_at_its_first_equals_sign() {
        assert_eq!(setting("a.b = c=d"), Ok(("a.b".to_owned(), "c=d".to_owned())));
        assert_eq!(setting("a="), Ok(("a".to_owned(), String::new())));
        assert!(setting("a").is_err() && setting("=a").is_err());
    }
}
