//! The rules of a job file that its types cannot say, one file for each section.
//!
//! A rule names every setting that it looks at, so that whoever knows one of
//! them to be wrong already can leave the rule's word out.

mod clean;
mod data;
mod encode;
mod evaluate;
mod feed;
mod model;
mod schedule;
mod source;
mod split;
#[cfg(test)]
mod tests;
mod train;
mod trust;

use std::{fmt, ops::RangeInclusive};

use super::{
    CheckpointSpec, DataSpec, EvaluateSpec, JobSpec, ModelSpec, RegisterSpec, SchedulingSpec, TrainSpec,
    WorkersSpec,
};
use crate::id::{JOB_NAME_CHARS_MAX, is_name};

/// Something wrong with a job file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Dotted path of the setting: `train.lanes` or `evaluate.gates[0]`.
    pub path: String,
    /// Paths of the other settings that are involved.
    pub also: Vec<String>,
    /// What is wrong with it and what was expected; it names the setting.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.message.fmt(f)
    }
}

impl JobSpec {
    /// Everything that is wrong with this job; nothing if it can run.
    pub fn problems(&self) -> Vec<Problem> {
        let sections = Sections {
            name: Some(&self.name),
            data: Some(&self.data),
            model: Some(&self.model),
            train: Some(&self.train),
            workers: Some(&self.workers),
            schedule: Some(&self.schedule),
            checkpoint: Some(&self.checkpoint),
            evaluate: Some(&self.evaluate),
            register: self.register.as_ref(),
        };
        sections.problems()
    }
}

/// The sections of a job that are known; rules about the others are left out.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sections<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) data: Option<&'a DataSpec>,
    pub(super) model: Option<&'a ModelSpec>,
    pub(super) train: Option<&'a TrainSpec>,
    pub(super) workers: Option<&'a WorkersSpec>,
    pub(super) schedule: Option<&'a SchedulingSpec>,
    pub(super) checkpoint: Option<&'a CheckpointSpec>,
    pub(super) evaluate: Option<&'a EvaluateSpec>,
    pub(super) register: Option<&'a RegisterSpec>,
}

impl Sections<'_> {
    /// Everything that is wrong with these sections and between them.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut rules = Rules::default();
        if let Some(name) = self.name {
            let fits = is_name(name) && name.len() <= JOB_NAME_CHARS_MAX;
            rules.require(fits, ["name"], || not_a_name("name", name, JOB_NAME_CHARS_MAX));
        }
        data::check(self, &mut rules);
        model::check(self, &mut rules);
        train::check(self, &mut rules);
        feed::check(self, &mut rules);
        schedule::check(self, &mut rules);
        evaluate::check(self, &mut rules);
        rules.broken
    }
}

/// Collects the rules that are broken.
#[derive(Debug, Default)]
struct Rules {
    broken: Vec<Problem>,
}

impl Rules {
    /// A rule over the settings at `paths`, of which the first is the one to mend.
    fn require<const N: usize>(&mut self, holds: bool, paths: [&str; N], message: impl FnOnce() -> String) {
        if holds {
            return;
        }
        let mut paths = paths.into_iter().map(str::to_owned);
        let path = paths.next().expect("invariant: a rule is about a setting");
        self.broken.push(Problem { path, also: paths.collect(), message: message() });
    }

    /// The whole number at `path` is in `range`.
    fn whole(&mut self, path: &str, value: impl TryInto<u64>, range: RangeInclusive<u64>) {
        let value = value.try_into().unwrap_or(u64::MAX);
        let (low, high) = (range.start(), range.end());
        let holds = range.contains(&value);
        self.require(holds, [path], || format!("`{path}` must be from {low} to {high}, got {value}"));
    }

    /// The number at `path` meets `holds`, in words `expected`. Not a number never does.
    fn number(&mut self, path: &str, value: f64, holds: bool, expected: &str) {
        let holds = holds && value.is_finite();
        self.require(holds, [path], || format!("`{path}` must be {expected}, got {value}"));
    }

    /// The share at `path` is from 0 up to, but not 1.
    fn share_below_one(&mut self, path: &str, value: f64) {
        self.number(path, value, (0.0..1.0).contains(&value), "at least 0 and below 1");
    }
}

fn not_a_name(path: &str, name: &str, chars_max: usize) -> String {
    format!(
        "`{path}` must be 1 to {chars_max} lower-case letters, digits, `-` or `_`, \
         beginning with a letter or a digit, got \"{name}\""
    )
}
