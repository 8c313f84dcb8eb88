//! Measuring a split on all ranks together.
//!
//! Each lane takes a fixed run of the split's rows, in chunks of a fixed size, so
//! that every prediction has the same bits wherever it is computed; they are
//! gathered round by round in the order of the lanes, so that the metrics do, too.
//! A round is short, so that no rank waits long for another and messages stay small.

use std::ops::Range;

use phalanx_collective::{AbortHandle, CollectiveError, Group};
use phalanx_data::{Batch, Dataset, Split, TargetKind, Targets};
use phalanx_evaluate::{ClassScores, NextBytes, Numbers, Predictions};
use phalanx_protocol::spec::{JobSpec, MetricName};

use crate::{error::TrainError, learner::Learner};

/// Rows computed at once where a row is a handful of numbers.
pub(crate) const CHUNK_ROWS: u64 = 256;

/// Rows computed at once where a row is a text.
const CHUNK_TEXTS: u64 = 32;

/// Chunks that each lane computes in one round.
const ROUND_CHUNKS: u64 = 16;

/// Rounds whose rows are asked for before they are computed.
const ROUNDS_AHEAD: u64 = 8;

/// Predictions for all rows of `split`, the same on every rank. Collective: all
/// ranks of the group must call it.
pub(crate) fn predict_split(
    learner: &dyn Learner,
    group: &mut Group,
    dataset: &Dataset,
    split: Split,
    lanes: u32,
) -> Result<Predictions, TrainError> {
    let abort = group.abort_handle();
    let rows = Rows {
        count: dataset.rows(split),
        ahead: &|rows| dataset.prefetch_rows(split, rows),
        gather: &|rows| {
            let batch = dataset.gather_while(split, rows, &|| !abort.is_aborted())?;
            Ok(batch.ok_or(CollectiveError::Aborted)?)
        },
    };
    predict(learner, group, lanes, &rows)
}

/// Rows to predict.
pub(crate) struct Rows<'a> {
    /// How many.
    pub(crate) count: u64,
    /// Has those fetched that will soon be asked for.
    pub(crate) ahead: &'a dyn Fn(Range<u64>),
    /// What those with these numbers are like.
    pub(crate) gather: &'a dyn Fn(&[u64]) -> Result<Batch, TrainError>,
}

/// Predictions for `rows`, the same on every rank. Collective.
pub(crate) fn predict(
    learner: &dyn Learner,
    group: &mut Group,
    lanes: u32,
    rows: &Rows<'_>,
) -> Result<Predictions, TrainError> {
    let Rows { count: rows, ahead, gather } = *rows;
    let abort = group.abort_handle();
    let chunk_rows = match learner.schema().target {
        TargetKind::NextByte | TargetKind::NextToken { .. } => CHUNK_TEXTS,
        TargetKind::Classes(_) | TargetKind::Number { .. } => CHUNK_ROWS,
    };
    let round_rows = chunk_rows * ROUND_CHUNKS;
    let rounds = rows.div_ceil(lanes.into()).div_ceil(round_rows);
    let mut predictions = empty(&learner.schema().target);
    for round in 0..rounds {
        let mut mine = Vec::new();
        for lane in group.lanes() {
            let share = share_of(rows, lane, lanes);
            let first = share.start + round * round_rows;
            ahead(first..share.end.min(first + ROUNDS_AHEAD * round_rows));
            for chunk in chunks(first..share.end.min(first + round_rows), chunk_rows) {
                still_wanted(&abort)?;
                append(learner, &gather(&chunk)?, &mut mine);
            }
        }
        for (rank, message) in group.all_gather(&mine)?.iter().enumerate() {
            take_in(&mut predictions, message).ok_or(TrainError::Message { rank })?;
        }
    }
    Ok(predictions)
}

/// The metrics that a job names: those to show, those of gates, and the one that early stopping
/// watches. The job file was checked, so all are metrics' names.
pub(crate) fn asked(spec: &JobSpec) -> Vec<MetricName> {
    let shown = spec.evaluate.metrics.iter().flatten().map(String::as_str);
    let gates = spec.evaluate.gates.iter().filter_map(|gate| gate.figure.metric());
    let watched = spec.train.early_stop.iter().map(|early_stop| early_stop.metric.as_str());
    shown.chain(gates).chain(watched).filter_map(|name| MetricName::parse(name).ok()).collect()
}

/// The metrics that a job names beside those of gates: those to show, and the one that early stopping
/// watches.
pub(crate) fn watched(spec: &JobSpec) -> Vec<MetricName> {
    let shown = spec.evaluate.metrics.iter().flatten().map(String::as_str);
    let watched = spec.train.early_stop.iter().map(|early_stop| early_stop.metric.as_str());
    shown.chain(watched).filter_map(|name| MetricName::parse(name).ok()).collect()
}

/// An error where the group was told to end: between two steps nothing else asks.
pub(crate) fn still_wanted(abort: &AbortHandle) -> Result<(), TrainError> {
    if abort.is_aborted() { Err(CollectiveError::Aborted.into()) } else { Ok(()) }
}

/// The rows of lane `lane`.
pub(crate) fn share_of(rows: u64, lane: u32, lanes: u32) -> Range<u64> {
    let border = |lane: u32| {
        u64::try_from(u128::from(rows) * u128::from(lane) / u128::from(lanes))
            .expect("invariant: a share is no larger than the whole")
    };
    border(lane)..border(lane + 1)
}

