//! Every bad input has a message that names the file, the place in it, what was
//! expected and what was found; and nothing is left in the store that could be
//! taken for a data set.

use std::{fs, path::Path};

use arrow::array::{
    Array as _, BinaryArray, Date32Array, FixedSizeListArray, Float32Array, Float64Array, Int64Array,
    ListArray, StringArray, Time32SecondArray, UInt8Array,
};
use phalanx_protocol::spec::DataSpec;

use crate::support::{Bench, array, offsets, spec, train_only};

/// Prepares a data set from what `source` writes, and compares the message, in
/// which FILE stands for the source's path.
async fn check(source: impl FnOnce(&Bench) -> DataSpec, expected: &str) {
    let bench = Bench::new();
    let mut data = source(&bench);
    let path = data.paths_mut().next().map(|path| path.display().to_string()).unwrap_or_default();
    let found = match bench.prepare(&data).await {
        Ok(prepared) => panic!("expected {expected:?}, found a data set: {}", prepared.summary),
        Err(error) => error.to_string().replace(&path, "FILE"),
    };
    assert_eq!(found, expected);
    assert_eq!(bench.store.list_prefix("datasets").await.unwrap(), []);
}

/// [`check`] for a CSV file whose target is `y`, with these settings besides.
async fn check_csv(content: impl AsRef<[u8]>, settings: &str, expected: &str) {
    let settings = if settings.contains("\"target\"") { settings.to_owned() } else { with_target(settings) };
    check(|bench| spec("csv", &bench.file("rows.csv", content), &settings), expected).await;
}

/// [`check`] for a Parquet file of these columns, whose target is `y`.
async fn check_parquet(columns: Vec<(&str, arrow::array::ArrayRef)>, settings: &str, expected: &str) {
    check(
        |bench| train_only(spec("parquet", &bench.parquet("rows.parquet", columns), &with_target(settings))),
        expected,
    )
    .await;
}

fn with_target(settings: &str) -> String {
    let comma = if settings.is_empty() { "" } else { ", " };
    format!("\"target\": \"y\"{comma}{settings}")
}

const REGRESSION: &str = "\"objective\": \"regression\"";
const CLASSES: &str = "\"objective\": \"classification\"";

#[tokio::test]
async fn a_file_that_cannot_be_read_is_named() {
    check(|bench| spec("csv", &bench.path("no.csv"), "\"target\": \"y\""), "FILE: no such file").await;
    let folder = |bench: &Bench| {
        fs::create_dir(bench.path("folder")).unwrap();
        spec("text", &bench.path("folder"), "")
    };
    check(folder, "FILE: expected a file, found something else").await;
    check(|_| spec("text", Path::new("/dev/null"), ""), "FILE: expected a file, found something else").await;
}

#[tokio::test]
async fn a_file_without_rows_says_so() {
    check_csv("", "", "FILE: the file is empty; expected a header line and rows").await;
    check_csv("\n\n", "", "FILE: the file is empty; expected a header line and rows").await;
    check_csv("x,y\n", "", "FILE: there are no rows, only the names of 2 columns").await;
    check(|bench| spec("text", &bench.file("a.txt", ""), ""), "FILE: the file is empty; expected text").await;
    check(
        |bench| spec("parquet", &bench.file("a.parquet", ""), "\"target\": \"y\""),
        "FILE: the file is empty; expected a Parquet file",
    )
    .await;
    let none = vec![
        ("x", array(Float32Array::from(Vec::<f32>::new()))),
        ("y", array(Float32Array::from(Vec::<f32>::new()))),
    ];
    check_parquet(none, "", "FILE: there are no rows, only the names of 2 columns").await;
}

