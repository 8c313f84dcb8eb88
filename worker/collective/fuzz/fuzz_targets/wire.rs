//! Whatever bytes arrive, decoding them ends in a value that encodes to the same bytes or
//! in an error: `cargo +nightly fuzz run wire` in this crate's folder.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| collective::decode_anything(bytes));
