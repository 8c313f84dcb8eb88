//! Cleaning: what each step does, in the order of the source, with what is learnt
//! from the training split alone; and the same rows on any number of threads.

use std::sync::{Arc, Mutex};

use arrow::{
    array::{Array as _, AsArray as _, RecordBatch},
    compute::concat_batches,
    datatypes::{Float64Type, Int64Type},
};
use phalanx_data::{
    Funnel, PrepareError, RawColumn, RawRows, Split, clean_rows, find_version, read_features, validate,
};
use phalanx_protocol::spec::DataSpec;

use crate::support::{Bench, spec};

/// The clean rows of a source as lines of cells with `,` between, a missing cell being `-`.
async fn clean(spec: &DataSpec) -> Result<Vec<String>, PrepareError> {
    let rows = Arc::new(Mutex::new(Vec::new()));
    let taken = rows.clone();
    let take = move |batch: &RecordBatch, _: &[Option<Split>]| {
        let mut rows = taken.lock().unwrap();
        for row in 0..batch.num_rows() {
            let cell = |column: &arrow::array::ArrayRef| match column.is_null(row) {
                true => "-".to_owned(),
                false => arrow::util::display::array_value_to_string(column, row).unwrap(),
            };
            rows.push(batch.columns().iter().map(cell).collect::<Vec<_>>().join(","));
        }
        Ok(())
    };
    clean_rows(spec, &mut |_| {}, take).await?;
    let rows = rows.lock().unwrap().clone();
    Ok(rows)
}

/// A CSV source with these steps; all rows are trained on.
fn csv(bench: &Bench, content: &str, clean: &str) -> DataSpec {
    let settings = format!(
        r#""target": "y", "clean": [{clean}], "split": {{"train": 1.0, "validation": 0.0, "test": 0.0}}"#
    );
    spec("csv", &bench.file("rows.csv", content), &settings)
}

async fn check(content: &str, steps: &str, expected: &[&str]) {
    let bench = Bench::new();
    assert_eq!(clean(&csv(&bench, content, steps)).await.unwrap(), expected, "{steps}");
}

async fn refused(content: &str, steps: &str, part: &str) {
    let bench = Bench::new();
    let error = clean(&csv(&bench, content, steps)).await.unwrap_err().to_string();
    assert!(error.contains(part), "{steps}: {error}");
}

const ROWS: &str = "a,t,y\n1,x,p\n2,,q\n,z,p\n4,x,q\n1,x,p\n";

