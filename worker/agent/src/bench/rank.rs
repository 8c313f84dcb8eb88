//! A worker's process in a measurement of several: what it is told over standard
//! input, a line of JSON an order, and what it answers over standard output.
//!
//! ```text
//! bench ── Open: where the data set lies ─────────────────► rank
//! bench ◄─ Ready: where it listens ──────────────────────── rank
//! bench ── Make: a place in a generation, how long ───────► rank
//! bench ◄─ Made: steps, and how long they took ──────────── rank    and so on, to the end of input
//! ```
//!
//! Any order may be answered by Failed.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
};

use phalanx_data::{Cache, Dataset};
use phalanx_protocol::reference::DatasetRef;
use phalanx_storage::Store;
use phalanx_train::Tasks;
use serde::{Deserialize, Serialize};

use super::{
    MeasureError, listen, part,
    turn::{Bench, Lap, Turn},
};
use crate::parent::die_with_parent;

/// What a process is told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Map the data set. Comes first.
    Open { store: PathBuf, cache: PathBuf, dataset: DatasetRef },
    /// Make steps.
    Make(Box<Turn>),
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// It is ready for turns.
    Ready { listens_at: SocketAddr },
    /// The turn is made.
    Made(Lap),
    /// It could not be done.
    Failed { reason: String },
}

/// What a process does that [`StepBench`](super::StepBench) has started: one worker's part
/// of a measurement, told over standard input and output. It ends with the process `parent`.
///
/// Waits for orders on the thread that it is called on.
///
/// # Errors
///
/// Where standard input or output fail. What fails in a turn is told to the parent.
pub async fn serve_steps(parent: u32, tasks: Tasks) -> Result<(), MeasureError> {
    die_with_parent(parent).map_err(|error| part("watch on its parent", &error))?;
    let talking = |error: io::Error| part("talk with its parent", &error);
    let mut bench = None;
    for line in io::stdin().lines() {
        let line = line.map_err(talking)?;
        let answer = match obey(&line, &mut bench, &tasks).await {
            Ok(answer) => answer,
            Err(error) => Answer::Failed { reason: error.to_string() },
        };
        let answer = serde_json::to_string(&answer).map_err(io::Error::from).map_err(talking)?;
        let mut output = io::stdout().lock();
        writeln!(output, "{answer}").and_then(|()| output.flush()).map_err(talking)?;
    }
    Ok(())
}

async fn obey(line: &str, bench: &mut Option<Bench>, tasks: &Tasks) -> Result<Answer, MeasureError> {
    let refused = |reason: String| MeasureError::Part { part: "order", reason };
    match serde_json::from_str(line).map_err(|error| refused(error.to_string()))? {
        Order::Open { store, cache, dataset } => {
            let store = Store::open(&store.to_string_lossy())?;
            let cache = Cache::new(cache, Cache::BYTES_MAX);
            let dataset = Arc::new(Dataset::open(&dataset, &store, &cache).await?);
            let bench = bench.insert(Bench::new(listen()?, dataset, tasks.clone())?);
            Ok(Answer::Ready { listens_at: bench.listens_at() })
        }
        Order::Make(turn) => {
            let bench = bench.as_ref().ok_or_else(|| refused("there is no data set yet".to_owned()))?;
            Ok(Answer::Made(bench.make(*turn).await?))
        }
    }
}