#[tokio::test]
async fn a_wrong_line_is_named() {
    let ragged = "x,y\n1,a\n2,b,3\n";
    check_csv(ragged, "", "FILE, line 3: expected 2 cells, as in the header line, found 3").await;
    let after_long_cell = "x,y\n\"1\n\n\",a\n2\n";
    check_csv(
        after_long_cell,
        "",
        "FILE, line 5: expected 2 cells, as in the header line, found 1; there is none for column `y`",
    )
    .await;
    let latin = b"x,y\n1,a\n2,\xe4\n";
    check_csv(
        latin,
        "",
        "FILE, line 3: expected UTF-8, found other bytes in column 2; save the file as UTF-8",
    )
    .await;
    let header = b"x,\xe4\n1,a\n";
    check_csv(
        header,
        "",
        "FILE, line 1: expected UTF-8, found other bytes in column 2; save the file as UTF-8",
    )
    .await;
    let open_quote = format!("x,y\n1,a\n\"2,b\n{}", "3,c\n".repeat(400_000));
    check_csv(open_quote, "", "FILE, line 3: expected at most 1048576 bytes in a row; is a quote left open?")
        .await;
}

#[tokio::test]
async fn a_wrong_header_is_named() {
    check_csv("x,y,x\n1,2,3\n", "", "FILE, column `x`: there are two columns of this name; rename one").await;
    let many = format!("{}\n", vec!["x"; 10_001].join(","));
    check_csv(many, "", "FILE: expected at most 10000 columns, found 10001").await;
    check_csv(
        "age,income,Price\n1,2,3\n",
        "\"target\": \"price\"",
        "FILE: there is no column `price`, which `target` names; did you mean `Price`? the columns are `age`, `income`, `Price`",
    )
    .await;
    check_csv(
        "age,y\n1,2\n",
        "\"ignore\": [\"workclass\"]",
        "FILE: there is no column `workclass`, which `ignore` names; the columns are `age`, `y`",
    )
    .await;
    check_csv(
        "age,y\n1,2\n",
        "\"features\": [\"agee\"]",
        "FILE: there is no column `agee`, which `features` names; did you mean `age`? the columns are `age`, `y`",
    )
    .await;
    check_csv(
        "age,y\n1,2\n",
        "\"ignore\": [\"y\"]",
        "FILE, column `y`: it is the target and cannot be a feature too; take it out of `features` or `ignore`",
    )
    .await;
    check_csv("y\n1\n", "", "FILE: no column is left as a feature beside the target `y`").await;
    check_csv(
        "x,y\n1,2\n",
        "\"delimiter\": \"ä\"",
        "[data]: `delimiter` must be an ASCII character, found `ä`",
    )
    .await;
}

#[tokio::test]
async fn text_in_a_column_of_numbers_is_shown() {
    check_csv(
        "x,y\n1,a\n2,b\noops,a\nalas,b\n3,a\n",
        "",
        "FILE, line 4, column `x`: expected a number, as in most cells of the column, found `oops`; if the column \
         holds codes, name it in `categorical`; if this text means that there is no value, add it to `missing`",
    )
    .await;
    check_csv(
        "x,y\n1,a\n2,b\ninf,a\n",
        "",
        "FILE, line 4, column `x`: expected a number, as in most cells of the column, found `inf`; if the column \
         holds codes, name it in `categorical`; if this text means that there is no value, add it to `missing`",
    )
    .await;
    check_csv("x,y\n?,a\n,b\n", "", "FILE, column `x`: every cell is missing; name the column in `ignore`")
        .await;
    let infinite = vec![
        ("x", array(Float64Array::from(vec![1.0, 2.0, f64::INFINITY]))),
        ("y", array(StringArray::from(vec!["a", "b", "a"]))),
    ];
    check_parquet(infinite, "", "FILE, row 3, column `x`: expected a finite number, found `inf`").await;
}

#[tokio::test]
async fn a_column_of_too_many_texts_is_named() {
    let rows: String = (0..2_000).map(|row| format!("id{row},{}\n", row % 2)).collect();
    let content = format!("x,y\n{rows}");
    let expected = "FILE, column `x`: there are more than 1000 different texts; encode it another way \
                    (`encode.columns = { \"x\" = \"hashing\" }`), or name it in `ignore`";
    check_csv(content, CLASSES, expected).await;
    let rows: String = (0..20_000).map(|row| format!("1,{row}\n")).collect();
    check_csv(
        format!("x,y\n{rows}"),
        CLASSES,
        "FILE, column `y`: there are more than 1000 different values to predict; if they are numbers, set \
         `objective = \"regression\"`",
    )
    .await;
}

