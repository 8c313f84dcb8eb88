//! Stores to test.

use std::path::Path;

use bytes::Bytes;
use phalanx_storage::Store;
use phalanx_tests::SeaweedFs;

pub(crate) fn folder_store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("new/store").to_str().unwrap()).unwrap();
    (folder, store)
}

/// A store on a server of its own; `None` where there is none to start.
pub(crate) fn s3_store() -> Option<(SeaweedFs, Store)> {
    let test = std::thread::current();
    let server = SeaweedFs::start(test.name().unwrap_or("a test"))?;
    let store = Store::open_with(&server.url("some/prefix"), &server.settings()).unwrap();
    Some((server, store))
}

/// Files below `folder`, its staging folder included.
pub(crate) fn files_below(folder: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            files.extend(files_below(&entry.path()));
        } else {
            files.push(entry.file_name().into_string().unwrap());
        }
    }
    files
}

pub(crate) async fn on_each(check: impl AsyncFn(Store)) {
    check(Store::open("memory://").unwrap()).await;
    let (_folder, store) = folder_store();
    check(store).await;
    if let Some((_server, store)) = s3_store() {
        check(store).await;
    }
}

/// 20 MiB and a bit: three pieces, the last a short one. The content hangs on `seed`.
pub(crate) fn large(seed: u8) -> Bytes {
    let content: Vec<u8> = (0..(20 << 20) + 7_u32).map(|i| (i / 4_096) as u8 ^ seed).collect();
    content.into()
}
