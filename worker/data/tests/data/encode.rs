//! What becomes of columns by each encoding, missing and unknown cells among them.

use std::path::Path;

use arrow::array::{Date32Array, Float32Array, ListArray, StringArray, TimestampSecondArray};
use arrow::datatypes::Field;
use phalanx_data::{Dataset, Features, Split, read_features};

use crate::support::{Bench, array, offsets, spec, train_only};

/// The rows of a split.
fn rows(dataset: &Dataset, split: Split) -> Vec<Vec<f32>> {
    let batch = dataset.gather(split, &(0..dataset.rows(split)).collect::<Vec<_>>()).unwrap();
    let Features::Floats(floats) = batch.features else { panic!("no floats") };
    floats.chunks(floats.len() / batch.rows).map(<[f32]>::to_vec).collect()
}

/// The rows of a file, as a model reads it.
fn predicted(dataset: &Dataset, path: &Path) -> Vec<Vec<f32>> {
    let reader = read_features(&dataset.manifest().encoder, path).unwrap();
    let mut rows = Vec::new();
    for batch in reader {
        let batch = batch.unwrap();
        let Features::Floats(floats) = batch.features else { panic!("no floats") };
        rows.extend(floats.chunks(floats.len() / batch.rows).map(<[f32]>::to_vec));
    }
    rows
}

#[track_caller]
fn near(found: &[f32], expected: &[f32]) {
    let near = found.len() == expected.len()
        && found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-5);
    assert!(near, "{found:?} and {expected:?}");
}

