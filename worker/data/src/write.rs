//! The third pass: every row is encoded and goes into a shard of its split. At
//! most one shard of each split is held in memory.

use crate::{
    Encoder, Split,
    error::PrepareError,
    manifest::SHARD_BYTES,
    plan::Plan,
    profile::Profile,
    shard::{Shard, ShardBuilder},
    source::{Table, TextFile},
    split::Division,
};

/// Where shards go; an error ends the pass.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(Shard) -> Result<(), PrepareError>;

/// Writes every row of a table, and tells in `splits` where each went.
pub(crate) fn write_table(
    table: &Table,
    plan: &Plan,
    profile: &Profile,
    division: &Division,
    encoder: &Encoder,
    splits: &mut Vec<Split>,
    mut progress: impl FnMut(f32) -> Result<(), PrepareError>,
    sink: Sink<'_>,
) -> Result<(), PrepareError> {
    let changed = || PrepareError::Changed { path: table.path().to_owned() };
    let mut builders: Option<[ShardBuilder; 3]> = None;
    let mut walk = division.walk();
    for chunk in table.chunks(&plan.selected())? {
        let chunk = chunk?;
        let (rows, read) = (chunk.rows, chunk.read);
        let cells = chunk.columns.last().ok_or_else(changed)?;
        let targets = profile.target.read(cells, rows).ok_or_else(changed)?;
        let features = encoder.encode(chunk, table.path())?;
        let builders = builders.get_or_insert_with(|| {
            Split::ALL.map(|split| ShardBuilder::new(split, encoder.width(), &features, &targets))
        });
        for row in 0..rows {
            let split = walk.next(targets.class(row)).ok_or_else(changed)?;
            splits.push(split);
            if let Some(shard) = builders[split as usize].push(&features, &targets, row) {
                sink(shard)?;
            }
        }
        progress(read)?;
    }
    for shard in builders.iter_mut().flatten().filter_map(ShardBuilder::finish) {
        sink(shard)?;
    }
    Ok(())
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

/// Windows in a stretch: each needs the byte after it.
pub(crate) fn windows(bytes: u64, context: usize) -> u64 {
    bytes.saturating_sub(1) / context as u64
}
