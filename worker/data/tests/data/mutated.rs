//! Whole files of every kind, damaged at random: reading one ends in rows, or in an error that names the
//! file, and never in a panic, a hang, or a data set with fewer rows than were told. The seed is fixed and
//! printed with whatever is found; `worker/data/fuzz` looks for more, for as long as it is let.

use std::{fs, io::Write as _, time::Duration};

use arrow::{
    array::{Float64Array, Int64Array, ListArray, RecordBatch, StringArray, types::Int64Type},
    ipc::writer::{FileWriter, StreamWriter},
};
use image::{ImageFormat, RgbImage};
use phalanx_data::{PrepareError, read_anything};
use phalanx_protocol::spec::DataSpec;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::support::{Bench, array, spec};

/// Damaged files of each kind that are only read.
const READ: u64 = 200;

/// Damaged files of each kind that a data set is made of.
const PREPARED: u64 = 60;

/// Nothing that is this small takes longer, not even beside a busy neighbour.
const LONGEST: Duration = Duration::from_secs(20);

/// What readers stumble over.
const MARKS: [&[u8]; 16] = [
    b"\"",
    b"\n",
    b"\r",
    b",",
    b"\xff\xfe",
    b"\0",
    b"1e999",
    b"-9223372036854775809",
    b"NaN",
    b"{",
    b"[[[[[[[[",
    b"\"\"\"",
    b"\xef\xbb\xbf",
    b"\xff\xff\xff\x7f",
    b"\x1f\x8b\x08\x00",
    b"2026-13-45",
];

fn table() -> RecordBatch {
    let rows = 60;
    let number = |row: usize| (row % 7 != 3).then_some(row as f64 / 3.0);
    let columns = [
        ("x", array((0..rows).map(number).collect::<Float64Array>())),
        ("n", array((0..rows).map(|row| Some(row as i64 % 5)).collect::<Int64Array>())),
        (
            "t",
            array(
                (0..rows).map(|row| Some(["red", "a \"b\", c", "\u{e4}"][row % 3])).collect::<StringArray>(),
            ),
        ),
        ("y", array((0..rows).map(|row| Some(["p", "q"][row % 2])).collect::<StringArray>())),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn csv() -> Vec<u8> {
    let mut text = "x,n,t,y\n".to_owned();
    for row in 0..60 {
        let t = ["red", "\"a \"\"b\"\", c\"", "\u{e4}", "\"two\nlines\""][row % 4];
        text += &format!("{},{},{t},{}\n", row as f64 / 3.0, row % 5, ["p", "q"][row % 2]);
    }
    text.into_bytes()
}

fn json() -> Vec<u8> {
    let row = |row: usize| {
        format!("{{\"x\": {}.5, \"in\": {{\"n\": [1]}}, \"t\": \"\\u00e4\", \"y\": \"{}\"}}\n", row, row % 2)
    };
    (0..60).map(row).collect::<String>().into_bytes()
}

fn ipc(stream: bool) -> Vec<u8> {
    let batch = table();
    if stream {
        let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
        writer.write(&batch).unwrap();
        writer.into_inner().unwrap()
    } else {
        let mut writer = FileWriter::try_new(Vec::new(), &batch.schema()).unwrap();
        writer.write(&batch).unwrap();
        writer.into_inner().unwrap()
    }
}

fn parquet(bench: &Bench, lists: bool) -> Vec<u8> {
    let rows = table();
    let mut columns: Vec<_> =
        ["x", "n", "t", "y"].map(|name| (name, rows.column_by_name(name).unwrap().clone())).to_vec();
    if lists {
        let list = |row: i64| Some(vec![Some(row), Some(row + 1)]);
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>((0..60).map(list));
        columns = vec![("x", array(lists)), columns[3].clone()];
    }
    fs::read(bench.parquet("seed.parquet", columns)).unwrap()
}

fn image(format: ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    RgbImage::from_fn(8, 8, |x, y| image::Rgb([x as u8 * 30, y as u8 * 30, 7]))
        .write_to(&mut bytes, format)
        .unwrap();
    bytes.into_inner()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

fn tasks() -> Vec<u8> {
    let task = |label: &str| {
        format!(
            r#"{{"id": 1, "data": {{"text": "a \u00e4", "n": 1}}, "annotations": [{{"completed_by": {{"email": "a@x"}},
            "was_cancelled": false, "result": [{{"from_name": "y", "type": "choices", "value": {{"choices": ["{label}"]}}}}]}}]}}"#
        )
    };
    format!("[{}, {}, {}]", task("p"), task("q"), task("p")).into_bytes()
}

