//! The third pass: every row is encoded and goes into a shard of its split. At
//! most one shard of each split is held in memory, and a few chunks of encoded rows.

use crate::{
    Encoder, Split,
    encoder::TokenRules,
    error::PrepareError,
    manifest::SHARD_BYTES,
    pass::{Divided, Pass},
    shard::{Shard, ShardBuilder},
    source::TextFile,
    split::{LeakageCheck, row_hashes},
    tokens::Pieces,
};

/// Where shards go; an error ends the pass.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(Shard) -> Result<(), PrepareError>;

/// Writes every row of a table that is in a split, and tells where each went.
pub(crate) fn write_table(
    pass: &Pass<'_>,
    leakage: &mut LeakageCheck,
    encoder: &Encoder,
    mut progress: impl FnMut(f32) -> Result<(), PrepareError>,
    sink: Sink<'_>,
) -> Result<Vec<Option<Split>>, PrepareError> {
    let Pass { table, plan, profile, .. } = *pass;
    let mut builders: Option<[ShardBuilder; 3]> = None;
    let mut all = Vec::with_capacity(profile.rows as usize);
    let are_hashed = leakage.is_about_rows();
    let work = |Divided { mut chunk, targets, splits }: Divided| {
        let train = (0..chunk.rows).filter(|row| are_hashed && splits[*row] == Some(Split::Train));
        let hashes = row_hashes(&chunk, plan.features.columns(), train);
        let features = encoder.encode(&mut chunk, table.path())?;
        Ok((chunk, targets, splits, hashes, features))
    };
    pass.read(work, |(chunk, targets, splits, hashes, features)| {
        leakage.writing(&chunk.places, &hashes);
        let builders = builders.get_or_insert_with(|| {
            Split::ALL.map(|split| ShardBuilder::new(split, encoder.width(), &features, &targets))
        });
        for (row, split) in splits.iter().enumerate() {
            let Some(split) = split else { continue };
            if let Some(shard) = builders[*split as usize].push(&features, &targets, row) {
                sink(shard)?;
            }
        }
        all.extend(splits);
        progress(chunk.read)
    })?;
    for shard in builders.iter_mut().flatten().filter_map(ShardBuilder::finish) {
        sink(shard)?;
    }
    Ok(all)
}

/// Writes every window of a text, whose splits are stretches of it, one after the other.
///
/// Window `i` of a stretch is its bytes `i·context ..= (i + 1)·context`: the last
/// one is to be predicted only, and begins the next window. A shard begins with
/// the byte that ended the one before.
pub(crate) fn write_text(
    text: &mut TextFile,
    context: usize,
    stretches: [u64; 3],
    mut progress: impl FnMut(f32) -> Result<(), PrepareError>,
    sink: Sink<'_>,
) -> Result<(), PrepareError> {
    let shard_windows = (SHARD_BYTES / context).max(1) as u64;
    let mut start = 0;
    for (split, bytes) in Split::ALL.into_iter().zip(stretches) {
        let windows = windows(bytes, context);
        for (number, first) in (0..windows).step_by(shard_windows as usize).enumerate() {
            let rows = shard_windows.min(windows - first);
            let from = start + first * context as u64;
            let content = text.read(from, rows as usize * context + 1)?;
            progress(((from + content.len() as u64) as f64 / text.bytes() as f64) as f32)?;
            sink(Shard::of_text(split, number as u64, rows, content))?;
        }
        start += bytes;
    }
    Ok(())
}

/// Writes every window of a text that is cut into tokens, as [`write_text`] does with bytes. Gives the windows of each
/// split, and the tokens that they were made of.
pub(crate) fn write_tokens(
    text: &mut TextFile,
    rules: &TokenRules,
    stretches: [u64; 3],
    mut progress: impl FnMut(f32) -> Result<(), PrepareError>,
    sink: Sink<'_>,
) -> Result<[[u64; 3]; 2], PrepareError> {
    let TokenRules { context, tokenizer } = rules;
    let shard_windows = (SHARD_BYTES / (context * size_of::<u16>())).max(1);
    let (mut start, mut windows, mut tokens) = (0, [0; 3], [0; 3]);
    for (split, bytes) in Split::ALL.into_iter().zip(stretches) {
        let (mut pieces, mut number, mut waiting) = (Pieces::new(start, bytes), 0, Vec::new());
        loop {
            let piece = pieces.next(text)?;
            let is_last = piece.is_none();
            let encoded = piece.map(|piece| tokenizer.encode(&piece)).unwrap_or_default();
            tokens[split as usize] += encoded.len() as u64;
            waiting.extend(encoded);
            progress((pieces.at as f64 / text.bytes() as f64) as f32)?;
            while waiting.len() > shard_windows * context || (is_last && waiting.len() > *context) {
                let rows = shard_windows.min((waiting.len() - 1) / context);
                // The last token is predicted only, and begins the next window.
                let content = waiting[..rows * context + 1].to_vec();
                waiting.drain(..rows * context);
                sink(Shard::of_tokens(split, number, rows as u64, content))?;
                windows[split as usize] += rows as u64;
                number += 1;
            }
            if is_last {
                break;
            }
        }
        start += bytes;
    }
    Ok([windows, tokens])
}

/// Windows in a stretch: each needs the byte after it.
pub(crate) fn windows(bytes: u64, context: usize) -> u64 {
    bytes.saturating_sub(1) / context as u64
}
