//! How many shuffled rows of images one process gathers a second, in each order, and how long it takes to prepare and to
//! find the data set:
//!
//!     cargo bench -p phalanx-data --bench gather -- examples/data/mnist.parquet

use std::{path::Path, time::Instant};

use anyhow::Context as _;
use phalanx_data::{Augment, Cache, Dataset, Split, prepare};
use phalanx_protocol::spec::{AugmentSpec, DataSpec, Objective, ParquetSpec, Shuffle, SplitSpec, TrainSpec};
use phalanx_storage::Store;

/// Rows in a batch.
const BATCH: u64 = 128;

/// Epochs that are gathered.
const EPOCHS: u64 = 200;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/data/mnist.parquet");
    let path = std::env::args_os().skip(1).find(|arg| arg != "--bench").map_or(example, Into::into);
    let folder = tempfile::tempdir()?;
    let store = Store::open(folder.path().join("store").to_str().context("the path is no text")?)?;
    let spec = DataSpec {
        target: Some("label".to_owned()),
        objective: Some(Objective::Classification),
        shape: Some([1, 28, 28]),
        parquet: Some(ParquetSpec { path }),
        split: SplitSpec::default(),
        ..DataSpec::default()
    };

    for what in ["prepared", "found"] {
        let started = Instant::now();
        prepare(&spec, &store, &mut |_| {}).await?;
        println!("{what} in {:.1?}", started.elapsed());
    }
    let started = Instant::now();
    let prepared = prepare(&spec, &store, &mut |_| {}).await?;
    let cache = Cache::new(folder.path().join("cache"), Cache::BYTES_MAX);
    let dataset = Dataset::open(&prepared.dataset, &store, &cache).await?;
    println!("found and opened in {:.1?}", started.elapsed());

    for (name, shuffle) in [("shuffled", Shuffle::Whole), ("shuffled in blocks", Shuffle::Blocks)] {
        println!("Phalanx, {name}: {:.3} million rows/s", rate(&dataset, shuffle, None)? / 1e6);
    }
    let augment = AugmentSpec { flip: true, shift: 2, crop: 0 };
    let rate = rate(&dataset, Shuffle::Whole, Some(&augment))?;
    println!("Phalanx, shuffled, mirrored and moved: {:.3} million rows/s", rate / 1e6);
    Ok(())
}

/// Rows gathered a second.
fn rate(dataset: &Dataset, shuffle: Shuffle, augment: Option<&AugmentSpec>) -> anyhow::Result<f64> {
    let train = serde_json::json!({ "batch_size": BATCH, "learning_rate": 0.1, "shuffle": shuffle });
    let train: TrainSpec = serde_json::from_value(train)?;
    let (rows, started) = (dataset.rows(Split::Train), Instant::now());
    let mut gathered = 0;
    for epoch in 0..EPOCHS {
        let order = dataset.order(&train, epoch);
        let augment = augment.map(|augment| Augment::new(augment, [1, 28, 28], 0, epoch));
        for first in (0..rows - BATCH).step_by(BATCH as usize) {
            let rows: Vec<u64> = (first..first + BATCH).map(|position| order.at(position)).collect();
            let mut batch = dataset.gather(Split::Train, &rows)?;
            if let Some(augment) = &augment {
                augment.apply(&mut batch.features, &rows);
            }
            gathered += std::hint::black_box(batch).rows;
        }
    }
    Ok(gathered as f64 / started.elapsed().as_secs_f64())
}