/// A damaged copy.
fn damaged(whole: &[u8], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    for _ in 0..random.random_range(1..6) {
        let at = random.random_range(0..bytes.len().max(1)).min(bytes.len());
        match random.random_range(0..6) {
            0 if at < bytes.len() => bytes[at] = random.random(),
            1 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
            2 => drop(bytes.splice(at..at, MARKS[random.random_range(0..MARKS.len())].iter().copied())),
            3 => drop(bytes.drain(at..(at + random.random_range(1..40)).min(bytes.len()))),
            4 => {
                let copy = bytes[at..(at + random.random_range(1..200)).min(bytes.len())].to_vec();
                let to = random.random_range(0..=bytes.len());
                bytes.splice(to..to, copy);
            }
            _ if random.random_range(0..4) == 0 => bytes.truncate(at),
            _ => {}
        }
    }
    bytes
}

fn seeds() -> Vec<(&'static str, u8, Vec<u8>)> {
    let bench = Bench::new();
    vec![
        ("CSV", 0, csv()),
        ("gzip", 0, gzip(&csv())),
        ("Zstandard", 0, zstd::encode_all(csv().as_slice(), 3).unwrap()),
        ("JSON lines", 1, json()),
        ("Parquet", 2, parquet(&bench, false)),
        ("Parquet with lists", 2, parquet(&bench, true)),
        ("Arrow IPC", 3, ipc(false)),
        ("Arrow stream", 3, ipc(true)),
        ("PNG", 4, image(ImageFormat::Png)),
        ("JPEG", 4, image(ImageFormat::Jpeg)),
        ("Label Studio", 5, tasks()),
    ]
}

#[test]
fn a_damaged_file_is_read_or_refused_and_never_ends_in_a_panic() {
    for (name, kind, whole) in seeds() {
        assert!(read_anything(kind, &whole).unwrap() > 0, "{name}");
        for seed in 0..READ {
            let mut random = StdRng::seed_from_u64(seed);
            let content = damaged(&whole, &mut random);
            // With and without quarantine; images resized or not.
            let kind = kind + 6 * random.random_range(0..40);
            let started = std::time::Instant::now();
            match read_anything(kind, &content) {
                Ok(rows) => assert!(rows <= content.len() as u64, "{name}, seed {seed}: {rows} rows"),
                Err(PrepareError::Crashed { .. }) => panic!("{name}, seed {seed}: a reader has crashed"),
                Err(error) => assert!(error.to_string().contains("anything"), "{name}, seed {seed}: {error}"),
            }
            assert!(started.elapsed() < LONGEST, "{name}, seed {seed}: {:?}", started.elapsed());
        }
    }
}

#[tokio::test]
async fn a_damaged_file_becomes_a_data_set_or_an_error_that_names_it() {
    let kinds =
        [("csv", csv()), ("json", json()), ("parquet", parquet(&Bench::new(), false)), ("arrow", ipc(false))];
    for (kind, whole) in kinds {
        for seed in 0..PREPARED {
            let mut random = StdRng::seed_from_u64(seed);
            let bench = Bench::new();
            let path = bench.file("damaged", damaged(&whole, &mut random));
            let malformed = ["fail", "quarantine"][random.random_range(0..2)];
            let clean =
                ["", r#", "clean": [{"trim": {}}, {"drop_duplicates": {}}]"#][random.random_range(0..2)];
            let settings =
                format!(r#""target": "y", "objective": "classification", "malformed": "{malformed}"{clean}"#);
            let spec: DataSpec = spec(kind, &path, &settings);
            match bench.prepare(&spec).await {
                Ok(prepared) => assert!(prepared.dataset.train_rows > 0, "{kind}, seed {seed}"),
                Err(PrepareError::Crashed { .. }) => panic!("{kind}, seed {seed}: preparing has crashed"),
                Err(error) => {
                    let said = error.to_string();
                    assert!(
                        said.contains("damaged") || said.starts_with("[data]"),
                        "{kind}, seed {seed}: {said}"
                    );
                    let listed = bench.store.list_prefix("datasets").await.unwrap();
                    assert!(
                        listed.iter().all(|file| !file.path.ends_with("manifest.json")),
                        "{kind}, seed {seed}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_header_or_a_row_without_end_is_refused_before_memory_is_full() {
    let refused = |kind: u8, content: &[u8], part: &str| {
        let error = read_anything(kind, content).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    refused(0, &[b','; 8 << 20], "line 1: expected at most 1048576 bytes in a row");
    refused(0, &[b"x,y\n".as_slice(), &[b'a'; 8 << 20]].concat(), "expected at most 1048576 bytes in a row");
    refused(1, &[b'{'; 8 << 20], "line 1: expected at most 1048576 bytes in a row");
    let wide: String = (0..20_000).map(|column| format!("\"c{column}\":1,")).collect();
    refused(1, format!("{{{}\"y\":1}}", wide).as_bytes(), "expected at most 10000 columns, found 20001");
    let bomb = zstd::encode_all([b'a'; 128 << 20].as_slice(), 3).unwrap();
    refused(5, &bomb, "expected");
    refused(1, &bomb, "expected at most 1048576 bytes in a row");
    let blank = zstd::encode_all([b'\n'; 128 << 20].as_slice(), 3).unwrap();
    refused(1, &blank, "it unpacks to more than 200 times its size");
}
