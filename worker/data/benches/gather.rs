//! How many shuffled rows of images one process gathers a second, and how long
//! it takes to prepare and to find the data set:
//!
//!     cargo bench -p phalanx-data --bench gather -- examples/data/mnist.parquet

use std::{path::Path, time::Instant};

use anyhow::Context as _;
use phalanx_data::{Dataset, Order, Split, prepare};
use phalanx_protocol::spec::{DataSpec, Objective, ParquetSpec};
use phalanx_storage::Store;

/// Rows in a batch.
const BATCH: u64 = 128;

/// Epochs that are gathered.
const EPOCHS: u64 = 100;

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
        ..DataSpec::default()
    };

    for what in ["prepared", "found"] {
        let started = Instant::now();
        prepare(&spec, &store, &mut |_| {}).await?;
        println!("{what} in {:.1?}", started.elapsed());
    }
    let started = Instant::now();
    let prepared = prepare(&spec, &store, &mut |_| {}).await?;
    let dataset = Dataset::open(&prepared.dataset, &store, &folder.path().join("cache")).await?;
    println!("found and opened in {:.1?}", started.elapsed());

    let (rows, started) = (dataset.rows(Split::Train), Instant::now());
    let mut gathered = 0;
    for epoch in 0..EPOCHS {
        let order = Order::new(0, epoch, rows);
        for first in (0..rows - BATCH).step_by(BATCH as usize) {
            let positions: Vec<u64> = (first..first + BATCH).map(|position| order.at(position)).collect();
            gathered += std::hint::black_box(dataset.gather(Split::Train, &positions)).rows;
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("{:.2} million shuffled rows/s", gathered as f64 / seconds / 1e6);
    Ok(())
}
