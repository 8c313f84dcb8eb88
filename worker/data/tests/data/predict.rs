//! New files, read for a finished model.

use arrow::array::{Float64Array, Int32Array, StringArray, UInt8Array};
use phalanx_data::{Batch, Encoder, Features, PrepareError, Split, Targets, read_features};
use phalanx_protocol::spec::DataSpec;

use crate::support::{Bench, array, spec, train_only};

const CSV: &str = "size,colour,code,y\n1,red,7,yes\n?,,8,no\n3,blue,7,yes\n";
const SETTINGS: &str = r#""target": "y", "categorical": ["code"]"#;

/// The encoder of a model that was trained on `spec`, as it comes back from where it was stored.
async fn encoder(bench: &Bench, spec: DataSpec) -> Encoder {
    let dataset = bench.open(&train_only(spec)).await;
    let stored = serde_json::to_string(&dataset.manifest().encoder).unwrap();
    serde_json::from_str(&stored).unwrap()
}

fn read(encoder: &Encoder, path: &std::path::Path) -> Result<Vec<Batch>, PrepareError> {
    read_features(encoder, path)?.collect()
}

#[tokio::test]
async fn rows_are_encoded_as_the_data_set_was_without_a_target_and_in_any_column_order() {
    let bench = Bench::new();
    let data = spec("csv", &bench.file("train.csv", CSV), SETTINGS);
    let dataset = bench.open(&train_only(data.clone())).await;
    let encoder = encoder(&bench, data).await;
    let expected = dataset.gather(Split::Train, &[0, 1, 2]).unwrap().features;

    let same = read(&encoder, &bench.path("train.csv")).unwrap();
    assert_eq!(same, [Batch::new(3, expected.clone(), Targets::None)]);
    let path = bench.file("new.csv", "code,more,colour,size\n7,x,red,1\n8,x,?,\n7,x,blue,3\n");
    assert_eq!(read(&encoder, &path).unwrap()[0].features, expected);
    let path = bench.parquet(
        "new.parquet",
        vec![
            ("colour", array(StringArray::from(vec![Some("red"), None, Some("blue")]))),
            ("size", array(Float64Array::from(vec![Some(1.0), Some(f64::NAN), Some(3.0)]))),
            ("code", array(Int32Array::from(vec![7, 8, 7]))),
        ],
    );
    let batches = read(&encoder, &path).unwrap();
    assert_eq!(batches.iter().map(|batch| batch.rows).sum::<usize>(), 3);
    let Features::Floats(expected) = expected else { panic!() };
    let found = batches.into_iter().flat_map(|batch| match batch.features {
        Features::Floats(floats) => floats,
        Features::Bytes(_) | Features::Tokens(_) => panic!(),
    });
    assert_eq!(found.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn many_rows_come_in_batches_of_bounded_size() {
    let bench = Bench::new();
    let encoder = encoder(&bench, spec("csv", &bench.file("train.csv", CSV), SETTINGS)).await;
    let path = bench.file("new.csv", format!("size,colour,code\n{}", "1,red,7\n".repeat(2_500)));
    let rows: Vec<usize> = read(&encoder, &path).unwrap().iter().map(|batch| batch.rows).collect();
    assert_eq!(rows, [1_024, 1_024, 452]);
}

#[tokio::test]
async fn a_row_that_cannot_be_encoded_is_named_and_ends_the_reading() {
    let bench = Bench::new();
    let encoder = encoder(&bench, spec("csv", &bench.file("train.csv", CSV), SETTINGS)).await;
    let check = |path: std::path::PathBuf, expected: &str| {
        let error = read(&encoder, &path).unwrap_err().to_string();
        assert_eq!(error.replace(&path.display().to_string(), "FILE"), expected);
    };
    check(
        bench.file("a.csv", "size,colour,code\n1,red,7\nbig,red,7\n"),
        "FILE, line 3, column `size`: expected a finite number, found `big`",
    );
    check(
        bench.file("b.csv", "size,color,code\n1,red,7\n"),
        "FILE: there is no column `colour`, which the model names; did you mean `color`? the columns are `size`, \
         `color`, `code`",
    );
    let lists = arrow::array::FixedSizeBinaryArray::try_from_iter([b"ab"].iter()).unwrap();
    let columns = vec![
        ("size", array(lists)),
        ("colour", array(StringArray::from(vec!["red"]))),
        ("code", array(Int32Array::from(vec![7]))),
    ];
    check(
        bench.parquet("c.parquet", columns),
        "FILE, column `size`: expected numbers, as when the model was trained, found lists of integers",
    );
}

#[tokio::test]
async fn images_and_texts_are_read_in_the_model_s_form() {
    let bench = Bench::new();
    let images = |name, rows: Vec<&[u8]>| {
        let labels = UInt8Array::from((0..rows.len() as u8).collect::<Vec<_>>());
        let images = arrow::array::BinaryArray::from(rows);
        bench.parquet(name, vec![("image", array(images)), ("y", array(labels))])
    };
    let settings = r#""target": "y", "objective": "classification", "shape": [1, 1, 2]"#;
    let path = images("a.parquet", vec![b"ab", b"cd"]);
    let encoder_of_images = encoder(&bench, spec("parquet", &path, settings)).await;
    let batches = read(&encoder_of_images, &images("b.parquet", vec![b"xy"])).unwrap();
    let features = Features::Bytes(b"xy".to_vec());
    assert_eq!(batches, [Batch::new(1, features, Targets::None)]);

    let text = spec("text", &bench.file("a.txt", "0123456789"), r#""context": 3"#);
    let encoder_of_texts = encoder(&bench, text).await;
    let batches = read(&encoder_of_texts, &bench.file("b.txt", "abcdefghi")).unwrap();
    let batch = |rows, features: &str, targets: &str| {
        Batch::new(rows, Features::Bytes(features.into()), Targets::Bytes(targets.into()))
    };
    assert_eq!(batches, [batch(2, "abcdef", "bcdefg"), batch(1, "gh", "hi")]);
    let whole = read(&encoder_of_texts, &bench.file("c.txt", "abcd")).unwrap();
    assert_eq!(whole, [batch(1, "abc", "bcd")]);
    let error = read(&encoder_of_texts, &bench.file("d.txt", "a")).unwrap_err();
    assert!(matches!(error, PrepareError::Empty { .. }));
}