#[tokio::test]
async fn a_target_that_is_no_value_is_shown() {
    let missing =
        "expected a value to predict, found none (an empty cell, NaN, or one of `missing`); remove the row";
    for cell in ["", "NaN", " ? "] {
        let content = format!("x,y\n1,2.5\n2,{cell}\n");
        check_csv(&content, "", &format!("FILE, line 3, column `y`: {missing}")).await;
        check_csv(&content, REGRESSION, &format!("FILE, line 3, column `y`: {missing}")).await;
        check_csv(&content, CLASSES, &format!("FILE, line 3, column `y`: {missing}")).await;
    }
    let no_number = "remove the row, or set `objective = \"classification\"` if the target is a class";
    for cell in ["inf", "-inf", "1e39", "oops"] {
        let expected = format!(
            "FILE, line 3, column `y`: expected a finite number to predict, found `{cell}`; {no_number}"
        );
        let content = format!("x,y\n1,2.5\n2,{cell}\n3,1.5\n");
        check_csv(&content, REGRESSION, &expected).await;
        check_csv(&content, "", &expected).await;
    }
    for (value, settings) in
        [(f32::NAN, ""), (f32::NAN, REGRESSION), (f32::NAN, CLASSES), (f32::INFINITY, CLASSES)]
    {
        let columns = vec![
            ("x", array(UInt8Array::from(vec![1, 2]))),
            ("y", array(Float32Array::from(vec![1.5, value]))),
        ];
        check_parquet(columns, settings, &format!("FILE, row 2, column `y`: {missing}")).await;
    }
    let columns = vec![
        ("x", array(UInt8Array::from(vec![1, 2, 3]))),
        ("y", array(StringArray::from(vec![Some("a"), Some("b"), None]))),
    ];
    check_parquet(columns, "", &format!("FILE, row 3, column `y`: {missing}")).await;
}

#[tokio::test]
async fn a_target_that_says_nothing_is_refused() {
    let one = "FILE, column `y`: expected at least two classes to predict, found only `a`";
    check_csv("x,y\n1,a\n2,a\n", "", one).await;
    let integers = "FILE, column `y`: the target holds integers, which may be classes or numbers; set `objective` to \
                    \"classification\" or \"regression\"";
    check_csv("x,y\n1,0\n2,1\n", "", integers).await;
    let columns =
        vec![("x", array(UInt8Array::from(vec![1, 2]))), ("y", array(Int64Array::from(vec![0, 1])))];
    check_parquet(columns, "", integers).await;
    let columns =
        vec![("x", array(UInt8Array::from(vec![1, 2]))), ("y", array(Date32Array::from(vec![0, 1])))];
    check_parquet(columns, CLASSES, "FILE, column `y`: expected numbers or text to predict, found dates")
        .await;
}

#[tokio::test]
async fn a_split_without_rows_is_refused() {
    check_csv(
        "x,y\n1,a\n2,b\n3,a\n",
        "",
        "FILE: the validation split gets no row: 0.1 of 3 rows; give it a larger fraction or more data",
    )
    .await;
    check(
        |bench| spec("text", &bench.file("a.txt", [b'a'; 500]), "\"context\": 100"),
        "FILE: the validation split gets no row: 0.1 of 500 bytes; give it a larger fraction or more data",
    )
    .await;
    let fractions = |bench: &Bench| {
        let mut data = spec("text", &bench.file("a.txt", "text"), "");
        data.split.test = f64::NAN;
        data
    };
    check(
        fractions,
        "[data]: the fractions of `split` must be of 0 to 1 and add up to 1, found [0.8, 0.1, NaN]",
    )
    .await;
}

