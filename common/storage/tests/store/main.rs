//! The store's promises, on every kind of store that can be had here. Those on S3 run against
//! SeaweedFS; `scripts/seaweedfs.sh` gets it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod every;
mod folder;
mod s3;
mod support;
