//! Sources of every kind give the same rows, and say what is wrong with theirs.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
};

use arrow::{
    array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray},
    ipc::writer::FileWriter,
};
use phalanx_data::{Validation, validate};
use phalanx_protocol::spec::DataSpec;
use proptest::prelude::*;

use crate::support::{Bench, array, spec};

const CSV: &str = "a,b,t\n1,0.5,x\n2,1.5,z\n";

async fn validated(spec: &DataSpec) -> Validation {
    validate(spec, &mut |_| {}).await.unwrap()
}

async fn refused(spec: &DataSpec, part: &str) {
    let error = validate(spec, &mut |_| {}).await.unwrap_err().to_string();
    assert!(error.contains(part), "{error}");
}

/// Expects the rows of [`CSV`], so many times.
async fn check(spec: &DataSpec, times: u64) {
    let validation = validated(spec).await;
    let found: Vec<(&str, &str)> =
        validation.columns.iter().map(|column| (column.name.as_str(), column.data_type.as_str())).collect();
    assert_eq!(found, [("a", "Int64"), ("b", "Float64"), ("t", "Utf8")]);
    assert_eq!(validation.funnel.rows_clean, 2 * times);
}

const TARGET: &str = r#""target": "t""#;

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(content).unwrap();
    packed.finish().unwrap()
}

#[tokio::test]
async fn csv_and_tsv_are_read_packed_or_not_one_file_or_many() {
    let bench = Bench::new();
    check(&spec("csv", &bench.file("a.csv", CSV), TARGET), 1).await;
    check(&spec("csv", &bench.file("a.csv.gz", gzip(CSV.as_bytes())), TARGET), 1).await;
    check(&spec("csv", &bench.file("a.csv.zst", zstd::encode_all(CSV.as_bytes(), 0).unwrap()), TARGET), 1)
        .await;
    let tsv = r#""target": "t", "delimiter": "\t""#;
    check(&spec("csv", &bench.file("a.tsv", CSV.replace(',', "\t")), tsv), 1).await;
    bench.file("part-1.csv", CSV);
    // The columns of a later file may stand in another order.
    bench.file("part-2.csv", "t,a,b\nx,1,0.5\nz,2,1.5\n");
    check(&spec("csv", &bench.path("part-*.csv"), TARGET), 2).await;
    let url = format!("file://{}", bench.path("part-*.csv").display());
    check(&spec("csv", Path::new(&url), TARGET), 2).await;
}

#[tokio::test]
async fn json_lines_give_the_same_rows() {
    let bench = Bench::new();
    let json = "{\"a\": 1, \"b\": 0.5, \"t\": \"x\"}\n\n{\"t\": \"z\", \"b\": 1.5, \"a\": 2}\n";
    check(&spec("json", &bench.file("a.jsonl", json), TARGET), 1).await;
    let nested = "{\"a\": {\"b\": 1}, \"t\": \"x\", \"l\": [1, 2], \"n\": \"12\"}\n{\"t\": \"z\"}\n";
    let validation = validated(&spec("json", &bench.file("b.jsonl", nested), TARGET)).await;
    let found: Vec<(&str, &str, u64)> = validation
        .columns
        .iter()
        .map(|column| (column.name.as_str(), column.data_type.as_str(), column.missing))
        .collect();
    assert_eq!(found, [("a.b", "Int64", 1), ("t", "Utf8", 0), ("l", "Utf8", 1), ("n", "Utf8", 1)]);
}

fn columns() -> Vec<(&'static str, ArrayRef)> {
    vec![
        ("a", array(Int64Array::from(vec![1, 2]))),
        ("b", array(Float64Array::from(vec![0.5, 1.5]))),
        ("t", array(StringArray::from(vec!["x", "z"]))),
    ]
}

