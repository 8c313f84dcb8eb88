//! Whatever bytes a source holds, reading it ends in rows or in an error: the first byte says as what
//! they are read. `cargo +nightly fuzz run readers` in this crate's folder.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some((kind, content)) = bytes.split_first() {
        let _ = data::read_anything(*kind, content);
    }
});