#[tokio::test]
async fn a_damaged_parquet_file_is_named() {
    let cut = |bench: &Bench| {
        let columns = vec![
            ("x", array(UInt8Array::from(vec![1, 2]))),
            ("y", array(Float32Array::from(vec![1.5, 2.0]))),
        ];
        let path = bench.parquet("whole.parquet", columns);
        let content = fs::read(path).unwrap();
        spec("parquet", &bench.file("cut.parquet", &content[..content.len() / 2]), "\"target\": \"y\"")
    };
    check(cut, "FILE: not a whole Parquet file: Parquet error: Invalid Parquet file. Corrupt footer").await;
    check(
        |bench| spec("parquet", &bench.file("rows.parquet", "x,y\n1,2\n"), "\"target\": \"y\""),
        "FILE: not a whole Parquet file: Parquet error: Invalid Parquet file. Corrupt footer",
    )
    .await;
}

#[tokio::test]
async fn a_column_of_the_wrong_type_is_named() {
    let labels = || ("y", array(StringArray::from(vec!["a", "b"])));
    check_parquet(
        vec![("x", array(Time32SecondArray::from(vec![1, 2]))), labels()],
        "",
        "FILE, column `x`: expected numbers, text, or lists of numbers, found Time32(s); name the column in `ignore`",
    )
    .await;
    check_parquet(
        vec![("x", array(UInt8Array::from(vec![1, 2]))), ("image", array(BinaryArray::from(vec![&b"ab"[..], b"cd"]))), labels()],
        "",
        "FILE, column `image`: a column of lists or bytes must be the only feature; name it in `features`, or the \
         others in `ignore`",
    )
    .await;
    check_parquet(
        vec![("x", array(UInt8Array::from(vec![1, 2]))), labels()],
        "\"shape\": [1, 1, 2]",
        "FILE, column `x`: expected lists or bytes for an image of shape [1, 1, 2], found integers",
    )
    .await;
}

#[tokio::test]
async fn a_wrong_image_is_named() {
    let labels = || ("y", array(StringArray::from(vec!["a", "b"])));
    let lists = |values: Vec<i64>, lengths: &[usize]| {
        let values = array(Int64Array::from(values));
        let item = arrow::datatypes::Field::new("item", values.data_type().clone(), true);
        array(ListArray::new(item.into(), offsets(lengths), values, None))
    };
    check_parquet(
        vec![("image", lists(vec![1, 2, 3], &[2, 1])), labels()],
        "\"shape\": [1, 1, 2]",
        "FILE, row 2, column `image`: expected 2 values, for an image of shape [1, 1, 2], found 1",
    )
    .await;
    check_parquet(
        vec![("image", lists(vec![1, 2, 3], &[2, 1])), labels()],
        "",
        "FILE, row 2, column `image`: expected 2 values, as in the rows before, found 1",
    )
    .await;
    check_parquet(
        vec![("image", lists(vec![1, 2, 255, 256], &[2, 2])), labels()],
        "\"shape\": [1, 1, 2]",
        "FILE, row 2, column `image`: expected pixels of 0 to 255, found 256",
    )
    .await;
    let fixed = array(UInt8Array::from(vec![1, 2, 3, 4]));
    let item = arrow::datatypes::Field::new("item", fixed.data_type().clone(), true);
    let fixed = || array(FixedSizeListArray::new(item.clone().into(), 2, fixed.clone(), None));
    check_parquet(
        vec![("image", fixed()), labels()],
        "\"shape\": [1, 1, 3]",
        "FILE, row 1, column `image`: expected 3 values, for an image of shape [1, 1, 3], found 2",
    )
    .await;
    check_parquet(
        vec![("image", array(BinaryArray::from(vec![Some(&b"ab"[..]), None]))), labels()],
        "\"shape\": [1, 1, 2]",
        "FILE, row 2, column `image`: expected a list of numbers, found a missing value; remove the row",
    )
    .await;
    check_parquet(
        vec![("image", fixed()), labels()],
        "\"shape\": [0, 1, 3]",
        "[data]: `shape` must be of 1 to 16777216 values, found [0, 1, 3]",
    )
    .await;
}
