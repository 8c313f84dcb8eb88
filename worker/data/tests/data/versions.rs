//! Dataset versions: named by content and recipe, written once, found again.

use std::{collections::BTreeSet, fs};

use arrow::ipc::reader::FileReader;
use phalanx_data::{
    Dataset, OpenError, PrepareError, Progress, SHARD_BYTES, Sketches, Split, Stage, Targets, find_version,
    prepare,
};
use phalanx_protocol::spec::DataSpec;
use phalanx_storage::{StorageError, Store};

use crate::support::{Bench, spec, train_only};

const CSV: &str = "x,y\n1,a\n2,b\n3,a\n4,b\n5,a\n6,b\n7,a\n8,b\n9,a\n10,b\n";

fn csv(bench: &Bench, name: &str) -> DataSpec {
    spec("csv", &bench.file(name, CSV), r#""target": "y""#)
}

#[tokio::test]
async fn the_second_run_finds_what_the_first_one_wrote_whatever_the_path() {
    let bench = Bench::new();
    let first = bench.prepare(&csv(&bench, "a.csv")).await.unwrap();
    assert!(!first.found);
    assert_eq!(
        first.summary,
        "a.csv: 10 rows, 1 column as 1 number, 2 classes; 8 to train on, 1 for validation, 1 for the test"
    );
    let second = bench.prepare(&csv(&bench, "other name.csv")).await.unwrap();
    assert!(second.found);
    assert_eq!(second.dataset, first.dataset);
    assert_eq!(second.summary, first.summary);
}

#[tokio::test]
async fn another_content_or_recipe_is_another_version() {
    let bench = Bench::new();
    let mut versions = BTreeSet::new();
    let base = csv(&bench, "a.csv");
    let seeded = |seed| {
        let mut data = base.clone();
        data.split.seed = seed;
        data
    };
    let ignoring = spec("csv", &bench.path("a.csv"), r#""target": "y", "missing": ["9"]"#);
    let longer = spec("csv", &bench.file("b.csv", format!("{CSV}11,a\n")), r#""target": "y""#);
    for data in [base.clone(), seeded(1), seeded(2), ignoring, longer] {
        versions.insert(bench.prepare(&data).await.unwrap().dataset.version);
    }
    assert_eq!(versions.len(), 5);
}

#[tokio::test]
async fn two_stores_get_the_same_bytes() {
    let benches = [Bench::new(), Bench::new()];
    let mut files = Vec::new();
    for bench in &benches {
        let version = bench.prepare(&csv(bench, "a.csv")).await.unwrap().dataset.version;
        let manifest = format!("datasets/{version}/manifest.json");
        let mut listed = bench.store.list_prefix("datasets").await.unwrap();
        listed.retain(|file| file.path != manifest);
        for file in &listed {
            files.push((file.path.clone(), bench.store.read_path(&file.path, 1 << 20).await.unwrap()));
        }
    }
    let (first, second) = files.split_at(files.len() / 2);
    // A shard of each split, the raw rows of two, and the sketches.
    assert_eq!(first.len(), 6);
    assert_eq!(first, second);
}

#[tokio::test]
async fn sketches_of_all_rows_are_written_with_a_version() {
    let bench = Bench::new();
    let version = bench.prepare(&csv(&bench, "a.csv")).await.unwrap().dataset.version;
    let manifest = find_version(&version, &bench.store).await.unwrap();
    let sketches = Sketches::read(&manifest, &bench.store).await.unwrap();
    let x = sketches.column("x").unwrap();
    assert_eq!((x.rows(), x.missing(), x.quantiles(&[0.0, 0.5, 1.0])), (10, 0, Some(vec![1.0, 5.0, 10.0])));
    assert_eq!(x.distinct().estimate.round(), 10.0);
    let y: Vec<_> =
        sketches.column("y").unwrap().top(9).into_iter().map(|top| (top.value, top.at_most)).collect();
    assert_eq!(y, [("a".to_owned(), 5), ("b".to_owned(), 5)]);
    let text = spec("text", &bench.file("a.txt", [b'a'; 9_000]), r#""context": 100"#);
    let version = bench.prepare(&text).await.unwrap().dataset.version;
    let manifest = find_version(&version, &bench.store).await.unwrap();
    assert!(Sketches::read(&manifest, &bench.store).await.unwrap().columns().is_empty());
}

#[tokio::test]
async fn a_version_whose_shard_is_gone_is_prepared_again() {
    let bench = Bench::new();
    let first = bench.prepare(&csv(&bench, "a.csv")).await.unwrap();
    let shard = format!("datasets/{}/train-00000.arrow", first.dataset.version);
    bench.store.delete(&shard).await.unwrap();
    let second = bench.prepare(&csv(&bench, "a.csv")).await.unwrap();
    assert!(!second.found);
    assert_eq!(second.dataset, first.dataset);
    assert!(!bench.store.read_path(&shard, 1 << 20).await.unwrap().is_empty());
}

#[tokio::test]
async fn shards_without_a_manifest_are_no_version_and_are_used_when_it_is_prepared() {
    let bench = Bench::new();
    let first = bench.prepare(&csv(&bench, "a.csv")).await.unwrap();
    bench.store.delete(&first.dataset.manifest.path).await.unwrap();
    let second = bench.prepare(&csv(&bench, "b.csv")).await.unwrap();
    assert!(!second.found);
    assert_eq!(second.dataset.version, first.dataset.version);
}

#[tokio::test]
async fn a_damaged_manifest_or_shard_is_detected() {
    let bench = Bench::new();
    let prepared = bench.prepare(&csv(&bench, "a.csv")).await.unwrap();
    let file = |name: &str| bench.path(&format!("store/datasets/{}/{name}", prepared.dataset.version));
    let flip = |name: &str| {
        let mut content = fs::read(file(name)).unwrap();
        let middle = content.len() / 2;
        content[middle] ^= 1;
        // A file of the store is replaced, as a broken disk would: it is never written to.
        fs::remove_file(file(name)).unwrap();
        fs::write(file(name), content).unwrap();
    };
    for name in ["test-00000.arrow", "manifest.json"] {
        flip(name);
        let opened = Dataset::open(&prepared.dataset, &bench.store, &bench.cache()).await;
        assert!(matches!(opened, Err(OpenError::Storage(StorageError::Damaged { .. }))), "{opened:?}");
    }
    // Nothing looks into the shards of a version that is there; deleting one says that it is wanted anew.
    flip("train-00000.arrow");
    fs::remove_file(file("test-00000.arrow")).unwrap();
    let mended = bench.prepare(&csv(&bench, "a.csv")).await.unwrap();
    assert!(!mended.found);
    assert_eq!(mended.dataset, prepared.dataset);
    Dataset::open(&mended.dataset, &bench.store, &bench.cache()).await.unwrap();
}

#[tokio::test]
async fn a_store_that_cannot_be_written_is_told_and_leaves_no_version() {
    let bench = Bench::new();
    let data = csv(&bench, "a.csv");
    // The store's folder is gone, and a file is in its way.
    fs::remove_dir_all(bench.path("store")).unwrap();
    bench.file("store", "");
    let failed = bench.prepare(&data).await;
    assert!(matches!(failed, Err(PrepareError::Storage(_))), "{failed:?}");
}

#[tokio::test]
async fn a_file_that_changes_meanwhile_is_refused() {
    let bench = Bench::new();
    let path = bench.file("a.csv", CSV);
    let data = spec("csv", &path, r#""target": "y""#);
    let mut touched = false;
    let mut change = |progress: Progress| {
        if progress.stage == Stage::Hash && !std::mem::replace(&mut touched, true) {
            return;
        }
        fs::write(&path, format!("{CSV}11,a\n")).unwrap();
    };
    let prepared = prepare(&data, &bench.store, &mut change).await;
    assert!(matches!(prepared, Err(PrepareError::Changed { .. })), "{prepared:?}");
    let listed = bench.store.list_prefix("datasets").await.unwrap();
    assert!(listed.iter().all(|file| !file.path.ends_with("manifest.json")));
}

#[tokio::test]
async fn large_splits_are_cut_into_shards_and_gathered_across_them() {
    let bench = Bench::new();
    let text: Vec<u8> = (0..SHARD_BYTES as u32 / 2 + 1_000).flat_map(|at| at.to_le_bytes()).collect();
    let data = train_only(spec("text", &bench.file("a.txt", &text), r#""context": 100"#));
    let mut stages = Vec::new();
    let prepared = prepare(&data, &bench.store, &mut |progress| stages.push(progress.stage)).await.unwrap();
    stages.dedup();
    assert_eq!(stages, [Stage::Hash, Stage::Write]);
    let dataset = Dataset::open(&prepared.dataset, &bench.store, &bench.cache()).await.unwrap();
    assert_eq!(dataset.manifest().train.shards.len(), 3);
    let windows = (text.len() as u64 - 1) / 100;
    assert_eq!(dataset.rows(Split::Train), windows);
    let per_shard = dataset.manifest().train.shards[0].rows;
    for row in [0, per_shard - 1, per_shard, 2 * per_shard - 1, 2 * per_shard, windows - 1] {
        let start = row as usize * 100;
        let batch = dataset.gather(Split::Train, &[row]).unwrap();
        assert_eq!(batch.targets, Targets::Bytes(text[start + 1..start + 101].to_vec()));
    }
}

#[tokio::test]
async fn a_data_set_from_another_machines_store_is_cached() {
    let bench = Bench::new();
    let store = Store::open("memory://").unwrap();
    let prepared = prepare(&csv(&bench, "a.csv"), &store, &mut |_| {}).await.unwrap();
    let cache = bench.cache();
    let dataset = Dataset::open(&prepared.dataset, &store, &cache).await.unwrap();
    for shard in dataset.manifest().shards() {
        store.delete(&shard.file.path).await.unwrap();
    }
    let again = Dataset::open(&prepared.dataset, &store, &cache).await.unwrap();
    assert_eq!(again.gather(Split::Train, &[0, 7]).unwrap(), dataset.gather(Split::Train, &[0, 7]).unwrap());
}

#[tokio::test]
async fn shards_are_plain_arrow_files() {
    let bench = Bench::new();
    let prepared = bench.prepare(&csv(&bench, "a.csv")).await.unwrap();
    let path = bench.path(&format!("store/datasets/{}/train-00000.arrow", prepared.dataset.version));
    let reader = FileReader::try_new(fs::File::open(path).unwrap(), None).unwrap();
    let batches: Vec<_> = reader.map(Result::unwrap).collect();
    assert_eq!(batches.len(), 1);
    assert_eq!(batches[0].num_rows(), 8);
    let fields: Vec<_> =
        batches[0].schema().fields().iter().map(|f| (f.name().clone(), f.data_type().to_string())).collect();
    assert_eq!(fields[0].0, "features");
    assert_eq!(fields[1], ("target".to_owned(), "UInt32".to_owned()));
}

#[tokio::test]
#[should_panic(expected = "row 8 is not below 8 of split train")]
async fn a_row_beyond_the_end_is_a_bug_of_the_caller() {
    let bench = Bench::new();
    bench.open(&csv(&bench, "a.csv")).await.gather(Split::Train, &[8]).unwrap();
}
