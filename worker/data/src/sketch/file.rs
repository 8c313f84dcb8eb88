//! The file that sketches are in: Parquet, a row for each column.

use std::sync::Arc;

use arrow::{
    array::{Array as _, ArrayRef, AsArray as _, BinaryArray, RecordBatch, StringArray, UInt64Array},
    datatypes::{DataType, Field, Schema, UInt64Type},
};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::{
    Sketches,
    column::{ColumnSketch, distinct_bytes, read_distinct},
    empty,
    kll::Kll,
};
use crate::{
    PrepareError,
    kept::{failed, writer},
};

/// Columns that are written at once.
const ROWS: usize = 256;

/// Writes sketches down.
pub(super) fn write(columns: &[ColumnSketch]) -> Result<Bytes, PrepareError> {
    let mut writer = writer(batch(&[]).schema())?;
    for some in columns.chunks(ROWS) {
        writer.write(&batch(some)).map_err(|error| failed(&error))?;
    }
    Ok(writer.into_inner().map_err(|error| failed(&error))?.into())
}

fn batch(columns: &[ColumnSketch]) -> RecordBatch {
    let text = |of: fn(&ColumnSketch) -> &str| -> ArrayRef {
        Arc::new(columns.iter().map(|column| Some(of(column))).collect::<StringArray>())
    };
    let number = |of: fn(&ColumnSketch) -> u64| -> ArrayRef {
        Arc::new(columns.iter().map(of).collect::<UInt64Array>())
    };
    let sketch = |of: &dyn Fn(&ColumnSketch) -> Option<Vec<u8>>| -> ArrayRef {
        Arc::new(columns.iter().map(of).collect::<BinaryArray>())
    };
    let cells: [(&str, bool, ArrayRef); 7] = [
        ("column", false, text(ColumnSketch::name)),
        ("type", false, text(ColumnSketch::data_type)),
        ("rows", false, number(ColumnSketch::rows)),
        ("missing", false, number(ColumnSketch::missing)),
        ("kll_doubles", true, sketch(&|column| column.numbers.as_ref().map(Kll::to_bytes))),
        ("hll", false, sketch(&|column| Some(distinct_bytes(&column.distinct)))),
        ("frequent", true, sketch(&|column| column.frequent.as_ref().map(|frequent| frequent.to_bytes()))),
    ];
    let fields: Vec<Field> = cells
        .iter()
        .map(|(name, nullable, cells)| Field::new(*name, cells.data_type().clone(), *nullable))
        .collect();
    let cells = cells.into_iter().map(|(_, _, cells)| cells).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), cells)
        .expect("invariant: all have a cell for each column")
}

/// Reads what [`write`] has written: or why not.
pub(super) fn read(content: Bytes) -> Result<Sketches, String> {
    let told = |error: parquet::errors::ParquetError| error.to_string();
    let reader = ParquetRecordBatchReaderBuilder::try_new(content)
        .and_then(|builder| builder.build())
        .map_err(told)?;
    let expected = batch(&[]).schema();
    let mut columns = Vec::new();
    for batch in reader {
        let batch = batch.map_err(|error| error.to_string())?;
        if batch.schema().fields() != expected.fields() {
            return Err("expected sketches of columns, found other rows".to_owned());
        }
        for row in 0..batch.num_rows() {
            columns.push(column(&batch, row)?);
        }
    }
    Ok(Sketches::new(columns))
}

fn column(batch: &RecordBatch, row: usize) -> Result<ColumnSketch, String> {
    let text = |index: usize| batch.column(index).as_string::<i32>().value(row).to_owned();
    let number = |index: usize| batch.column(index).as_primitive::<UInt64Type>().value(row);
    let bytes = |index: usize| {
        let cells = batch.column(index).as_binary::<i32>();
        cells.is_valid(row).then(|| cells.value(row))
    };
    let (name, data_type) = (text(0), text(1));
    let damaged = |sketch: &str| format!("the {sketch} sketch of column `{name}` is damaged");
    // What a column has is told by its type.
    let parsed = data_type.parse::<DataType>().map_err(|error| error.to_string())?;
    let mut column = empty(&Field::new(&name, parsed, true));
    column.count(number(2), number(3));
    column.numbers = match (column.numbers, bytes(4)) {
        (Some(_), Some(bytes)) => Some(Kll::from_bytes(bytes).ok_or_else(|| damaged("KLL"))?),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => return Err(damaged("KLL")),
    };
    column.distinct = read_distinct(bytes(5).unwrap_or_default()).map_err(|_| damaged("HyperLogLog"))?;
    column.frequent = match (&column.frequent, bytes(6)) {
        (Some(kind), Some(bytes)) => Some(kind.read(bytes).map_err(|_| damaged("frequent items"))?),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => return Err(damaged("frequent items")),
    };
    Ok(column)
}

