//! Predictions of a cross-validation in one Parquet file: each row is predicted by the fold that has not trained on
//! it. The columns of [`write_predictions`](super::write_predictions) with `repeat` and `fold` before them.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, UInt32Array},
    datatypes::{DataType, Field, Schema},
    record_batch::RecordBatch,
};
use bytes::Bytes;
use parquet::errors::ParquetError;

use super::kept::{KeptPredictions, batch, writer};

/// What one fold says of the rows that it tests.
#[derive(Debug, Clone, PartialEq)]
pub struct FoldPredictions {
    /// Which division of the rows it is of, from 1.
    pub repeat: u32,
    /// Which fold, from 1.
    pub fold: u32,
    /// What it says. Samples are numbered within the fold.
    pub kept: KeptPredictions,
}

/// The file's content.
///
/// # Errors
///
/// Where there are no folds, or they have other classes than the first.
pub fn write_folds(folds: &[FoldPredictions]) -> Result<Bytes, ParquetError> {
    let mut open = None;
    for fold in folds {
        let rows = with_places(fold)?;
        let writer = match &mut open {
            Some(writer) => writer,
            None => open.insert(writer(rows.schema(), Vec::new())?),
        };
        writer.write(&rows)?;
    }
    let open = open.ok_or_else(|| ParquetError::General("there are no folds".to_owned()))?;
    open.into_inner().map(Bytes::from)
}

fn with_places(fold: &FoldPredictions) -> Result<RecordBatch, ParquetError> {
    let rows = batch(&fold.kept.predictions)?;
    let place = |number: u32| -> ArrayRef { Arc::new(UInt32Array::from(vec![number; rows.num_rows()])) };
    let columns = [place(fold.repeat), place(fold.fold)].into_iter().chain(rows.columns().iter().cloned());
    let named = ["repeat", "fold"].map(|name| Arc::new(Field::new(name, DataType::UInt32, false)));
    let fields: Vec<_> = named.into_iter().chain(rows.schema().fields().iter().cloned()).collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.collect())?)
}

#[cfg(test)]
mod tests {
    use arrow::{array::AsArray as _, datatypes::UInt32Type};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use phalanx_evaluate::{Numbers, Predictions};

    use super::*;

    #[test]
    fn the_folds_lie_one_below_the_other() {
        let fold = |fold, predictions: Vec<f64>| FoldPredictions {
            repeat: 1,
            fold,
            kept: KeptPredictions {
                dataset: "ab".to_owned(),
                split: "test".to_owned(),
                predictions: Predictions::Numbers(Numbers { truths: predictions.clone(), predictions }),
            },
        };
        let content = write_folds(&[fold(1, vec![1.0, 2.0]), fold(2, vec![3.0])]).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(content).unwrap().build().unwrap();
        let mut folds = Vec::new();
        for batch in reader {
            folds.extend_from_slice(batch.unwrap()["fold"].as_primitive::<UInt32Type>().values());
        }
        assert_eq!(folds, [1, 1, 2]);
        assert!(write_folds(&[]).is_err());
    }
}
