//! Reading a job file: every mistake at once, each with its line.
//!
//! The stages are syntax, structure (`structure`), types (serde) and rules
//! (`problems`); each goes as far as the ones before leave it something to
//! look at. Nothing here opens a file: the caller hands in the text.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::{
    CheckpointSpec, DataSpec, EvaluateSpec, JobSpec, ModelSpec, RegisterSpec, SchedulingSpec, TrainSpec,
    WorkersSpec,
    document::{Document, readable},
    mistake::{MISTAKES_MAX, Mistake, Mistakes, Place, printable},
    problems::{Problem, Sections},
    source::is_url,
    structure::{self, Findings},
};

/// The most bytes in a job file.
pub const JOB_FILE_BYTES_MAX: usize = 256 << 10;

/// A job file that was read and found right.
#[derive(Debug, Clone, PartialEq)]
pub struct JobFile {
    /// The job, the paths of its data made absolute.
    pub spec: JobSpec,
}

impl JobFile {
    /// Reads the text of the job file at `path`, with `overrides` (`train.epochs` and `3`) in the
    /// place of what it says. `path` names the file in messages, and paths of data are relative
    /// to its folder; it is not opened.
    ///
    /// A value of an override is read as TOML or else taken as a text; an empty one takes the key
    /// out, so that `epochs` can give way to `steps`.
    ///
    /// # Errors
    ///
    /// All mistakes that can be told: those of syntax, unknown and missing keys, values of the
    /// wrong kind, and broken rules between settings that are themselves right.
    pub fn parse(text: &str, path: &Path, overrides: &[(String, String)]) -> Result<Self, Mistakes> {
        if text.len() > JOB_FILE_BYTES_MAX {
            let place = Place::File { path: path.to_owned(), line: 1, column: 1 };
            let message = format!("too long: {} bytes, expected at most {JOB_FILE_BYTES_MAX}", text.len());
            return Err(Mistakes { mistakes: vec![Mistake { place, message }], left_out: 0 });
        }
        let (readable, syntax) = readable(text);
        let document = Document::new(text, &readable, path.to_owned());
        let mut reading = Reading { document, syntax, later: Vec::new(), spoilt: Vec::new() };
        for (key, value) in overrides {
            let set = reading.document.set(key, value);
            reading.later.extend(set.err());
        }
        let draft = reading.draft();
        let mistakes = reading.mistakes(&draft);
        match draft.finish() {
            Some(mut spec) if mistakes.is_empty() => {
                let folder = path.parent().unwrap_or(Path::new(""));
                for path in spec.data.paths_mut().filter(|path| !is_url(path)) {
                    *path = absolute(folder.join(&*path));
                }
                Ok(Self { spec })
            }
            _ => Err(bounded(mistakes)),
        }
    }
}

/// The parts of a job that could be read.
struct Draft {
    name: Option<String>,
    data: Option<DataSpec>,
    model: Option<ModelSpec>,
    train: Option<TrainSpec>,
    workers: Option<WorkersSpec>,
    schedule: Option<SchedulingSpec>,
    checkpoint: Option<CheckpointSpec>,
    evaluate: Option<EvaluateSpec>,
    register: Option<RegisterSpec>,
}

impl Draft {
    fn sections(&self) -> Sections<'_> {
        Sections {
            name: self.name.as_deref(),
            data: self.data.as_ref(),
            model: self.model.as_ref(),
            train: self.train.as_ref(),
            workers: self.workers.as_ref(),
            schedule: self.schedule.as_ref(),
            checkpoint: self.checkpoint.as_ref(),
            evaluate: self.evaluate.as_ref(),
            register: self.register.as_ref(),
        }
    }

    /// The whole job, if no part is absent that must be there.
    fn finish(self) -> Option<JobSpec> {
        Some(JobSpec {
            name: self.name?,
            data: self.data?,
            model: self.model?,
            train: self.train?,
            workers: self.workers?,
            schedule: self.schedule?,
            checkpoint: self.checkpoint?,
            evaluate: self.evaluate?,
            register: self.register,
        })
    }
}

