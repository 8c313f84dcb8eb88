//! Every metric of feeding: its name, its unit, and when it is counted.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

const HITS: &str = "phalanx_worker_cache_hits_total";
const FETCHES: &str = "phalanx_worker_cache_misses_total";
const FETCHED_BYTES: &str = "phalanx_worker_cache_fetched_bytes_total";
const FETCH_SECONDS: &str = "phalanx_worker_cache_fetch_seconds";
const EVICTED_BYTES: &str = "phalanx_worker_cache_evicted_bytes_total";
const PREFETCHED: &str = "phalanx_worker_shards_prefetched_total";
const MAPPED_BYTES: &str = "phalanx_worker_shards_mapped_bytes";
const SHARD_WAIT_SECONDS: &str = "phalanx_worker_shard_wait_seconds";
const BATCH_WAIT_SECONDS: &str = "phalanx_worker_batch_wait_seconds";

/// Says what each metric is.
pub fn describe() {
    describe_counter!(HITS, "data shards that were on this machine when they were needed");
    describe_counter!(FETCHES, "data shards that were fetched from the object store into the cache");
    describe_counter!(FETCHED_BYTES, Unit::Bytes, "bytes of data shards fetched from the object store");
    describe_histogram!(FETCH_SECONDS, Unit::Seconds, "time in which one data shard was fetched and checked");
    describe_counter!(EVICTED_BYTES, Unit::Bytes, "bytes of data shards deleted from the cache to make room");
    describe_counter!(PREFETCHED, "data shards that were asked for before they were needed");
    describe_gauge!(
        MAPPED_BYTES,
        Unit::Bytes,
        "bytes of data shards that are mapped, of a streamed data set"
    );
    describe_histogram!(SHARD_WAIT_SECONDS, Unit::Seconds, "time that a batch has waited for a data shard");
    describe_histogram!(BATCH_WAIT_SECONDS, Unit::Seconds, "time that a step has waited for its batches");
}

/// Training has waited for its next batches.
pub fn waited_for_batch(waited: Duration) {
    histogram!(BATCH_WAIT_SECONDS).record(waited);
}

/// A batch has waited for a shard.
pub(crate) fn waited_for_shard(waited: Duration) {
    histogram!(SHARD_WAIT_SECONDS).record(waited);
}

/// A shard is at hand; `copied` from the store, or was on this machine.
pub(crate) fn fetched(copied: bool, bytes: u64, elapsed: Duration) {
    if copied {
        counter!(FETCHES).increment(1);
        counter!(FETCHED_BYTES).increment(bytes);
        histogram!(FETCH_SECONDS).record(elapsed);
    } else {
        counter!(HITS).increment(1);
    }
}

/// The cache was made smaller.
pub(crate) fn evicted(bytes: u64) {
    counter!(EVICTED_BYTES).increment(bytes);
}

/// A shard was asked for ahead.
pub(crate) fn prefetched() {
    counter!(PREFETCHED).increment(1);
}

/// So much of a streamed data set is mapped now.
pub(crate) fn mapped(bytes: u64) {
    gauge!(MAPPED_BYTES).set(bytes as f64);
}