#[tokio::test]
async fn steps_change_cells_and_keep_the_order_of_rows() {
    check(ROWS, r#"{"filter": "a >= 2 or t = 'z'"}"#, &["2,-,q", "-,z,p", "4,x,q"]).await;
    check(
        ROWS,
        r#"{"derive": {"b": "a * 10", "t": "upper(t)"}}"#,
        &["1,X,p,10", "2,-,q,20", "-,Z,p,-", "4,X,q,40", "1,X,p,10"],
    )
    .await;
    check(ROWS, r#"{"rename": {"t": "text"}}, {"filter": "text = 'z' or a = 4"}"#, &["-,z,p", "4,x,q"]).await;
    check(ROWS, r#"{"drop_columns": ["a"]}, {"drop_duplicates": {}}"#, &["x,p", "-,q", "z,p", "x,q"]).await;
    check(ROWS, r#"{"drop_duplicates": {}}"#, &["1,x,p", "2,-,q", "-,z,p", "4,x,q"]).await;
    check(ROWS, r#"{"drop_duplicates": {"columns": ["y"]}}"#, &["1,x,p", "2,-,q"]).await;
    check(ROWS, r#"{"set_missing": {"values": ["z"]}}"#, &["1,x,p", "2,-,q", "-,-,p", "4,x,q", "1,x,p"])
        .await;
    check(
        ROWS,
        r#"{"cast": {"columns": ["a"], "to": "float"}}"#,
        &["1.0,x,p", "2.0,-,q", "-,z,p", "4.0,x,q", "1.0,x,p"],
    )
    .await;
}

#[tokio::test]
async fn missing_cells_are_filled_or_their_rows_dropped() {
    check(
        ROWS,
        r#"{"impute": {"columns": ["a"], "with": "mean"}}"#,
        &["1.0,x,p", "2.0,-,q", "2.0,z,p", "4.0,x,q", "1.0,x,p"],
    )
    .await;
    check(
        ROWS,
        r#"{"impute": {"columns": ["a"], "with": "median", "indicator": true}}"#,
        &["1.0,x,p,0", "2.0,-,q,0", "1.5,z,p,1", "4.0,x,q,0", "1.0,x,p,0"],
    )
    .await;
    check(
        ROWS,
        r#"{"impute": {"columns": ["a", "t"], "with": "mode"}}"#,
        &["1,x,p", "2,x,q", "1,z,p", "4,x,q", "1,x,p"],
    )
    .await;
    check(
        ROWS,
        r#"{"impute": {"columns": ["t"], "with": "constant", "value": "none"}}"#,
        &["1,x,p", "2,none,q", "-,z,p", "4,x,q", "1,x,p"],
    )
    .await;
    check(ROWS, r#"{"impute": {"columns": ["a", "t"], "with": "drop"}}"#, &["1,x,p", "4,x,q", "1,x,p"]).await;
}

#[tokio::test]
async fn outliers_and_rare_categories_are_told_by_what_is_usual() {
    let rows = "a,y\n1,p\n2,q\n3,p\n4,q\n100,p\n";
    check(
        rows,
        r#"{"outliers": {"columns": ["a"], "by": "iqr", "then": "drop"}}"#,
        &["1,p", "2,q", "3,p", "4,q"],
    )
    .await;
    check(
        rows,
        r#"{"outliers": {"columns": ["a"], "by": "iqr", "then": "clip"}}"#,
        &["1.0,p", "2.0,q", "3.0,p", "4.0,q", "7.0,p"],
    )
    .await;
    check(
        rows,
        r#"{"outliers": {"columns": ["a"], "by": "z_score", "limit": 1.5, "then": "flag"}}"#,
        &["1,p,0", "2,q,0", "3,p,0", "4,q,0", "100,p,1"],
    )
    .await;
    check(
        rows,
        r#"{"outliers": {"columns": ["a"], "by": "quantile", "limit": 0.25, "then": "clip"}}"#,
        &["2.0,p", "2.0,q", "3.0,p", "4.0,q", "4.0,p"],
    )
    .await;
    let rows = "t,y\nx,p\nx,q\nx,p\nz,q\n";
    check(rows, r#"{"fold_rare": {"columns": ["t"], "below": 0.5}}"#, &["x,p", "x,q", "x,p", "other,q"])
        .await;
}

#[tokio::test]
async fn of_texts_that_are_nearly_the_same_the_first_stays() {
    let rows = "t,y\nthe cat sat on the mat and looked at the big dog,p\nsomething else entirely is written here,q\n\
                The cat sat on the mat and looked at the big dog !,p\n";
    let step = r#"{"drop_near_duplicates": {"column": "t", "similarity": 0.7, "words": 2}}"#;
    check(
        rows,
        step,
        &["the cat sat on the mat and looked at the big dog,p", "something else entirely is written here,q"],
    )
    .await;
}

#[tokio::test]
async fn a_step_that_does_not_fit_is_named_with_the_reason() {
    refused(ROWS, r#"{"filter": "agee > 1"}"#, "[data] clean[0] (filter): ").await;
    refused(ROWS, r#"{"filter": "a + 1"}"#, "expected a condition").await;
    refused(
        ROWS,
        r#"{"trim": {}}, {"impute": {"columns": ["b"], "with": "mean"}}"#,
        "clean[1] (impute): there is no column `b`",
    )
    .await;
    refused(
        ROWS,
        r#"{"impute": {"columns": ["t"], "with": "mean"}}"#,
        "column `t` is of type Utf8, expected numbers",
    )
    .await;
    refused(ROWS, r#"{"rename": {"a": "t"}}"#, "there would be two columns `t`").await;
    refused(ROWS, r#"{"filter": "a > 100"}"#, "none of 5 rows is left").await;
    refused(
        "a,y\n1,p\nx,q\n",
        r#"{"cast": {"columns": ["a"], "to": "int"}}"#,
        "rows.csv, line 3, column `a`: expected int, found `x`",
    )
    .await;
    refused(ROWS, r#"{"derive": {"b": "1 / (a - 1)"}}"#, "clean[0]").await;
}

#[tokio::test]
async fn a_cell_that_cannot_be_cast_is_missing_or_its_row_put_aside() {
    let rows = "a,y\n1,p\nx,q\n3,q\n";
    check(rows, r#"{"cast": {"columns": ["a"], "to": "int", "failing": "missing"}}"#, &["1,p", "-,q", "3,q"])
        .await;
    check(rows, r#"{"cast": {"columns": ["a"], "to": "int", "failing": "quarantine"}}"#, &["1,p", "3,q"])
        .await;
}

/// Rows of which every fourth has no `a`, for which the mean is 1 in the training split and another elsewhere.
fn many(rows: usize) -> String {
    let mut csv = "a,t,y\n".to_owned();
    for row in 0..rows {
        let a = if row % 4 == 0 { String::new() } else { (row * 7 % 11).to_string() };
        csv.push_str(&format!("{a},t{},{}\n", row % 3, if row % 2 == 0 { "p" } else { "q" }));
    }
    csv
}

#[tokio::test]
async fn what_is_learnt_is_of_the_training_split_alone_and_the_split_stays_the_same() {
    let bench = Bench::new();
    let settings = r#""target": "y", "split": {"leakage": "allow"}, "clean": [{"impute": {"columns": ["a"], "with": "mean"}}]"#;
    let spec = spec("csv", &bench.file("rows.csv", many(1_000)), settings);
    let prepared = bench.prepare(&spec).await.unwrap();
    let manifest = find_version(&prepared.dataset.version[..12], &bench.store).await.unwrap();
    let learnt: f64 = manifest.lineage.funnel.as_ref().unwrap().steps[0].learnt["a"].parse().unwrap();

    let (sum, count) = (Arc::new(Mutex::new((0.0, 0.0))), Arc::new(Mutex::new([0_u64; 3])));
    let (sums, counts) = (sum.clone(), count.clone());
    let take = move |batch: &RecordBatch, splits: &[Option<Split>]| {
        let cells = batch.column(0).as_primitive::<Float64Type>();
        for (row, split) in splits.iter().flatten().enumerate() {
            counts.lock().unwrap()[*split as usize] += 1;
            // What was filled is the mean itself and moves no mean.
            if *split == Split::Train {
                let mut sums = sums.lock().unwrap();
                *sums = (sums.0 + cells.value(row), sums.1 + 1.0);
            }
        }
        Ok(())
    };
    clean_rows(&spec, &mut |_| {}, take).await.unwrap();
    let (sum, rows) = *sum.lock().unwrap();
    assert!((sum / rows - learnt).abs() < 1e-9, "{} {learnt}", sum / rows);
    assert_eq!(*count.lock().unwrap(), [800, 100, 100]);
    assert_eq!((manifest.train.rows, manifest.test.rows), (800, 100));
}

#[tokio::test]
async fn raw_rows_of_validation_and_test_are_kept_in_the_order_of_the_encoded_ones() {
    let bench = Bench::new();
    let csv: String = (0..100).fold("a,y\n".to_owned(), |csv, row| csv + &format!("{row},{}\n", row * 2));
    for clean in ["", r#", "clean": [{"filter": "a <> 7"}]"#] {
        let settings = format!(r#""target": "y", "objective": "regression"{clean}"#);
        let spec = spec("csv", &bench.file("rows.csv", &csv), &settings);
        let prepared = bench.prepare(&spec).await.unwrap();
        let manifest = find_version(&prepared.dataset.version, &bench.store).await.unwrap();
        let dataset = bench.open(&spec).await;
        for split in [Split::Validation, Split::Test] {
            let raw = RawRows::read(&manifest, split, &bench.store).await.unwrap();
            let raw = concat_batches(&raw.batches()[0].schema(), raw.batches()).unwrap();
            let targets = raw.column_by_name("y").unwrap().as_primitive::<Int64Type>().clone();
            let rows: Vec<u64> = (0..dataset.rows(split)).collect();
            let phalanx_data::Targets::Numbers(encoded) = dataset.gather(split, &rows).unwrap().targets
            else {
                panic!()
            };
            assert_eq!(targets.values().iter().map(|y| *y as f32).collect::<Vec<_>>(), encoded);
        }
        assert!(manifest.train.raw.is_empty());
    }
}

#[tokio::test]
async fn raw_rows_are_told_apart_by_columns_and_conditions() {
    let bench = Bench::new();
    let rows = (0..100).map(|row| format!("{row},{},{}\n", ["x", "", "z"][row % 3], row * 2));
    let csv: String = rows.fold("a,t,y\n".to_owned(), |csv, row| csv + &row);
    let settings = r#""target": "y", "objective": "regression""#;
    let prepared = bench.prepare(&spec("csv", &bench.file("rows.csv", &csv), settings)).await.unwrap();
    let manifest = find_version(&prepared.dataset.version, &bench.store).await.unwrap();
    let raw = RawRows::read(&manifest, Split::Test, &bench.store).await.unwrap();
    assert_eq!((raw.rows(), raw.columns()), (10, ["a", "t", "y"].map(String::from).to_vec()));
    let RawColumn::Numbers(a) = raw.column("a").unwrap() else { panic!("a column of numbers") };
    let RawColumn::Texts(t) = raw.column("t").unwrap() else { panic!("a column of texts") };
    let expected: Vec<bool> = a.iter().zip(&t).map(|(a, t)| *a < 50.0 && t.as_deref() == Some("x")).collect();
    assert_eq!(raw.holds("a < 50 and t = 'x'").unwrap(), expected);
    assert_eq!(raw.holds("t is null").unwrap(), t.iter().map(Option::is_none).collect::<Vec<_>>());
    // What is unknown of a missing cell is not true.
    assert!(
        raw.holds("t <> 'x'").unwrap().iter().zip(&t).all(|(holds, t)| *holds == (t.as_deref() == Some("z")))
    );
    let error = raw.holds("tt = 'x'").unwrap_err().to_string();
    assert!(error.starts_with("`tt = 'x'`: "), "{error}");
    let error = raw.column("T").unwrap_err().to_string();
    assert_eq!(error, "there is no column `T`; did you mean `t`? the columns are `a`, `t`, `y`");
    let none = RawRows::read(&manifest, Split::Train, &bench.store).await.unwrap();
    assert_eq!((none.rows(), none.holds("a > 1").unwrap()), (0, Vec::new()));
}

#[tokio::test]
async fn a_model_reads_new_rows_as_they_were_cleaned_for_training() {
    let bench = Bench::new();
    let steps = r#"{"derive": {"b": "a * 2"}}, {"impute": {"columns": ["a", "b"], "with": "mean"}}, {"fold_rare": {"columns": ["t"], "below": 0.4}}"#;
    let spec = csv(&bench, "a,t,y\n1,x,p\n,x,q\n3,z,p\n", steps);
    let prepared = bench.prepare(&spec).await.unwrap();
    let manifest = find_version(&prepared.dataset.version, &bench.store).await.unwrap();
    let dataset = bench.open(&spec).await;
    let encoded = dataset.gather(Split::Train, &[0, 1, 2]).unwrap().features;
    // The target is not there, and the filter that training may have had drops nothing here.
    let new = bench.file("new.csv", "t,a\nx,1\nx,\nnever seen,3\n");
    let read: Vec<_> = read_features(&manifest.encoder, &new).unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(read.len(), 1);
    assert_eq!(read[0].features, encoded);
}

#[tokio::test]
async fn a_target_that_cleaning_makes_need_not_be_there_to_predict() {
    let bench = Bench::new();
    let steps = r#"{"derive": {"y": "upper(raw)", "b": "a + 1"}}, {"drop_columns": ["raw"]}, {"rename": {"y": "target"}}"#;
    let mut spec = csv(&bench, "a,raw\n1,p\n2,q\n", steps);
    spec.target = Some("target".to_owned());
    let prepared = bench.prepare(&spec).await.unwrap();
    let manifest = find_version(&prepared.dataset.version, &bench.store).await.unwrap();
    let encoded = bench.open(&spec).await.gather(Split::Train, &[0, 1]).unwrap().features;
    let new = bench.file("new.csv", "a\n1\n2\n");
    let read: Vec<_> = read_features(&manifest.encoder, &new).unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(read[0].features, encoded);
}

fn counts(funnel: &Funnel) -> Vec<(u64, u64, u64)> {
    funnel.steps.iter().map(|step| (step.rows_before, step.rows_after, step.cells)).collect()
}

#[tokio::test]
async fn the_funnel_tells_what_each_step_did() {
    let bench = Bench::new();
    let steps = r#"{"filter": "a is null or a < 4"}, {"drop_duplicates": {}}, {"impute": {"columns": ["a"], "with": "mode"}}, {"outliers": {"columns": ["a"], "by": "z_score", "then": "drop"}}"#;
    let validation = validate(&csv(&bench, ROWS, steps), &mut |_| {}).await.unwrap();
    assert_eq!(counts(&validation.funnel), [(5, 4, 0), (4, 3, 0), (3, 3, 1), (3, 3, 0)]);
    assert_eq!((validation.funnel.rows_read, validation.funnel.rows_clean), (5, 3));
    assert_eq!(validation.columns.len(), 3);
}