/// One reading: the document and what was found wrong with it so far.
struct Reading<'i> {
    document: Document<'i>,
    /// Mistakes of syntax: offset and message.
    syntax: Vec<(usize, String)>,
    /// All others.
    later: Vec<(usize, String)>,
    /// Paths of which no rule may speak.
    spoilt: Vec<String>,
}

impl Reading<'_> {
    /// Checks the structure and reads each section.
    fn draft(&mut self) -> Draft {
        let Findings { mistakes, missing, spoilt } = structure::check(&mut self.document.table);
        self.later.extend(mistakes);
        self.spoilt.extend(spoilt);
        for (offset, _) in &self.syntax {
            // What stands near a mistake of syntax may have been lost with it.
            self.spoilt.push(self.document.section_at(*offset).unwrap_or("name").to_owned());
        }
        for (path, offset, message) in missing {
            let is_section = !path.contains('.');
            let lost = self.is_spoilt(&path) || (is_section && !self.syntax.is_empty());
            if !lost {
                self.later.push((offset, message));
            }
            self.spoilt.push(path);
        }
        Draft {
            name: self.read("name"),
            data: self.read("data"),
            model: self.read("model"),
            train: self.read("train"),
            workers: self.read_or_default("workers"),
            schedule: self.read_or_default("schedule"),
            checkpoint: self.read_or_default("checkpoint"),
            evaluate: self.read_or_default("evaluate"),
            register: self.read("register"),
        }
    }

    fn read<T: DeserializeOwned>(&mut self, key: &str) -> Option<T> {
        match self.document.get(key) {
            Ok(value) => value,
            Err(mistake) => {
                self.later.push(mistake);
                None
            }
        }
    }

    fn read_or_default<T: DeserializeOwned + Default>(&mut self, key: &str) -> Option<T> {
        if self.document.table.contains_key(key) { self.read(key) } else { Some(T::default()) }
    }

    /// Everything that is wrong, in the order of the file.
    fn mistakes(self, draft: &Draft) -> Vec<Mistake> {
        let rules = draft.sections().problems().into_iter().filter(|problem| !self.speaks_of_spoilt(problem));
        let rules = rules.map(|problem| (self.document.offset(&problem.path), problem.message));
        let line = |offset: usize| match self.document.place(offset) {
            Place::File { line, .. } => Some(line),
            Place::Setting(_) => None,
        };
        let broken: Vec<Option<usize>> = self.syntax.iter().map(|(offset, _)| line(*offset)).collect();
        let later = self.later.iter().cloned().chain(rules);
        // On a line that cannot be read, everything else is a consequence.
        let later = later.filter(|(offset, _)| !broken.contains(&line(*offset)) || line(*offset).is_none());
        let mut all: Vec<(usize, String)> = self.syntax.iter().cloned().chain(later).collect();
        all.sort();
        all.dedup();
        all.into_iter()
            .map(|(offset, message)| Mistake {
                place: self.document.place(offset),
                message: printable(&message),
            })
            .collect()
    }

    fn speaks_of_spoilt(&self, problem: &Problem) -> bool {
        std::iter::once(&problem.path).chain(&problem.also).any(|path| self.is_spoilt(path))
    }

    /// Whether a part that was spoilt holds `path`, or lies in it.
    fn is_spoilt(&self, path: &str) -> bool {
        let holds = |outer: &str, inner: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.spoilt.iter().any(|spoilt| holds(spoilt, path) || holds(path, spoilt))
    }
}

fn bounded(mut mistakes: Vec<Mistake>) -> Mistakes {
    let left_out = mistakes.len().saturating_sub(MISTAKES_MAX);
    mistakes.truncate(MISTAKES_MAX);
    Mistakes { mistakes, left_out }
}

/// `path` from the root. The current folder is the one thing asked of the system here; where it
/// is gone, the path stays as it is and the reader of the data will say so.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}