pub(crate) fn chunks(rows: Range<u64>, size: u64) -> impl Iterator<Item = Vec<u64>> {
    rows.clone().step_by(size as usize).map(move |first| (first..(first + size).min(rows.end)).collect())
}

/// Appends the predictions for one chunk: little-endian words, scores before truth.
fn append(learner: &dyn Learner, batch: &Batch, message: &mut Vec<u8>) {
    match &learner.schema().target {
        target @ (TargetKind::NextByte | TargetKind::NextToken { .. }) => {
            let surprise = learner.surprise(batch);
            let bytes: Vec<u32> = next_bytes(target, &batch.targets).collect();
            let window = (surprise.len() / batch.rows.max(1)).max(1);
            for (nats, bytes) in surprise.chunks_exact(window).zip(bytes.chunks_exact(window)) {
                let nats: f64 = nats.iter().map(|nats| f64::from(*nats)).sum();
                let bytes: u64 = bytes.iter().copied().map(u64::from).sum();
                message.extend(nats.to_le_bytes());
                message.extend(bytes.to_le_bytes());
            }
        }
        target @ (TargetKind::Classes(_) | TargetKind::Number { .. }) => {
            append_rows(target, &learner.scores(batch), batch, message);
        }
    }
}

fn append_rows(target: &TargetKind, scores: &[f32], batch: &Batch, message: &mut Vec<u8>) {
    for row in 0..batch.rows {
        match (target, &batch.targets) {
            (TargetKind::Classes(classes), Targets::Classes(truths)) => {
                let width = classes.len();
                for probability in softmax(&scores[row * width..(row + 1) * width]) {
                    message.extend(probability.to_le_bytes());
                }
                message.extend(truths[row].to_le_bytes());
            }
            (TargetKind::Number { mean, deviation }, Targets::Numbers(truths)) => {
                message.extend((f64::from(scores[row]) * deviation + mean).to_le_bytes());
                message.extend(f64::from(truths[row]).to_le_bytes());
            }
            _ => unreachable!("a data set's targets are of its schema's kind"),
        }
    }
}

fn empty(target: &TargetKind) -> Predictions {
    match target {
        TargetKind::Classes(classes) => Predictions::Classes(ClassScores {
            classes: classes.clone(),
            probabilities: Vec::new(),
            truths: Vec::new(),
            threshold: None,
        }),
        TargetKind::Number { .. } => {
            Predictions::Numbers(Numbers { predictions: Vec::new(), truths: Vec::new() })
        }
        TargetKind::NextByte | TargetKind::NextToken { .. } => {
            Predictions::NextBytes(NextBytes { loss_nats: Vec::new(), bytes: Vec::new() })
        }
    }
}

/// Takes in one rank's message; `None` where it is no whole number of rows.
fn take_in(predictions: &mut Predictions, message: &[u8]) -> Option<()> {
    match predictions {
        Predictions::Classes(scores) => {
            let rows = message.chunks_exact(4 * (scores.classes.len() + 1));
            rows.remainder().is_empty().then_some(())?;
            for row in rows {
                let (probabilities, truth) = row.split_at(row.len() - 4);
                let words = probabilities.chunks_exact(4).map(|word| word.try_into().ok());
                scores.probabilities.extend(words.map_while(|word| word.map(f32::from_le_bytes)));
                scores.truths.push(u32::from_le_bytes(truth.try_into().ok()?));
            }
        }
        Predictions::Numbers(numbers) => {
            for (prediction, truth) in pairs(message)? {
                numbers.predictions.push(f64::from_le_bytes(prediction));
                numbers.truths.push(f64::from_le_bytes(truth));
            }
        }
        Predictions::NextBytes(text) => {
            for (nats, bytes) in pairs(message)? {
                text.loss_nats.push(f64::from_le_bytes(nats));
                text.bytes.push(u32::try_from(u64::from_le_bytes(bytes)).ok()?);
            }
        }
    }
    Some(())
}

fn pairs(message: &[u8]) -> Option<impl Iterator<Item = ([u8; 8], [u8; 8])> + '_> {
    let rows = message.chunks_exact(16);
    rows.remainder().is_empty().then_some(())?;
    Some(rows.map_while(|row| Some((row[..8].try_into().ok()?, row[8..].try_into().ok()?))))
}

/// The bytes of each thing that follows in a text: one of a byte, some of a token. So what a model says of tokens can be
/// compared with what another says of bytes.
pub(crate) fn next_bytes<'a>(
    target: &'a TargetKind,
    targets: &'a Targets,
) -> Box<dyn Iterator<Item = u32> + 'a> {
    match (target, targets) {
        (TargetKind::NextByte, Targets::Bytes(bytes)) => Box::new(bytes.iter().map(|_| 1)),
        (TargetKind::NextToken { lengths }, Targets::Tokens(tokens)) => {
            Box::new(tokens.iter().map(|token| lengths[usize::from(*token)]))
        }
        _ => Box::new(std::iter::empty()),
    }
}

/// Probabilities of one row of logits.
pub(crate) fn softmax(logits: &[f32]) -> Vec<f32> {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = logits.iter().map(|logit| f64::from(logit - highest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| (power / sum) as f32).collect()
}
