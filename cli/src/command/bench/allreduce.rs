//! `phalanx bench allreduce`: how fast workers add up their gradients.

use std::{num::ParseIntError, process::Command, time::Duration};

use clap::{Args, ValueEnum};
use phalanx_agent::{AllReduceBench, AllReduceTimes, BenchError, LANES_MAX, VectorMemory, serve_all_reduce};

use super::Carrier;
use crate::{error::CliError, show};

/// Measure how long workers take to add up a vector, bit for bit
///
/// Starts processes on this machine, each with one lane. Times are medians of many rounds, with the
/// tenth percentile; bandwidths are those of nccl-tests. scripts/bench-allreduce.sh measures Gloo and
/// MPI beside it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  phalanx bench allreduce
  phalanx bench allreduce --ranks 4 --transport shm --bytes 1KiB,4MiB --json")]
pub(super) struct AllReduce {
    /// How many processes
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=i64::from(LANES_MAX)))]
    ranks: u32,

    /// What carries the numbers
    #[arg(long, value_enum, default_value_t = Carrier::Auto)]
    transport: Carrier,

    /// Where the vector lies
    #[arg(long, value_enum, default_value_t = Memory::Bucket)]
    memory: Memory,

    /// Sizes of the vector
    #[arg(long, value_name = "SIZE,…", value_delimiter = ',', value_parser = size, default_value = "1KiB,64KiB,1MiB,4MiB,16MiB,64MiB")]
    bytes: Vec<usize>,

    /// How long to measure each size
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = crate::command::seconds)]
    seconds: Duration,

    /// Print one line of JSON a size
    #[arg(long)]
    json: bool,

    /// Be one of the processes
    #[arg(long, hide = true)]
    rank: bool,
}

/// Where a vector lies that is reduced.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Memory {
    /// In memory of the group's, as in training: on one host nothing is copied
    Bucket,
    /// In a vector of the caller's
    Caller,
}

/// The longest vector that is measured.
const BENCH_BYTES_MAX: u64 = 4 << 30;

impl AllReduce {
    /// Measures.
    pub(super) fn run(self) -> Result<(), CliError> {
        let failed = |error: BenchError| match error {
            BenchError::Argument { .. } => CliError::usage(error),
            BenchError::Process { .. } | BenchError::Answer { .. } | BenchError::Group(_) => {
                CliError::failed(error)
            }
        };
        if self.rank {
            return serve_all_reduce().map_err(failed);
        }
        let own = std::env::current_exe().map_err(CliError::failed)?;
        let bench = AllReduceBench {
            ranks: self.ranks,
            transport: self.transport.into(),
            memory: match self.memory {
                Memory::Bucket => VectorMemory::Bucket,
                Memory::Caller => VectorMemory::Caller,
            },
            bytes: self.bytes,
            time: self.seconds,
        };
        let rank = || {
            let mut command = Command::new(&own);
            command.args(["bench", "allreduce", "--rank"]);
            command
        };
        let times = bench.run(rank).map_err(failed)?;
        if self.json {
            return show::print(&times.iter().map(|times| times.to_json() + "\n").collect::<String>());
        }
        show::print(&table(&times))
    }
}

/// A line for each size.
fn table(times: &[AllReduceTimes]) -> String {
    let micros = |time: Duration| format!("{:.1} µs", time.as_secs_f64() * 1e6);
    let rate = |bytes: f64| format!("{:.2} GB/s", bytes / 1e9);
    let head = ["bytes", "median", "10th percentile", "algorithm", "bus", "CPU a rank"];
    let rows = times.iter().map(|times| {
        let cpu = times.cpu.iter().sum::<Duration>() / u32::try_from(times.cpu.len().max(1)).unwrap_or(1);
        let size = show::count(times.bytes as u64);
        let [median, tenth, cpu] = [times.median, times.percentile_10, cpu].map(micros);
        [size, median, tenth, rate(times.algorithm_bandwidth()), rate(times.bus_bandwidth()), cpu]
    });
    let line = |cells: [String; 6]| {
        let [size, rest @ ..] = cells;
        format!("{size:>12}{}\n", rest.map(|cell| format!("{cell:>17}")).concat())
    };
    std::iter::once(head.map(str::to_owned)).chain(rows).map(line).collect()
}

/// Bytes, as in `64KiB`.
fn size(text: &str) -> Result<usize, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let shift = match unit {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return Err(format!("`{unit}` is no unit: expected B, KiB, MiB or GiB")),
    };
    let number: u64 = number.parse().map_err(|error: ParseIntError| error.to_string())?;
    let bytes = number.checked_mul(1 << shift).filter(|bytes| (4..=BENCH_BYTES_MAX).contains(bytes));
    let bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok()).filter(|bytes| bytes.is_multiple_of(4));
    bytes.ok_or_else(|| "expected a multiple of 4 bytes, from 4B to 4GiB".to_owned())
}
