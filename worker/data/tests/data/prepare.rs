//! What comes of a good source: schema, splits, encoding and batches.

use std::path::Path;

use arrow::array::{
    Array as _, ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, FixedSizeListArray, Float32Array,
    Float64Array, Int32Array, LargeListArray, ListArray, StringArray, UInt8Array,
};
use arrow::{buffer::OffsetBuffer, datatypes::Field};
use phalanx_data::{Dataset, FeatureKind, Features, Split, TargetKind, Targets};
use phalanx_protocol::spec::SplitBy;
use proptest::prelude::*;

use crate::support::{Bench, array, offsets, spec, train_only};

fn floats(features: &Features) -> &[f32] {
    let Features::Floats(floats) = features else { panic!("no floats: {features:?}") };
    floats
}

fn bytes(features: &Features) -> &[u8] {
    let Features::Bytes(bytes) = features else { panic!("no bytes: {features:?}") };
    bytes
}

fn classes(dataset: &Dataset, split: Split) -> Vec<u32> {
    let rows: Vec<u64> = (0..dataset.rows(split)).collect();
    let Targets::Classes(classes) = dataset.gather(split, &rows).unwrap().targets else {
        panic!("no classes")
    };
    classes
}

fn example(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/data").join(name)
}

#[tokio::test]
async fn columns_are_encoded_by_hand_computed_values() {
    let bench = Bench::new();
    // Numbers 1, 3 and a missing one: mean 2, deviation 1. Column `code` is numeric but declared.
    let content = "\"\",size , colour,code,\"the, target\"\n\
                   1, 1 , red, 7, yes\n\
                   2, ?, ,8, no\r\n\
                   3, 3, \"blue\",7,yes\n";
    let settings = r#""target": "the, target", "ignore": [""], "categorical": ["code"]"#;
    let dataset = bench.open(&train_only(spec("csv", &bench.file("a.csv", content), settings))).await;
    assert_eq!(dataset.schema().features, FeatureKind::Dense { width: 6 });
    assert_eq!(dataset.schema().target, TargetKind::Classes(vec!["no".into(), "yes".into()]));
    let batch = dataset.gather(Split::Train, &[2, 0, 1]).unwrap();
    #[rustfmt::skip]
    let expected = [
        // size, blue, red, colour missing, 7, 8
        1.0, 1.0, 0.0, 0.0, 1.0, 0.0,
        -1.0, 0.0, 1.0, 0.0, 1.0, 0.0,
        0.0, 0.0, 0.0, 1.0, 0.0, 1.0,
    ];
    assert_eq!(floats(&batch.features), expected);
    assert_eq!(batch.targets, Targets::Classes(vec![1, 1, 0]));
    assert_eq!(batch.rows, 3);
}

