//! Data sets from files to batches, through the public interface alone.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bad_input;
mod clean;
mod encode;
mod expect;
mod http;
mod labels;
mod mutated;
mod postgres;
mod predict;
mod prepare;
mod sources;
mod split;
mod stream;
mod support;
mod tokens;
mod versions;