#[tokio::test]
async fn parquet_and_arrow_files_give_the_same_rows() {
    let bench = Bench::new();
    bench.parquet("part-1.parquet", columns());
    bench.parquet("part-2.parquet", columns());
    check(&spec("parquet", &bench.path("part-*.parquet"), TARGET), 2).await;
    let path = bench.path("a.arrow");
    let batch = RecordBatch::try_from_iter(columns()).unwrap();
    let mut writer = FileWriter::try_new(File::create(&path).unwrap(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    check(&spec("arrow", &path, TARGET), 1).await;
}

#[tokio::test]
async fn sqlite_gives_the_same_rows() {
    let bench = Bench::new();
    let path = bench.path("a.sqlite");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE r (a INTEGER, b REAL, t TEXT); INSERT INTO r VALUES (2, 1.5, 'z'), (1, 0.5, 'x')",
        )
        .unwrap();
    let mut spec: DataSpec = serde_json::from_value(serde_json::json!({
        "target": "t", "sql": {"sqlite": path, "query": "SELECT * FROM r ORDER BY a"}
    }))
    .unwrap();
    check(&spec, 1).await;
    spec.sql.as_mut().unwrap().query = "SELECT * FROM nowhere ORDER BY a".to_owned();
    refused(&spec, "no such table: nowhere").await;
    spec.sql.as_mut().unwrap().query = "DROP TABLE r".to_owned();
    refused(&spec, "").await;
    assert_eq!(connection.query_row("SELECT count(*) FROM r", [], |row| row.get::<_, i64>(0)).unwrap(), 2);
}

#[tokio::test]
async fn images_are_labelled_by_their_folder_or_by_a_file() {
    let bench = Bench::new();
    let image = |name: &str, side: u32| {
        let path = bench.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::GrayImage::from_fn(side, side, |x, y| image::Luma([(x + y) as u8])).save(path).unwrap();
    };
    image("pets/cat/1.png", 4);
    image("pets/cat/2.jpg", 4);
    image("pets/dog/3.png", 4);
    let settings = r#""shape": [1, 4, 4]"#;
    let by_folder = spec("images", &bench.path("pets"), settings);
    let validation = validated(&by_folder).await;
    assert_eq!(validation.funnel.rows_clean, 3);
    let dataset = bench.open(&crate::support::train_only(by_folder.clone())).await;
    assert_eq!(dataset.rows(phalanx_data::Split::Train), 3);

    let labels = bench.file("labels.csv", "file,label\ncat/1.png,old\ncat/2.jpg,young\ndog/3.png,old\n");
    let mut by_file = by_folder.clone();
    by_file.images.as_mut().unwrap().labels = Some(labels);
    assert_eq!(validated(&by_file).await.funnel.rows_clean, 3);

    image("pets/dog/4.png", 8);
    refused(&by_folder, "4.png: ").await;
    let mut resized = by_folder.clone();
    resized.images.as_mut().unwrap().resize = true;
    assert_eq!(validated(&resized).await.funnel.rows_clean, 4);
    let mut aside = by_folder;
    aside.malformed = phalanx_protocol::spec::Malformed::Quarantine;
    fs::write(bench.path("pets/dog/5.png"), "no image").unwrap();
    let validation = validated(&aside).await;
    assert_eq!((validation.funnel.rows_clean, validation.quarantined), (3, 2));
}

#[tokio::test]
async fn what_is_wrong_with_a_source_is_told_with_file_and_line() {
    let bench = Bench::new();
    let packed = |name: &str, content: &str| spec("csv", &bench.file(name, gzip(content.as_bytes())), TARGET);
    refused(&packed("ragged.gz", "a,t\n1,x\n2\n"), "ragged.gz, line 3: expected 2 cells").await;
    refused(
        &packed("mixed.gz", "a,t\n1,x\n2,y\nthree,x\n4,y\n"),
        "mixed.gz, line 4, column `a`: expected a number",
    )
    .await;
    let path = bench.file("bytes.gz", gzip(b"a,t\n1,x\n2,\xff\n"));
    refused(&spec("csv", &path, TARGET), "bytes.gz, line 3: expected UTF-8, found other bytes in column 2")
        .await;
    let json = bench.file("bytes.jsonl", b"{\"t\": \"x\"}\n{\"t\": \"\xff\"}\n");
    refused(
        &spec("json", &json, TARGET),
        "bytes.jsonl, line 2: expected UTF-8, found other bytes in column 8",
    )
    .await;
    let json = bench.file("a.jsonl", "{\"a\": 1, \"t\": \"x\"}\n{\"a\": 2,\n");
    refused(
        &spec("json", &json, TARGET),
        "a.jsonl, line 2: expected a JSON object, found something else in column 8: EOF while parsing a value",
    )
    .await;
    let ours = bench.file("ours.jsonl", "{\"__at\": \"x\", \"t\": \"x\"}\n");
    refused(&spec("json", &ours, TARGET), "ours.jsonl, column `__at`: rename it").await;
    let half = bench.file("half.gz", &gzip(CSV.repeat(1_000).as_bytes())[..40]);
    refused(&spec("csv", &half, TARGET), "half.gz").await;
    refused(&spec("csv", &bench.path("none-*.csv"), TARGET), "no file is like this").await;
}

#[tokio::test]
async fn a_file_that_is_not_like_the_first_is_named_with_the_difference() {
    let bench = Bench::new();
    bench.file("part-1.csv", CSV);
    bench.file("part-2.csv", "a,b\n1,2\n");
    refused(&spec("csv", &bench.path("part-*.csv"), TARGET), "part-2.csv: there is no column `t`, unlike ")
        .await;
    bench.file("part-2.csv", "a,b,t,more\n1,2,x,3\n");
    refused(&spec("csv", &bench.path("part-*.csv"), TARGET), "part-2.csv: there is a column `more` more")
        .await;
    bench.parquet("part-1.parquet", columns());
    bench.parquet(
        "part-2.parquet",
        vec![
            ("a", array(StringArray::from(vec!["1"]))),
            ("b", array(Float64Array::from(vec![0.5]))),
            ("t", array(StringArray::from(vec!["x"]))),
        ],
    );
    refused(
        &spec("parquet", &bench.path("part-*.parquet"), TARGET),
        "column `a` is of type Utf8, expected Int64",
    )
    .await;
}

#[tokio::test]
async fn a_file_that_unpacks_to_too_much_and_a_header_without_end_are_refused() {
    let bench = Bench::new();
    let bomb = bench.file("bomb.csv.gz", gzip(&vec![b'a'; 100 << 20]));
    refused(&spec("csv", &bomb, TARGET), "").await;
    let mut rows = b"a,t\n".to_vec();
    rows.extend(b"1,x\n".repeat(30 << 20));
    let bomb = bench.file("bomb.csv.gz", gzip(&rows));
    refused(&spec("csv", &bomb, TARGET), "it unpacks to more than 200 times its size").await;
    let header = bench.file("header.csv.gz", gzip("a,".repeat(20 << 20).as_bytes()));
    refused(&spec("csv", &header, TARGET), "line 1: expected at most 1048576 bytes in a row").await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_bytes_a_source_holds_reading_it_ends_in_rows_or_an_error(
        kind: u8,
        start in prop::sample::select(vec![&b""[..], b"PAR1", b"ARROW1\0\0", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"BZh91AY", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"a,y\n", b"{\"a\":"]),
        content in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let _ = phalanx_data::read_anything(kind, &[start, &content].concat());
    }

    #[test]
    fn a_file_with_a_few_bytes_changed_gives_rows_or_an_error(
        kind in 2_u8..4,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut content = if kind == 2 { parquet_bytes() } else { arrow_bytes() };
        for (place, byte) in changes {
            let place = place.index(content.len());
            content[place] = byte;
        }
        let _ = phalanx_data::read_anything(kind, &content);
    }

    #[test]
    fn csv_of_any_text_gives_rows_or_an_error(content in "[ab,\"\n\r 1.]{0,200}", kind in prop::sample::select(vec![0_u8, 70])) {
        let _ = phalanx_data::read_anything(kind, content.as_bytes());
    }
}

fn parquet_bytes() -> Vec<u8> {
    let bench = Bench::new();
    fs::read(bench.parquet("a.parquet", columns())).unwrap()
}

fn arrow_bytes() -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns()).unwrap();
    let mut writer = FileWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}
