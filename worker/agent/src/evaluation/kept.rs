//! Predictions of a split as they are kept beside a model: Parquet, a row for each sample, with its
//! number in the split, what is true, and what the model says as it is served. The same rows of the
//! same dataset version have the same numbers, so that two versions can be compared row by row.
//!
//! | target | columns |
//! | --- | --- |
//! | classes | `sample`, `truth`, `prediction`, and `probability[class]` for each class in their order |
//! | a number | `sample`, `truth`, `prediction` |
//! | a text | `sample`, `nats`, `bytes` of each window |

use std::sync::Arc;

use arrow::{
    array::{
        Array as _, ArrayRef, AsArray as _, Float32Array, Float64Array, StringArray, UInt32Array, UInt64Array,
    },
    datatypes::{Field, Float32Type, Float64Type, Schema, SchemaRef, UInt32Type, UInt64Type},
    record_batch::RecordBatch,
};
use bytes::Bytes;
use parquet::{
    arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder},
    basic::{Compression, ZstdLevel},
    errors::ParquetError,
    file::{metadata::KeyValue, properties::WriterProperties},
};
use phalanx_evaluate::{ClassScores, NextBytes, Numbers, Predictions};

/// Keys of what a file says of itself.
const DATASET: &str = "phalanx.dataset";
const SPLIT: &str = "phalanx.split";
const THRESHOLD: &str = "phalanx.threshold";

/// Predictions of the rows of a split, all of them, in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptPredictions {
    /// The dataset version; a file's name where it is none.
    pub dataset: String,
    /// The split.
    pub split: String,
    /// What the model says, as it is served.
    pub predictions: Predictions,
}

/// A file that is none of predictions.
#[derive(Debug, thiserror::Error)]
pub enum NotKept {
    /// It is no Parquet file, or a damaged one.
    #[error("these are no predictions: {0}")]
    Parquet(#[from] ParquetError),
    /// It has other columns, or other rows.
    #[error("these are no predictions: {0}")]
    Form(String),
}

/// The file's content.
///
/// # Errors
///
/// Where there are more rows than Parquet holds.
pub fn write_predictions(kept: &KeptPredictions) -> Result<Bytes, ParquetError> {
    let threshold = match &kept.predictions {
        Predictions::Classes(scores) => scores.threshold,
        Predictions::Numbers(_) | Predictions::NextBytes(_) => None,
    };
    let about = [
        (DATASET, Some(kept.dataset.clone())),
        (SPLIT, Some(kept.split.clone())),
        (THRESHOLD, threshold.map(|threshold| threshold.to_string())),
    ];
    let about = about.into_iter().filter_map(|(key, value)| Some(KeyValue::new(key.to_owned(), value?)));
    let batch = batch(&kept.predictions)?;
    let mut writer = writer(batch.schema(), about.collect())?;
    writer.write(&batch)?;
    writer.into_inner().map(Bytes::from)
}

/// What writes a file with these columns that says this of itself: the same bytes each time.
pub(super) fn writer(schema: SchemaRef, about: Vec<KeyValue>) -> Result<ArrowWriter<Vec<u8>>, ParquetError> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_created_by("phalanx".to_owned())
        .set_key_value_metadata(Some(about))
        .build();
    ArrowWriter::try_new(Vec::new(), schema, Some(properties))
}

/// The predictions as columns.
pub(super) fn batch(predictions: &Predictions) -> Result<RecordBatch, ParquetError> {
    let (names, columns): (Vec<String>, Vec<ArrayRef>) = columns(predictions).into_iter().unzip();
    let field = |(name, column): (&String, &ArrayRef)| Field::new(name, column.data_type().clone(), false);
    let fields: Vec<Field> = names.iter().zip(&columns).map(field).collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

fn columns(predictions: &Predictions) -> Vec<(String, ArrayRef)> {
    let samples: UInt64Array = (0..predictions.rows() as u64).collect();
    let mut columns: Vec<(String, ArrayRef)> = vec![("sample".to_owned(), Arc::new(samples))];
    let mut add = |name: &str, column: ArrayRef| columns.push((name.to_owned(), column));
    match predictions {
        Predictions::Classes(scores) => {
            let name = |class: u32| scores.classes.get(class as usize).map(String::as_str);
            let truths: StringArray = scores.truths.iter().map(|truth| name(*truth)).collect();
            add("truth", Arc::new(truths));
            add("prediction", Arc::new(scores.decisions().into_iter().map(name).collect::<StringArray>()));
            for (class, name) in scores.classes.iter().enumerate() {
                let probabilities: Float32Array = scores.rows().map(|row| Some(row[class])).collect();
                add(&format!("probability[{name}]"), Arc::new(probabilities));
            }
        }
        Predictions::Numbers(numbers) => {
            add("truth", Arc::new(Float64Array::from(numbers.truths.clone())));
            add("prediction", Arc::new(Float64Array::from(numbers.predictions.clone())));
        }
        Predictions::NextBytes(text) => {
            add("nats", Arc::new(Float64Array::from(text.loss_nats.clone())));
            add("bytes", Arc::new(UInt32Array::from(text.bytes.clone())));
        }
    }
    columns
}

/// What a file holds.
///
/// # Errors
///
/// Where it was not written by [`write_predictions`], or is damaged.
pub fn read_predictions(content: Bytes) -> Result<KeptPredictions, NotKept> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(content)?;
    let schema = Arc::clone(builder.schema());
    let about = builder.metadata().file_metadata().key_value_metadata().cloned().unwrap_or_default();
    let said = |key: &str| about.iter().find(|said| said.key == key).and_then(|said| said.value.clone());
    let absent = |key: &str| NotKept::Form(format!("the file does not say its `{key}`"));
    let dataset = said(DATASET).ok_or_else(|| absent(DATASET))?;
    let split = said(SPLIT).ok_or_else(|| absent(SPLIT))?;
    let threshold = said(THRESHOLD).and_then(|text| text.parse().ok());
    let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    let mut rows = Rows::new(&names, threshold)?;
    for batch in builder.build()? {
        let batch = batch.map_err(|error| NotKept::Form(error.to_string()))?;
        rows.add(&batch)?;
    }
    Ok(KeptPredictions { dataset, split, predictions: rows.predictions })
}