#[tokio::test]
async fn categories_and_statistics_are_those_of_the_training_split() {
    let bench = Bench::new();
    let content: String = (0..100).map(|row| format!("{row},c{row},{}.5\n", row * 2)).collect();
    let path = bench.file("a.csv", format!("number,text,y\n{content}"));
    let dataset = bench.open(&spec("csv", &path, r#""target": "y""#)).await;
    assert_eq!(Split::ALL.map(|split| dataset.rows(split)), [80, 10, 10]);
    assert_eq!(dataset.schema().features, FeatureKind::Dense { width: 81 });

    let train = dataset.gather(Split::Train, &(0..80).collect::<Vec<_>>()).unwrap();
    let Targets::Numbers(targets) = &train.targets else { panic!() };
    let numbers: Vec<f64> = targets.iter().map(|target| f64::from(*target) / 2.0 - 0.25).collect();
    let mean = numbers.iter().sum::<f64>() / 80.0;
    let deviation = (numbers.iter().map(|number| (number - mean).powi(2)).sum::<f64>() / 80.0).sqrt();
    for (row, number) in floats(&train.features).chunks(81).zip(&numbers) {
        assert!((f64::from(row[0]) - (number - mean) / deviation).abs() < 1e-6);
        assert_eq!(row[1..].iter().sum::<f32>(), 1.0);
    }
    let TargetKind::Number { mean: target_mean, deviation: target_deviation } = dataset.schema().target
    else {
        panic!()
    };
    assert!((target_mean - (mean * 2.0 + 0.5)).abs() < 1e-9);
    assert!((target_deviation - deviation * 2.0).abs() < 1e-9);
    // A text that the training split does not have is all zeros.
    let test = dataset.gather(Split::Test, &[0, 9]).unwrap();
    assert!(floats(&test.features).chunks(81).all(|row| row[1..].iter().all(|hot| *hot == 0.0)));
}

#[tokio::test]
async fn classes_of_integers_are_sorted_as_numbers() {
    let bench = Bench::new();
    let path = bench.file("a.csv", "x,y\n1,10\n2,9\n3,10\n4,-1\n");
    let settings = r#""target": "y", "objective": "classification""#;
    let dataset = bench.open(&train_only(spec("csv", &path, settings))).await;
    assert_eq!(dataset.schema().target, TargetKind::Classes(["-1", "9", "10"].map(String::from).to_vec()));
    assert_eq!(classes(&dataset, Split::Train), [2, 1, 2, 0]);
}

#[tokio::test]
async fn plain_parquet_columns_are_treated_as_in_csv() {
    let bench = Bench::new();
    let path = bench.parquet(
        "a.parquet",
        vec![
            ("y", array(BooleanArray::from(vec![true, false, true]))),
            ("size", array(Float64Array::from(vec![Some(1.0), None, Some(3.0)]))),
            ("colour", array(StringArray::from(vec![Some(" red"), None, Some("blue")]))),
            ("code", array(Int32Array::from(vec![7, 8, 7]))),
            ("day", array(arrow::array::Date32Array::from(vec![7, 8, 7]))),
        ],
    );
    let settings = r#""target": "y", "categorical": ["code"], "ignore": ["day"]"#;
    let dataset = bench.open(&train_only(spec("parquet", &path, settings))).await;
    let batch = dataset.gather(Split::Train, &[2, 0, 1]).unwrap();
    #[rustfmt::skip]
    let expected = [
        1.0, 1.0, 0.0, 0.0, 1.0, 0.0,
        -1.0, 0.0, 1.0, 0.0, 1.0, 0.0,
        0.0, 0.0, 0.0, 1.0, 0.0, 1.0,
    ];
    assert_eq!(floats(&batch.features), expected);
    assert_eq!(batch.targets, Targets::Classes(vec![1, 1, 0]));
}

#[tokio::test]
async fn the_order_of_features_is_the_users() {
    let bench = Bench::new();
    let path = bench.parquet(
        "a.parquet",
        vec![
            ("a", array(Float32Array::from(vec![1.0, 3.0]))),
            ("y", array(Float32Array::from(vec![0.5, 1.5]))),
            ("b", array(Float32Array::from(vec![9.0, 5.0]))),
        ],
    );
    let settings = r#""target": "y", "features": ["b", "a"]"#;
    let dataset = bench.open(&train_only(spec("parquet", &path, settings))).await;
    assert_eq!(floats(&dataset.gather(Split::Train, &[0, 1]).unwrap().features), [1.0, -1.0, -1.0, 1.0]);
}

/// Four images of two pixels, in every form that a column may have.
fn image_columns(values: &ArrayRef) -> Vec<ArrayRef> {
    let item = || Field::new("item", values.data_type().clone(), true).into();
    vec![
        array(FixedSizeListArray::new(item(), 2, values.clone(), None)),
        array(ListArray::new(item(), offsets(&[2; 4]), values.clone(), None)),
        array(LargeListArray::new(item(), OffsetBuffer::from_lengths([2; 4]), values.clone(), None)),
    ]
}

#[tokio::test]
async fn images_of_bytes_stay_bytes_in_every_form_of_column() {
    let pixels: Vec<u8> = vec![0, 255, 51, 102, 0, 0, 255, 255];
    let rows: Vec<&[u8]> = pixels.chunks(2).collect();
    let mut columns = image_columns(&array(UInt8Array::from(pixels.clone())));
    columns
        .extend(image_columns(&array(Int32Array::from_iter(pixels.iter().map(|pixel| i32::from(*pixel))))));
    columns.push(array(BinaryArray::from(rows.clone())));
    columns.push(array(FixedSizeBinaryArray::try_from_iter(rows.into_iter()).unwrap()));
    for column in columns {
        let bench = Bench::new();
        let columns = vec![("image", column), ("y", array(UInt8Array::from(vec![3, 1, 3, 1])))];
        let settings = r#""target": "y", "objective": "classification", "shape": [1, 2, 1]"#;
        let path = bench.parquet("a.parquet", columns);
        let dataset = bench.open(&train_only(spec("parquet", &path, settings))).await;
        let FeatureKind::Image { shape, mean, deviation } = dataset.schema().features.clone() else {
            panic!()
        };
        // In fractions of 255: 0, 1, 0.2, 0.4, 0, 0, 1, 1.
        assert_eq!((shape, mean), ([1, 2, 1], vec![0.45]));
        assert!((deviation[0] - 0.1975_f32.sqrt()).abs() < 1e-6, "{deviation:?}");
        let batch = dataset.gather(Split::Train, &[3, 0]).unwrap();
        assert_eq!(bytes(&batch.features), [255, 255, 0, 255]);
        assert_eq!(batch.targets, Targets::Classes(vec![0, 1]));
    }
}

#[tokio::test]
async fn images_of_floats_are_standardised_over_all_pixels_and_vectors_by_element() {
    let values = array(Float32Array::from(vec![0.0, 4.0, 0.0, 8.0, 4.0, 4.0, 4.0, 8.0]));
    for column in image_columns(&values) {
        let bench = Bench::new();
        let columns = vec![("v", column), ("y", array(Float32Array::from(vec![0.5, 1.0, 0.0, 2.5])))];
        let path = bench.parquet("a.parquet", columns);
        let image = spec("parquet", &path, r#""target": "y", "shape": [1, 2, 1]"#);
        let dataset = bench.open(&train_only(image)).await;
        let FeatureKind::Image { mean, deviation, .. } = dataset.schema().features.clone() else { panic!() };
        assert_eq!(mean, [4.0]);
        let deviation = deviation[0];
        let batch = dataset.gather(Split::Train, &[1]).unwrap();
        let found = floats(&batch.features);
        assert!((found[0] + 4.0 / deviation).abs() < 1e-6 && found[1] == -found[0], "{found:?}");
        assert_eq!(batch.targets, Targets::Numbers(vec![1.0]));

        // Each channel by itself.
        let channels = spec("parquet", &path, r#""target": "y", "shape": [2, 1, 1]"#);
        let dataset = bench.open(&train_only(channels)).await;
        let FeatureKind::Image { mean, .. } = dataset.schema().features.clone() else { panic!() };
        assert_eq!(mean, [2.0, 6.0]);
        assert_eq!(floats(&dataset.gather(Split::Train, &[1, 2]).unwrap().features), [-1.0, 1.0, 1.0, -1.0]);

        let vector = spec("parquet", &path, r#""target": "y""#);
        let dataset = bench.open(&train_only(vector)).await;
        assert_eq!(dataset.schema().features, FeatureKind::Dense { width: 2 });
        assert_eq!(floats(&dataset.gather(Split::Train, &[1, 2]).unwrap().features), [-1.0, 1.0, 1.0, -1.0]);
    }
}

#[tokio::test]
async fn windows_of_text_follow_each_other_and_know_their_next_bytes() {
    let bench = Bench::new();
    let text: Vec<u8> = (0..1_000).map(|at| (at % 251) as u8).collect();
    let dataset = bench.open(&spec("text", &bench.file("a.txt", &text), r#""context": 7"#)).await;
    // Stretches of 800, 100 and 100 bytes; the last byte of each is only predicted.
    assert_eq!(Split::ALL.map(|split| dataset.rows(split)), [114, 14, 14]);
    assert_eq!(dataset.schema().features, FeatureKind::Bytes { context: 7 });
    assert_eq!(dataset.schema().target, TargetKind::NextByte);
    for (split, start) in Split::ALL.into_iter().zip([0, 800, 900]) {
        let batch = dataset.gather(split, &[13, 0, 1]).unwrap();
        let expected =
            |ahead: usize| [13, 0, 1].map(|row| text[start + row * 7 + ahead..][..7].to_vec()).concat();
        assert_eq!(bytes(&batch.features), expected(0));
        assert_eq!(batch.targets, Targets::Bytes(expected(1)));
    }
}

#[tokio::test]
async fn stratified_splits_keep_the_proportions_of_digits() {
    let bench = Bench::new();
    let settings = r#""target": "label", "objective": "classification", "shape": [1, 28, 28]"#;
    let mut data = spec("parquet", &example("mnist.parquet"), settings);
    data.split.by = SplitBy::Stratified;
    let dataset = bench.open(&data).await;
    assert_eq!(Split::ALL.iter().map(|split| dataset.rows(*split)).sum::<u64>(), 8_000);
    let share = |split| {
        let classes = classes(&dataset, split);
        let share =
            |digit| classes.iter().filter(|class| **class == digit).count() as f64 / classes.len() as f64;
        (0..10).map(share).collect::<Vec<f64>>()
    };
    for (train, test) in share(Split::Train).into_iter().zip(share(Split::Test)) {
        assert!((train - test).abs() < 0.002, "{train} and {test}");
    }
    let FeatureKind::Image { mean, deviation, .. } = dataset.schema().features.clone() else { panic!() };
    let (mean, deviation) = (mean[0], deviation[0]);
    assert!((0.12..0.14).contains(&mean) && (0.30..0.32).contains(&deviation), "{mean} {deviation}");
}

#[tokio::test]
async fn the_examples_are_what_is_known_of_them() {
    let bench = Bench::new();
    let adult = bench.open(&spec("csv", &example("adult.csv"), r#""target": "income""#)).await;
    assert_eq!(adult.schema().target, TargetKind::Classes(["<=50K", ">50K"].map(String::from).to_vec()));
    let columns = &adult.manifest().columns;
    assert_eq!(columns.len(), 15);
    let missing: Vec<_> =
        columns.iter().filter(|c| c.missing > 0).map(|c| (c.name.as_str(), c.missing)).collect();
    assert_eq!(missing, [("workclass", 1_836), ("occupation", 1_843), ("native_country", 583)]);
    let share = classes(&adult, Split::Train).iter().sum::<u32>() as f64 / adult.rows(Split::Train) as f64;
    assert!((share - 0.2408).abs() < 0.01, "{share}");

    let settings = r#""target": "price", "objective": "regression", "ignore": [""]"#;
    let diamonds = bench.open(&spec("csv", &example("diamonds.csv"), settings)).await;
    // carat, depth, table, x, y, z; 5 cuts, 7 colors, 8 clarities.
    assert_eq!(diamonds.schema().features, FeatureKind::Dense { width: 26 });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn encoding_matches_a_naive_computation(
        rows in prop::collection::vec((prop::option::of(-1e4..1e4), prop::option::of("[a-e]{1,2}"), -1e3..1e3), 30..80),
        seed: u64,
    ) {
        let mut content = "number,text,y\n".to_owned();
        for (number, text, y) in &rows {
            let number: Option<f64> = *number;
            let number = number.map_or_else(String::new, |number| number.to_string());
            content += &format!("{number},{},{y:?}\n", text.as_deref().unwrap_or("?"));
        }
        prop_assume!(rows.iter().filter(|(_, text, _)| text.is_some()).count() > 0);
        prop_assume!(rows.iter().filter(|(number, ..)| number.is_some()).count() > 0);
        let bench = Bench::new();
        let mut data = spec("csv", &bench.file("a.csv", content), r#""target": "y", "categorical": ["text"]"#);
        data.split.seed = seed;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let dataset = runtime.block_on(bench.open(&data));

        // Rows are known again by their targets, which are all different but by a rare chance.
        let position = |target: f32| rows.iter().position(|(_, _, y)| *y as f32 == target).unwrap();
        let gather = |split| dataset.gather(split, &(0..dataset.rows(split)).collect::<Vec<_>>()).unwrap();
        let originals = |targets: &Targets| match targets {
            Targets::Numbers(numbers) => numbers.iter().map(|number| &rows[position(*number)]).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        let train = originals(&gather(Split::Train).targets);
        let numbers: Vec<f64> = train.iter().filter_map(|row| row.0).collect();
        let count = numbers.len().max(1) as f64;
        let mean = numbers.iter().sum::<f64>() / count;
        let deviation = (numbers.iter().map(|number| (number - mean).powi(2)).sum::<f64>() / count).sqrt();
        let mut categories: Vec<&str> = train.iter().filter_map(|row| row.1.as_deref()).collect();
        categories.sort_unstable();
        categories.dedup();
        let missing = train.iter().any(|row| row.1.is_none());

        for split in Split::ALL {
            let batch = gather(split);
            let width = 1 + categories.len() + usize::from(missing);
            let encoded = floats(&batch.features).chunks(width);
            prop_assert_eq!(encoded.len(), batch.rows);
            for (row, (number, text, _)) in encoded.zip(originals(&batch.targets)) {
                let deviation = if deviation > 0.0 { deviation } else { 1.0 };
                let expected = number.map_or(0.0, |number| (number - mean) / deviation);
                let error = (f64::from(row[0]) - expected).abs();
                prop_assert!(error <= 1e-5 * (1.0 + expected.abs()), "{} and {}", row[0], expected);
                let hot: Vec<usize> = (0..width - 1).filter(|at| row[at + 1] == 1.0).collect();
                let expected = match text {
                    Some(text) => categories.iter().position(|category| category == text),
                    None => missing.then_some(categories.len()),
                };
                prop_assert_eq!(hot, expected.into_iter().collect::<Vec<_>>());
            }
        }
    }
}