#[cfg(test)]
mod tests {
    use arrow::array::{BooleanArray, Float64Array, Int64Array, ListArray, types::Int64Type};

    use super::*;

    fn table(rows: usize) -> RecordBatch {
        let number = |row: usize| (!row.is_multiple_of(10)).then_some(row as f64 / 7.0);
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("x", Arc::new((0..rows).map(number).collect::<Float64Array>())),
            ("n", Arc::new((0..rows).map(|row| Some(row as i64 % 100 - 50)).collect::<Int64Array>())),
            (
                "t",
                Arc::new((0..rows).map(|row| Some(format!("text {}", row % 3_000))).collect::<StringArray>()),
            ),
            ("b", Arc::new((0..rows).map(|row| Some(row.is_multiple_of(3))).collect::<BooleanArray>())),
            (
                "l",
                Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(
                    (0..rows).map(|_| Some(vec![Some(1)])),
                )),
            ),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn check(sketches: &Sketches) {
        let [x, n, t, b, l] = sketches.columns() else { panic!("{sketches:?}") };
        assert_eq!((x.rows(), x.missing(), x.top(9).len()), (30_000, 3_000, 0));
        assert!((x.quantiles(&[0.5]).unwrap()[0] - 15_000.0 / 7.0).abs() < 0.011 * 30_000.0 / 7.0);
        assert!((x.distinct().estimate - 27_000.0).abs() < 27_000.0 * 0.05, "{:?}", x.distinct());
        assert_eq!(
            (n.distinct().estimate.round(), n.top(2)[0].at_least, n.top(2)[1].at_most),
            (100.0, 300, 300)
        );
        assert!((t.distinct().estimate - 3_000.0).abs() < 150.0, "{:?}", t.distinct());
        assert!(t.quantiles(&[0.5]).is_none() && t.rank(1.0).is_none());
        let expected = [("false", 20_000), ("true", 10_000)];
        assert!(b.top(9).iter().map(|top| (top.value.as_str(), top.at_least)).eq(expected));
        assert_eq!((l.rows(), l.distinct().estimate, l.top(1).len()), (30_000, 0.0, 0));
    }

    #[test]
    fn sketches_of_parts_merged_are_those_of_all_and_are_read_as_they_were_written() {
        let whole = table(30_000);
        let parts = (0..30_000).step_by(4_096).map(|from| whole.slice(from, 4_096.min(30_000 - from)));
        let merge = |mut all: Sketches, part: RecordBatch| {
            all.merge(Sketches::of(&part));
            all
        };
        let merged = parts.clone().fold(Sketches::default(), merge);
        check(&merged);
        let written = merged.to_file().unwrap();
        check(&read(written.clone()).unwrap());
        assert!(parts.fold(Sketches::default(), merge).to_file().unwrap() == written);
    }

    #[test]
    fn a_damaged_file_is_refused() {
        assert!(read(Bytes::from_static(b"PAR1")).is_err());
        let mut broken = Sketches::of(&table(30_000)).columns().to_vec();
        broken.truncate(1);
        let mut bytes = batch(&broken);
        let mut columns = bytes.columns().to_vec();
        columns[4] = Arc::new(BinaryArray::from(vec![Some(&b"no sketch"[..])]));
        bytes = RecordBatch::try_new(bytes.schema(), columns).unwrap();
        assert_eq!(column(&bytes, 0).unwrap_err(), "the KLL sketch of column `x` is damaged");
    }
}