/// Rows that were read so far.
struct Rows {
    predictions: Predictions,
    count: u64,
}

impl Rows {
    fn new(names: &[String], threshold: Option<f64>) -> Result<Self, NotKept> {
        let has = |name: &str| names.iter().any(|known| known == name);
        let of_class = |name: &String| Some(name.strip_prefix("probability[")?.strip_suffix(']')?.to_owned());
        let classes: Vec<String> = names.iter().filter_map(of_class).collect();
        let predictions = match (has("truth"), has("nats"), classes.is_empty()) {
            (true, _, false) => {
                let (probabilities, truths) = (Vec::new(), Vec::new());
                Predictions::Classes(ClassScores { classes, probabilities, truths, threshold })
            }
            (true, _, true) => Predictions::Numbers(Numbers { predictions: Vec::new(), truths: Vec::new() }),
            (false, true, _) => {
                Predictions::NextBytes(NextBytes { loss_nats: Vec::new(), bytes: Vec::new() })
            }
            (false, false, _) => {
                return Err(NotKept::Form(format!("found the columns {}", names.join(", "))));
            }
        };
        Ok(Self { predictions, count: 0 })
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<(), NotKept> {
        let column = |name: &str| {
            let column = batch.column_by_name(name).filter(|column| column.null_count() == 0);
            column.ok_or_else(|| NotKept::Form(format!("the column `{name}` is absent or has gaps")))
        };
        let other = |name: &str| NotKept::Form(format!("the column `{name}` is of another type"));
        let doubles = |name: &'static str| -> Result<Vec<f64>, NotKept> {
            let numbers = column(name)?.as_primitive_opt::<Float64Type>().ok_or_else(|| other(name))?;
            Ok(numbers.values().to_vec())
        };
        let samples = column("sample")?.as_primitive_opt::<UInt64Type>().ok_or_else(|| other("sample"))?;
        if !samples.values().iter().copied().eq(self.count..self.count + batch.num_rows() as u64) {
            return Err(NotKept::Form("rows are not in the order of their samples".to_owned()));
        }
        self.count += batch.num_rows() as u64;
        match &mut self.predictions {
            Predictions::Classes(scores) => {
                let truths = column("truth")?.as_string_opt::<i32>().ok_or_else(|| other("truth"))?;
                let mut each = Vec::new();
                for class in &scores.classes {
                    let name = format!("probability[{class}]");
                    let numbers = column(&name)?.as_primitive_opt::<Float32Type>();
                    each.push(numbers.ok_or_else(|| other(&name))?.values());
                }
                for row in 0..batch.num_rows() {
                    let truth = scores.classes.iter().position(|class| class == truths.value(row));
                    scores.truths.push(truth.ok_or_else(|| other("truth"))? as u32);
                    scores.probabilities.extend(each.iter().map(|numbers| numbers[row]));
                }
            }
            Predictions::Numbers(numbers) => {
                numbers.truths.extend(doubles("truth")?);
                numbers.predictions.extend(doubles("prediction")?);
            }
            Predictions::NextBytes(text) => {
                text.loss_nats.extend(doubles("nats")?);
                let bytes =
                    column("bytes")?.as_primitive_opt::<UInt32Type>().ok_or_else(|| other("bytes"))?;
                text.bytes.extend(bytes.values());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> [Predictions; 3] {
        [
            Predictions::Classes(ClassScores {
                classes: ["<=50K", ">50K"].map(str::to_owned).to_vec(),
                probabilities: vec![0.75, 0.25, 0.5, 0.5, 0.1, 0.9],
                truths: vec![0, 1, 1],
                threshold: Some(0.3),
            }),
            Predictions::Numbers(Numbers { predictions: vec![1.5, -0.0], truths: vec![2.0, 1e300] }),
            Predictions::NextBytes(NextBytes { loss_nats: vec![0.1, 7.0], bytes: vec![16, 16] }),
        ]
    }

    #[test]
    fn predictions_come_back_as_they_were_kept() {
        for predictions in all() {
            let kept = KeptPredictions { dataset: "ab".to_owned(), split: "test".to_owned(), predictions };
            let content = write_predictions(&kept).unwrap();
            assert_eq!(read_predictions(content.clone()).unwrap(), kept);
            assert_eq!(write_predictions(&kept).unwrap(), content, "the same bytes");
        }
    }

    #[test]
    fn what_holds_no_predictions_is_refused() {
        assert!(matches!(read_predictions(Bytes::from_static(b"PAR1")), Err(NotKept::Parquet(_))));
        let schema = Arc::new(Schema::new(vec![Field::new("x", arrow::datatypes::DataType::UInt64, false)]));
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(UInt64Array::from(vec![1]))]);
        let mut writer = ArrowWriter::try_new(Vec::new(), schema, None).unwrap();
        writer.write(&batch.unwrap()).unwrap();
        let error = read_predictions(writer.into_inner().unwrap().into()).unwrap_err().to_string();
        assert_eq!(error, "these are no predictions: the file does not say its `phalanx.dataset`");
    }
}
