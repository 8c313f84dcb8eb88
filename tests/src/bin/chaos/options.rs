//! The command line of `chaos`.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

const USAGE: &str = "\
usage: chaos [--job JOB] [--workers N] [--faults KIND,…] [--seed S] [--minutes M]

  --job JOB      job file; without it a small perceptron with dropout on the examples' census data
  --workers N    workers, 4 by default
  --faults KIND  kill, stop, partition, coordinator, etcd, store; all by default
  --seed S       decides what happens and when; each further round takes the next one. 1 by default
  --minutes M    begin no round later; 2 by default";

/// What the user asks for.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) job: Option<PathBuf>,
    pub(crate) workers: usize,
    pub(crate) kinds: Vec<Kind>,
    pub(crate) seed: u64,
    pub(crate) time: Duration,
}

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// `kill -9` of workers, which are replaced.
    Kill,
    /// A worker that hangs for a while.
    Stop,
    /// A worker that is cut off from others for a while.
    Partition,
    /// `kill -9` of a coordinator, which is started again.
    Coordinator,
    /// etcd is killed, or hangs for a while.
    Etcd,
    /// The object store is killed, or hangs for a while.
    Store,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] =
        [Self::Kill, Self::Stop, Self::Partition, Self::Coordinator, Self::Etcd, Self::Store];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Partition => "partition",
            Self::Coordinator => "coordinator",
            Self::Etcd => "etcd",
            Self::Store => "store",
        })
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|kind| kind.to_string() == text);
        named.ok_or_else(|| format!("there is no fault `{text}`"))
    }
}

impl Options {
    /// Reads the command line.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and what is right.
    pub(crate) fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            job: None,
            workers: 4,
            kinds: Kind::ALL.to_vec(),
            seed: 1,
            time: Duration::from_secs(120),
        };
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| wrong(&format!("{name} wants a value")))?;
            options.set(&name, &value).map_err(|problem| wrong(&problem))?;
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let no_number = |_| format!("{name}: {value} is no number");
        match name {
            "--job" => self.job = Some(value.into()),
            "--workers" => self.workers = value.parse().map_err(no_number)?,
            "--faults" => self.kinds = value.split(',').map(str::parse).collect::<Result<_, _>>()?,
            "--seed" => self.seed = value.parse().map_err(no_number)?,
            "--minutes" => {
                let minutes: f64 = value.parse().map_err(|_| format!("{name}: {value} is no number"))?;
                self.time = Duration::try_from_secs_f64(minutes * 60.0).map_err(|error| error.to_string())?;
            }
            _ => return Err(format!("unknown option {name}")),
        }
        match self.workers {
            1..=64 => Ok(()),
            workers => Err(format!("--workers: {workers}, expected 1 to 64")),
        }
    }
}

fn wrong(problem: &str) -> String {
    format!("error: {problem}\n{USAGE}")
}
