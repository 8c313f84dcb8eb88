//! Data sets that are larger than the cache: the same rows in the same order, whatever the cache holds.

use std::{fs, sync::Arc, time::Duration};

use phalanx_data::{Batch, Cache, Dataset, Order, Split, prepare};
use phalanx_protocol::spec::{DataSpec, TrainSpec};
use phalanx_storage::{Store, trim_cache};

use crate::support::{Bench, spec};

/// Text, of which a few windows fill a shard.
fn text(bench: &Bench) -> DataSpec {
    let text: Vec<u8> = (0..120_u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    spec("text", &bench.file("a.txt", text), r#""context": 65536"#)
}

fn train(shuffle: &str) -> TrainSpec {
    let json = format!(
        r#"{{"batch_size": 8, "learning_rate": 0.1, "seed": 3, "shuffle": "{shuffle}", "shuffle_window": 2}}"#
    );
    serde_json::from_str(&json).unwrap()
}

/// Every row of the training split in its order, in batches, as one after the other gathers them.
fn epoch(dataset: &Dataset, spec: &TrainSpec) -> Vec<Batch> {
    let order = dataset.order(spec, 5);
    let positions: Vec<u64> = (0..dataset.rows(Split::Train)).collect();
    let gather = |positions: &[u64]| {
        if let Some((window, _)) = order.window(positions[0]) {
            dataset.prefetch(Split::Train, order.blocks(window));
        }
        let rows: Vec<u64> = positions.iter().map(|position| order.at(*position)).collect();
        dataset.gather(Split::Train, &rows).unwrap()
    };
    positions.chunks(8).map(gather).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_streamed_data_set_gives_the_rows_of_a_mapped_one_and_room_is_made() {
    let bench = Bench::new();
    let store = Store::open("memory://").unwrap();
    let prepared = prepare(&text(&bench), &store, &mut |_| {}).await.unwrap();
    let whole = Dataset::open(&prepared.dataset, &store, &bench.cache()).await.unwrap();
    assert!(whole.manifest().train.shards.len() >= 3);

    // Two workers share a cache in which one shard and a bit have room.
    let folder = bench.path("small");
    let small = Cache::new(&folder, 40 << 20);
    let mut streamed = Vec::new();
    for _ in 0..2 {
        streamed.push(Arc::new(Dataset::open(&prepared.dataset, &store, &small).await.unwrap()));
    }
    for shuffle in ["blocks", "whole"] {
        let spec = train(shuffle);
        let expected = epoch(&whole, &spec);
        let epochs = streamed.iter().map(|dataset| {
            let (dataset, spec) = (Arc::clone(dataset), spec.clone());
            tokio::task::spawn_blocking(move || epoch(&dataset, &spec))
        });
        for found in epochs.collect::<Vec<_>>() {
            assert!(found.await.unwrap() == expected, "{shuffle}");
        }
    }
    // What was used a moment ago stays, until somebody makes room who does not mind.
    assert!(trim_cache(&folder, 40 << 20, Duration::ZERO).unwrap() > 0);
    assert_eq!(fs::read_dir(folder.join("files")).unwrap().count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_cannot_be_fetched_is_an_error_and_may_come_later() {
    let bench = Bench::new();
    let store = Store::open("memory://").unwrap();
    let prepared = prepare(&text(&bench), &store, &mut |_| {}).await.unwrap();
    let dataset =
        Dataset::open(&prepared.dataset, &store, &Cache::new(bench.path("small"), 1)).await.unwrap();
    let shard = dataset.manifest().train.shards[0].file.clone();
    let content = store.read(&shard).await.unwrap();
    store.delete(&shard.path).await.unwrap();
    let dataset = Arc::new(dataset);
    let gather = |dataset: &Arc<Dataset>| {
        let dataset = Arc::clone(dataset);
        tokio::task::spawn_blocking(move || dataset.gather(Split::Train, &[0, 1]))
    };
    let error = gather(&dataset).await.unwrap().unwrap_err();
    assert!(error.to_string().contains(&shard.path), "{error}");
    store.create(&shard.path, content).await.unwrap();
    assert_eq!(gather(&dataset).await.unwrap().unwrap().rows, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_rows_that_are_not_wanted_any_more() {
    let bench = Bench::new();
    let store = Store::open("memory://").unwrap();
    let prepared = prepare(&text(&bench), &store, &mut |_| {}).await.unwrap();
    let small = Cache::new(bench.path("small"), 70 << 20);
    let dataset = Dataset::open(&prepared.dataset, &store, &small).await.unwrap();
    let found = tokio::task::block_in_place(|| dataset.gather_while(Split::Train, &[0], &|| false));
    assert!(found.unwrap().is_none());
    // Two shards have room, but not two windows of two.
    let mut spec = train("blocks");
    assert!(!dataset.has_room_for(&dataset.order(&spec, 0)));
    spec.shuffle_window = 1;
    assert!(dataset.has_room_for(&dataset.order(&spec, 0)));
    assert!(!dataset.has_room_for(&dataset.order(&train("whole"), 0)));
}

#[tokio::test]
async fn small_data_sets_are_shuffled_as_a_whole_and_blocks_are_shards() {
    let bench = Bench::new();
    let content: String = (0..100).map(|row| format!("{row},{row}.5\n")).collect();
    let dataset =
        bench.open(&spec("csv", &bench.file("a.csv", format!("x,y\n{content}")), r#""target": "y""#)).await;
    let mut spec = train("whole");
    let whole = Order::new(3, 5, 80);
    let rows = |spec: &TrainSpec| {
        let order = dataset.order(spec, 5);
        (0..80).map(|position| order.at(position)).collect::<Vec<_>>()
    };
    let expected: Vec<u64> = (0..80).map(|position| whole.at(position)).collect();
    assert_eq!(rows(&spec), expected);
    spec.shuffle = None;
    assert_eq!(rows(&spec), expected);
    let blocks = dataset.order(&train("blocks"), 5);
    assert_eq!(blocks.window(79), Some((0, 1)));
    assert_eq!(blocks.blocks(0).collect::<Vec<_>>(), [0]);
}
