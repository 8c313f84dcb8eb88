//! Rows that are kept as they were before they were encoded: those of the
//! validation and the test split, so that a model can be measured on any part of
//! them that is named by raw columns.
//!
//! They are Parquet files in the order of the encoded rows. Lists and bytes are left
//! out: nobody names a part of the rows by the pixels of an image. [`RawRows`](crate::RawRows)
//! reads them.

use arrow::{
    array::{BooleanArray, RecordBatch},
    compute::filter_record_batch,
    datatypes::{Field, SchemaRef},
};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};

use crate::{
    ColumnProfile, PrepareError, Sketches, Split,
    build::{Outlet, Part},
    census::Census,
    clean::Batches,
    intake::{Rows, is_bytes, is_hidden},
    manifest::SHARD_BYTES,
    weigh::Weigher,
};

/// The splits whose rows are kept.
const KEPT: [Split; 2] = [Split::Validation, Split::Test];

/// Sends the rows to `outlet` that `splits` puts into the splits that are kept, and takes a census of all. Those of the
/// training split are weighed, where that is asked for.
pub(crate) fn send(
    batches: &Batches<'_>,
    splits: &[Option<Split>],
    mut weigher: Option<&mut Weigher<'_>>,
    outlet: &Outlet,
) -> Result<(Vec<ColumnProfile>, Sketches), PrepareError> {
    let changed = || PrepareError::Changed { path: "the source".into() };
    let mut files = KEPT.map(Kept::new);
    let (mut seen, mut all) = (0, None::<Census>);
    let work = |_, rows: Rows| {
        let batch = visible(&rows.batch);
        Ok((Census::of(&batch), batch))
    };
    batches.read(work, |(census, batch)| {
        let of_rows = splits.get(seen..seen + batch.num_rows()).ok_or_else(changed)?;
        seen += batch.num_rows();
        all.get_or_insert_with(|| Census::new(&batch.schema())).add(census);
        if let Some(weigher) = &mut weigher {
            weigher.add(&batch, of_rows)?;
        }
        let named = named(&batch);
        files.iter_mut().try_for_each(|file| file.add(&named, of_rows, outlet))
    })?;
    files.into_iter().try_for_each(|file| file.finish(outlet))?;
    Ok(all.map(Census::finish).unwrap_or_default())
}

/// The rows of a split, while they are gathered.
struct Kept {
    split: Split,
    number: usize,
    rows: u64,
    writer: Option<ArrowWriter<Vec<u8>>>,
}

impl Kept {
    fn new(split: Split) -> Self {
        Self { split, number: 0, rows: 0, writer: None }
    }

    fn add(
        &mut self,
        batch: &RecordBatch,
        splits: &[Option<Split>],
        outlet: &Outlet,
    ) -> Result<(), PrepareError> {
        let ours: BooleanArray = splits.iter().map(|split| Some(*split == Some(self.split))).collect();
        let rows = filter_record_batch(batch, &ours).map_err(|error| failed(&error))?;
        if rows.num_rows() == 0 || rows.num_columns() == 0 {
            return Ok(());
        }
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => self.writer.insert(writer(rows.schema())?),
        };
        writer.write(&rows).map_err(|error| failed(&error))?;
        self.rows += rows.num_rows() as u64;
        if writer.bytes_written() + writer.in_progress_size() > SHARD_BYTES {
            self.send(outlet)?;
        }
        Ok(())
    }

    fn finish(mut self, outlet: &Outlet) -> Result<(), PrepareError> {
        self.send(outlet)
    }

    fn send(&mut self, outlet: &Outlet) -> Result<(), PrepareError> {
        let Some(mut writer) = self.writer.take() else { return Ok(()) };
        writer.flush().map_err(|error| failed(&error))?;
        let content = writer.into_inner().map_err(|error| failed(&error))?;
        let (split, number, rows) = (self.split, self.number, std::mem::take(&mut self.rows));
        self.number += 1;
        outlet.send(Part::Raw { split, number, rows, content: content.into() })
    }
}

/// A Parquet file in memory.
pub(crate) fn writer(schema: SchemaRef) -> Result<ArrowWriter<Vec<u8>>, PrepareError> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        // The name of the code that wrote a file would make its bytes others with each version.
        .set_created_by("phalanx".to_owned());
    ArrowWriter::try_new(Vec::new(), schema, Some(properties.build())).map_err(|error| failed(&error))
}

/// The columns that are not hidden.
pub(crate) fn visible(batch: &RecordBatch) -> RecordBatch {
    project(batch, |field| !is_hidden(field.name()))
}

/// The columns by which somebody may name a part of the rows.
fn named(batch: &RecordBatch) -> RecordBatch {
    project(batch, |field| !field.data_type().is_nested() && !is_bytes(field.data_type()))
}

fn project(batch: &RecordBatch, is_kept: impl Fn(&Field) -> bool) -> RecordBatch {
    let schema = batch.schema();
    let fields = schema.fields().iter().enumerate();
    let kept: Vec<usize> = fields.filter(|(_, field)| is_kept(field)).map(|(index, _)| index).collect();
    batch.project(&kept).expect("invariant: the columns are those of the batch")
}

pub(crate) fn failed(error: &dyn std::error::Error) -> PrepareError {
    PrepareError::Scratch { path: "memory".into(), reason: error.to_string() }
}
