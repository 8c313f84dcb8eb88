//! Every way to divide rows, and what is done about what is in two splits.

use std::collections::BTreeMap;

use phalanx_data::{Dataset, Features, LeakageKind, Split, Targets};
use phalanx_protocol::spec::DataSpec;

use crate::support::{Bench, spec, train_only};

/// The numbers to predict of each split: rows are known by them.
fn numbers(dataset: &Dataset) -> [Vec<f32>; 3] {
    Split::ALL.map(|split| {
        let batch = dataset.gather(split, &(0..dataset.rows(split)).collect::<Vec<_>>()).unwrap();
        let Targets::Numbers(numbers) = batch.targets else { panic!("no numbers") };
        numbers
    })
}

fn data(bench: &Bench, content: &str, split: &str) -> DataSpec {
    let settings = format!(r#""target": "y", "objective": "regression", "split": {{{split}}}"#);
    spec("csv", &bench.file("a.csv", content), &settings)
}

async fn open(bench: &Bench, content: &str, split: &str) -> Dataset {
    bench.open(&data(bench, content, split)).await
}

async fn refused(bench: &Bench, content: &str, split: &str) -> String {
    bench.prepare(&data(bench, content, split)).await.unwrap_err().to_string()
}

#[tokio::test]
async fn numbers_are_stratified_by_ranges_of_equally_many() {
    let bench = Bench::new();
    let content: String = (0..1_000).map(|row| format!("{row},{}\n", (row * 7_919) % 1_000)).collect();
    let dataset = open(&bench, &format!("x,y\n{content}"), r#""by": "stratified", "bins": 5"#).await;
    for (numbers, expected) in numbers(&dataset).iter().zip([160, 20, 20]) {
        for bin in 0..5 {
            let range = (bin * 200) as f32..((bin + 1) * 200) as f32;
            assert_eq!(numbers.iter().filter(|number| range.contains(number)).count(), expected);
        }
    }
}

#[tokio::test]
async fn groups_stay_together_and_are_no_features() {
    let bench = Bench::new();
    let content: String = (0..1_000).map(|row| format!("{row},p{},{row}\n", row % 97)).collect();
    let content = format!("x,patient,y\n{content}");
    let dataset = open(&bench, &content, r#""by": "group", "group": "patient""#).await;
    let columns: Vec<_> = dataset.manifest().columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(columns, ["x", "y"]);
    let mut homes = BTreeMap::new();
    for (split, numbers) in numbers(&dataset).iter().enumerate() {
        for number in numbers {
            assert_eq!(*homes.entry(*number as u32 % 97).or_insert(split), split);
        }
    }
    let sizes = Split::ALL.map(|split| dataset.rows(split));
    assert!((780..=820).contains(&sizes[0]) && (85..=115).contains(&sizes[1]), "{sizes:?}");
    let error = refused(&bench, "x,g,y\n1,a,1\n2,,2\n", r#""by": "group", "group": "g""#).await;
    assert!(error.contains("line 3, column `g`: expected a value to divide rows by"), "{error}");
}

#[tokio::test]
async fn times_are_in_order_and_equal_ones_together() {
    let bench = Bench::new();
    // Ten rows a day, in no order.
    let content: String = (0..300)
        .map(|row| row * 7 % 300)
        .map(|row| format!("{row},2024-{:02}-{:02},{row}\n", 1 + row / 10 / 28, 1 + row / 10 % 28))
        .collect();
    let content = format!("x,day,y\n{content}");
    for (split, sizes) in [
        (r#""by": "time", "time": "day""#, [240, 30, 30]),
        (r#""by": "time", "time": "day", "train": 0.75, "validation": 0.15, "test": 0.1"#, [220, 50, 30]),
        (
            r#""by": "time", "time": "day", "validation_from": "2024-01-11", "test_from": "2024-01-21"#,
            [100, 100, 100],
        ),
    ] {
        let split = if split.contains("test_from") { format!("{split}\"") } else { split.to_owned() };
        let numbers = numbers(&open(&bench, &content, &split).await);
        let greatest = |numbers: &[f32]| numbers.iter().copied().fold(0.0, f32::max);
        let least = |numbers: &[f32]| numbers.iter().copied().fold(f32::MAX, f32::min);
        assert!(greatest(&numbers[0]) < least(&numbers[1]) && greatest(&numbers[1]) < least(&numbers[2]));
        assert_eq!([0, 1, 2].map(|split: usize| numbers[split].len()), sizes, "{split}");
    }
    let error =
        refused(&bench, "x,day,y\n1,2024-01-01,1\n2,soon,2\n", r#""by": "time", "time": "day""#).await;
    assert!(error.contains("line 3, column `day`: expected a date"), "{error}");
}

#[tokio::test]
async fn folds_of_times_are_measured_on_what_comes_after_what_they_are_trained_on() {
    let bench = Bench::new();
    // Ten rows a day, in no order: thirty days in six stretches of five.
    let content: String =
        (0..300).map(|row| row * 7 % 300).map(|row| format!("{row},{},{row}\n", row / 10)).collect();
    let content = format!("x,day,y\n{content}");
    for (number, sizes) in [(1, [40, 10, 50]), (5, [220, 30, 50])] {
        let split = format!(r#""by": "time", "time": "day", "fold": {{"number": {number}, "of": 5}}"#);
        let mut numbers = numbers(&open(&bench, &content, &split).await);
        assert_eq!([0, 1, 2].map(|split: usize| numbers[split].len()), sizes, "{split}");
        numbers.iter_mut().for_each(|split| split.sort_by(f32::total_cmp));
        let used: Vec<f32> = numbers.concat();
        assert_eq!(used, (0..used.len()).map(|row| row as f32).collect::<Vec<_>>(), "{split}");
    }
}

#[tokio::test]
async fn a_smaller_share_to_train_on_is_a_part_of_a_greater_one() {
    let bench = Bench::new();
    let content: String = (0..2_000).map(|row| format!("{row},{row}\n")).collect();
    let content = format!("x,y\n{content}");
    let of = async |more: &str| numbers(&open(&bench, &content, &format!(r#""seed": 3{more}"#)).await);
    let whole = of("").await;
    let half = of(r#", "train_share": 0.5"#).await;
    let tenth = of(r#", "train_share": 0.1"#).await;
    assert_eq!((&half[1], &half[2]), (&whole[1], &whole[2]), "what is measured on stays");
    assert!((720..880).contains(&half[0].len()) && (120..200).contains(&tenth[0].len()), "{}", half[0].len());
    assert!(half[0].iter().all(|row| whole[0].contains(row)));
    assert!(tenth[0].iter().all(|row| half[0].contains(row)));
}

#[tokio::test]
async fn a_hashed_key_keeps_its_split_as_data_grows() {
    let bench = Bench::new();
    let rows = |count: u32| {
        let rows: String = (0..count).map(|row| format!("{row},k{row},{row}\n")).collect();
        format!("x,key,y\n{rows}")
    };
    let split = r#""by": "hash", "key": "key""#;
    let few = numbers(&open(&bench, &rows(1_000), split).await);
    let many = numbers(&open(&bench, &rows(3_000), split).await);
    for (few, many) in few.iter().zip(&many) {
        let kept: Vec<f32> = many.iter().copied().filter(|number| *number < 1_000.0).collect();
        assert_eq!(*few, kept);
    }
    assert!((750..850).contains(&few[0].len()), "{}", few[0].len());
}

#[tokio::test]
async fn a_column_may_name_the_splits() {
    let bench = Bench::new();
    let content = "x,part,y\n1,train,1\n2,Test,2\n3,val,3\n4,train,4\n";
    let split = r#""by": "column", "column": "part""#;
    let numbers = numbers(&open(&bench, content, split).await);
    assert_eq!(numbers, [vec![1.0, 4.0], vec![3.0], vec![2.0]]);
    let error = refused(&bench, "x,part,y\n1,train,1\n2,tset,2\n", split).await;
    assert!(
        error.contains("line 3, column `part`: expected `train`, `validation` or `test`, found `tset`"),
        "{error}"
    );
    let error = refused(&bench, "x,part,y\n1,test,1\n2,test,2\n", split).await;
    assert!(error.contains("the train split gets no row"), "{error}");
}

const LEAKING: &str = "\
x,c,who,day,part,y
1,a,ann,2024-01-01,train,1
2,b,bob,2024-01-02,train,2
1,a,cid,2024-01-03,test,1
3,b,ann,2024-01-01,test,4
1,b,dan,2024-01-04,validation,5
1,b,eve,2024-01-05,test,5
";

#[tokio::test]
async fn equal_rows_are_told_or_refused_or_let_pass_as_asked() {
    let bench = Bench::new();
    let settings = |leakage: &str| {
        let split = format!(r#""by": "column", "column": "part"{leakage}"#);
        let settings = format!(
            r#""target": "y", "objective": "regression", "features": ["x", "c"], "split": {{{split}}}"#
        );
        spec("csv", &bench.file("a.csv", LEAKING), &settings)
    };
    let prepared = bench.prepare(&settings("")).await.unwrap();
    let told = "2 of 4 validation and test rows equal one of another split (50.0 %): line 2 (train) and line 4 (test)";
    assert!(prepared.summary.contains(told), "{}", prepared.summary);
    let findings = bench.open(&settings("")).await.manifest().leakage.clone();
    assert_eq!((findings[0].kind, findings[0].count, findings[0].of), (LeakageKind::EqualRows, 2, 4));

    let error = bench.prepare(&settings(r#", "leakage": "refuse""#)).await.unwrap_err().to_string();
    assert!(error.contains(told) && error.contains("`data.split.leakage = \"warn\"`"), "{error}");
    assert!(bench.open(&settings(r#", "leakage": "allow""#)).await.manifest().leakage.is_empty());
}

#[tokio::test]
async fn more_than_a_few_equal_rows_are_refused() {
    let bench = Bench::new();
    let content = |different: u32| -> String {
        let rows = (0..2_000).map(|row| row % different);
        let rows: String = rows.map(|row| format!("{row},{}\n", row * 3)).collect();
        format!("x,y\n{rows}")
    };
    let error = refused(&bench, &content(1_900), "").await;
    let found = error.contains("validation and test rows equal one of another split");
    assert!(found && error.contains("`data.split.by = \"group\"`"), "{error}");
    // One in two hundred.
    let findings = open(&bench, &content(1_995), "").await.manifest().leakage.clone();
    assert!(findings.iter().all(|finding| finding.count <= 5), "{findings:?}");
    // Another target is another row.
    let rows: String = (0..2_000).map(|row| format!("{},{row}\n", row % 3)).collect();
    assert!(open(&bench, &format!("x,y\n{rows}"), "").await.manifest().leakage.is_empty());
}

#[tokio::test]
async fn groups_and_times_in_two_splits_are_refused_unless_it_is_asked_otherwise() {
    let bench = Bench::new();
    let split = |more: &str| format!(r#""by": "column", "column": "part", {more}"#);
    let error = refused(&bench, LEAKING, &split(r#""group": "who""#)).await;
    let told = "1 row is in another split than the first row of their group: `ann`, line 2 (train) and line 5 (test), for one";
    assert!(error.contains(told) && error.contains("`data.split.by = \"group\"`"), "{error}");
    let error = refused(&bench, LEAKING, &split(r#""time": "day""#)).await;
    let told = "the test split begins before the validation split has ended: line 5 is of test and not later than line 6";
    assert!(error.contains(told) && error.contains("`data.split.by = \"time\"`"), "{error}");
    let dataset = open(&bench, LEAKING, &split(r#""group": "who", "leakage": "warn""#)).await;
    assert_eq!(dataset.manifest().leakage[0].kind, LeakageKind::EqualGroups);
    open(&bench, LEAKING, &split(r#""time": "day", "leakage": "warn""#)).await;
}

#[tokio::test]
async fn weighed_rows_have_the_same_shares_of_classes_in_every_group() {
    let bench = Bench::new();
    // Half of the women and a tenth of the men are of `yes`; the row's number is its only feature.
    let row = |row: u32| match row % 2 {
        0 => (row, "f", row.is_multiple_of(4)),
        _ => (row, "m", row % 20 == 1),
    };
    let line =
        |(row, sex, yes): (u32, &str, bool)| format!("{row},{sex},{}\n", if yes { "yes" } else { "no" });
    let content: String = (0..400).map(row).map(line).collect();
    let settings = r#""target": "y", "reweigh": ["sex"], "ignore": ["sex"], "encode": {"numbers": "none"}"#;
    let data = spec("csv", &bench.file("a.csv", format!("x,sex,y\n{content}")), settings);
    let dataset = bench.open(&data).await;
    let all = |split| dataset.gather(split, &(0..dataset.rows(split)).collect::<Vec<_>>()).unwrap();
    assert_eq!(all(Split::Test).weights, None);
    let train = all(Split::Train);
    let (Features::Floats(numbers), Some(weights)) = (train.features, train.weights) else {
        panic!("no weights")
    };
    let mut sums = BTreeMap::new();
    for (number, weight) in numbers.into_iter().zip(weights) {
        let (_, sex, yes) = row(number as u32);
        *sums.entry((sex, yes)).or_insert(0.0) += f64::from(weight);
    }
    let share = |sex| sums[&(sex, true)] / (sums[&(sex, true)] + sums[&(sex, false)]);
    assert!((share("f") - share("m")).abs() < 1e-5, "{sums:?}");
    assert!((sums.values().sum::<f64>() - train.rows as f64).abs() < 1e-2, "{sums:?}");
    let cells = dataset.manifest().weights.as_ref().map(|weights| weights.of.cells.len());
    assert_eq!(cells, Some(4));
    let numbers =
        spec("csv", &bench.file("b.csv", "x,y\n1,0.5\n2,1.5\n3,2.5\n"), r#""target": "y", "reweigh": ["x"]"#);
    let error = bench.prepare(&train_only(numbers)).await.unwrap_err().to_string();
    assert!(error.contains("`reweigh` needs a target of classes"), "{error}");
}