async fn open(bench: &Bench, content: &str, encode: &str) -> Dataset {
    let settings = format!(r#""target": "y", "objective": "regression", "encode": {{{encode}}}"#);
    bench.open(&train_only(spec("csv", &bench.file("a.csv", content), &settings))).await
}

#[tokio::test]
async fn every_encoding_of_numbers_says_what_becomes_of_a_gap() {
    let bench = Bench::new();
    // Numbers 0, 1 and 5, and a gap.
    let content = "x,y\n0,1\n1,2\n5,3\n,4\n";
    for (encoding, expected) in [
        ("standard", [-0.925_820, -0.462_910, 1.388_73, 0.0]),
        ("min_max", [0.0, 0.2, 1.0, 0.4]),
        ("robust", [-0.4, 0.0, 1.6, 0.0]),
        ("log", [-1.122_818, -0.183_212, 1.306_03, 0.0]),
        ("quantile", [0.0, 0.5, 1.0, 0.5]),
        ("none", [0.0, 1.0, 5.0, 2.0]),
    ] {
        let dataset = open(&bench, content, &format!(r#""numbers": "{encoding}""#)).await;
        let found: Vec<f32> = rows(&dataset, Split::Train).concat();
        near(&found, &expected);
        // A model reads a new file alike, and goes on along the line beyond what it knows.
        let path = bench.file("new.csv", "x\n9\n\n".replace("\n\n", "\n?\n"));
        let new = predicted(&dataset, &path).concat();
        near(&new[1..], &expected[3..]);
        if encoding == "min_max" {
            near(&new[..1], &[1.8]);
        }
        if encoding == "quantile" {
            near(&new[..1], &[1.0]);
        }
    }
}

#[tokio::test]
async fn every_encoding_of_categories_says_what_becomes_of_unknown_and_missing_ones() {
    let bench = Bench::new();
    let content = "c,y\nb,1\na,2\nb,3\n?,4\n";
    let new = bench.file("new.csv", "c\na\nunknown\n?\n");
    for (encode, expected, of_new) in [
        (r#""categories": "ordinal""#, vec![1.0, 0.0, 1.0, 2.0], vec![0.0, -1.0, 2.0]),
        (
            r#""columns": {"c": "ordinal"}, "order": {"c": ["b", "z", "a"]}"#,
            vec![0.0, 2.0, 0.0, 3.0],
            vec![2.0, -1.0, 3.0],
        ),
        (r#""categories": "frequency""#, vec![0.5, 0.25, 0.5, 0.25], vec![0.25, 0.0, 0.25]),
    ] {
        let dataset = open(&bench, content, encode).await;
        near(&rows(&dataset, Split::Train).concat(), &expected);
        near(&predicted(&dataset, &new).concat(), &of_new);
    }
    let settings = r#""target": "y", "objective": "regression",
        "encode": {"columns": {"c": "ordinal"}, "order": {"c": ["a", "B"]}}"#;
    let data = train_only(spec("csv", &bench.file("b.csv", content), settings));
    let error = bench.prepare(&data).await.unwrap_err().to_string();
    assert!(error.contains("column `c`: `encode.order` does not name `b`"), "{error}");
    // Without a gap in the training split, one is like an unknown category.
    let dataset = open(&bench, "c,y\nb,1\na,2\n", r#""categories": "ordinal""#).await;
    near(&predicted(&dataset, &new).concat(), &[0.0, -1.0, -1.0]);

    let dataset = open(&bench, content, r#""categories": "hashing", "buckets": 16"#).await;
    let train = rows(&dataset, Split::Train);
    assert_eq!(train[0], train[2]);
    assert_ne!(train[0], train[1]);
    assert_eq!(train[0].iter().map(|number| number.abs()).sum::<f32>(), 1.0);
    assert_eq!(train[3], [0.0; 16]);
    let new = predicted(&dataset, &new);
    assert_eq!(new[0], train[1]);
    assert_eq!(new[1].iter().map(|number| number.abs()).sum::<f32>(), 1.0);
}

#[tokio::test]
async fn integers_in_text_are_numbered_in_the_order_of_numbers() {
    let bench = Bench::new();
    let dataset = open(&bench, "c,y\n10,1\n9,2\n2,3\n", r#""columns": {"c": "ordinal"}"#).await;
    near(&rows(&dataset, Split::Train).concat(), &[2.0, 1.0, 0.0]);
}

#[tokio::test]
async fn columns_with_more_categories_than_one_hot_takes_are_hashed_or_counted_where_asked() {
    let bench = Bench::new();
    let mut content = "id,y\n".to_owned();
    (0..3_000).for_each(|row| content += &format!("id{row},{row}.5\n"));
    let path = bench.file("many.csv", &content);
    let data = train_only(spec("csv", &path, r#""target": "y""#));
    let error = bench.prepare(&data).await.unwrap_err().to_string();
    assert!(error.contains("more than 1000 different texts"), "{error}");
    assert!(error.contains(r#"`encode.columns = { "id" = "hashing" }`"#), "{error}");
    for (encoding, width) in [("hashing", 64), ("frequency", 1), ("ordinal", 1)] {
        let settings = format!(r#""target": "y", "encode": {{"columns": {{"id": "{encoding}"}}}}"#);
        let dataset = bench.open(&train_only(spec("csv", &path, &settings))).await;
        assert_eq!(rows(&dataset, Split::Train)[0].len(), width, "{encoding}");
    }
}

#[tokio::test]
async fn sentences_are_their_words() {
    let bench = Bench::new();
    let content = "review,y\nA fine film,1\nfine film a,2\nA boring film,3\n,4\n";
    let encode = r#""columns": {"review": "words"}, "buckets": 128"#;
    let train = rows(&open(&bench, content, encode).await, Split::Train);
    assert_eq!(train[0], train[1]);
    assert_ne!(train[0], train[2]);
    assert_eq!(train[3], [0.0; 128]);
}

#[tokio::test]
async fn dates_are_their_parts_in_text_and_in_parquet() {
    let bench = Bench::new();
    let encode = r#""columns": {"when": "date"}, "dates": ["year", "weekday_cycle", "elapsed"]"#;
    let dataset = open(&bench, "when,y\n2020-01-06,1\n2022-01-04 00:00:00,2\n?,3\n", encode).await;
    let train = rows(&dataset, Split::Train);
    // A Monday and a Tuesday.
    let tuesday = (std::f32::consts::TAU / 7.0).sin_cos();
    near(&train[0], &[-1.0, 0.0, 1.0, -1.0]);
    near(&train[1], &[1.0, tuesday.0, tuesday.1, 1.0]);
    near(&train[2], &[0.0; 4]);

    let days = array(Date32Array::from(vec![18_267, 18_996]));
    let seconds = array(TimestampSecondArray::from(vec![18_267 * 86_400, 18_996 * 86_400]));
    for when in [days, seconds] {
        let y = array(Float32Array::from(vec![0.5, 1.5]));
        let path = bench.parquet("a.parquet", vec![("when", when), ("y", y)]);
        let settings = r#""target": "y", "encode": {"dates": ["year", "weekday_cycle", "elapsed"]}"#;
        let dataset = bench.open(&train_only(spec("parquet", &path, settings))).await;
        let found = rows(&dataset, Split::Train);
        near(&found[0], &train[0]);
        near(&found[1], &train[1]);
        near(&predicted(&dataset, &path)[1], &train[1]);
    }
}

#[tokio::test]
async fn a_cell_that_is_no_date_is_named() {
    let bench = Bench::new();
    let path = bench.file("a.csv", "when,y\n2020-01-06,1.5\nsoon,2.5\n");
    let settings = r#""target": "y", "encode": {"columns": {"when": "date"}}"#;
    let error = bench.prepare(&train_only(spec("csv", &path, settings))).await.unwrap_err().to_string();
    assert!(error.contains("line 3, column `when`: expected a date or a time"), "{error}");
}

#[tokio::test]
async fn elements_of_vectors_are_encoded_as_numbers_are() {
    let bench = Bench::new();
    let values = array(Float32Array::from(vec![0.0, 10.0, 4.0, 20.0]));
    let item = Field::new("item", values.data_type().clone(), true).into();
    let lists = array(ListArray::new(item, offsets(&[2; 2]), values, None));
    let y = array(StringArray::from(vec!["a", "b"]));
    let path = bench.parquet("a.parquet", vec![("v", lists), ("y", y)]);
    let settings = r#""target": "y", "encode": {"numbers": "min_max"}"#;
    let dataset = bench.open(&train_only(spec("parquet", &path, settings))).await;
    near(&rows(&dataset, Split::Train).concat(), &[0.0, 0.0, 1.0, 1.0]);
}
