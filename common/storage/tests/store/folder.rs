//! What is particular to a folder, to local copies, and to URLs and paths.

use std::{
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    process::Command,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use phalanx_protocol::reference::FileRef;
use phalanx_storage::{StorageError, Store, clean_cache};
use phalanx_tests::SmallDisk;

use crate::support::{files_below, folder_store};

#[tokio::test]
async fn nothing_is_left_beside_the_files_of_a_folder() {
    let (folder, store) = folder_store();
    store.create("a", Bytes::from_static(b"one")).await.unwrap();
    store.create("a", Bytes::from_static(b"two")).await.unwrap_err();
    assert_eq!(files_below(folder.path()), ["a"]);
}

#[tokio::test]
async fn what_a_killed_process_left_is_no_file_and_goes_away() {
    let (folder, store) = folder_store();
    let staging = folder.path().join("new/store/.tmp");
    let (old, young) = (staging.join("put-old"), staging.join("put-young"));
    std::fs::write(&old, "half").unwrap();
    std::fs::write(&young, "half").unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(7_200);
    std::fs::File::options().write(true).open(&old).unwrap().set_modified(long_ago).unwrap();

    assert_eq!(store.list_prefix("").await.unwrap(), []);
    Store::open(store.url()).unwrap();
    assert!(!old.exists());
    assert!(young.exists());
}

#[tokio::test]
async fn a_damaged_file_is_detected_by_size_and_by_hash() {
    let (folder, store) = folder_store();
    let file = store.create("part", Bytes::from_static(b"content")).await.unwrap();
    let place = folder.path().join("new/store/part");
    for damage in [&b"contenT"[..], b"conten", b"content!"] {
        std::fs::write(&place, damage).unwrap();
        assert!(matches!(store.read(&file).await, Err(StorageError::Damaged { .. })));
        let cache = folder.path().join("cache");
        assert!(matches!(store.local_file(&file, &cache).await, Err(StorageError::Damaged { .. })));
    }
    std::fs::remove_file(&place).unwrap();
    assert!(matches!(store.read(&file).await, Err(StorageError::NotFound(path)) if path == "part"));
}

#[tokio::test]
async fn a_local_file_is_hashed_again_only_if_it_was_touched() {
    let (folder, store) = folder_store();
    let cache = folder.path().join("cache");
    let file = store.create("shard", Bytes::from_static(b"rows")).await.unwrap();
    let local = store.local_file(&file, &cache).await.unwrap();
    let note = cache.join("checked").join(&file.blake3);
    let noted = std::fs::metadata(&note).unwrap();

    store.local_file(&file, &cache).await.unwrap();
    let again = std::fs::metadata(&note).unwrap();
    assert_eq!(again.ino(), noted.ino());
    // The note tells when the file was last used.
    assert!(again.modified().unwrap() > noted.modified().unwrap());

    std::fs::write(&local, b"row!").unwrap();
    assert!(matches!(store.local_file(&file, &cache).await, Err(StorageError::Damaged { .. })));
}

#[tokio::test]
async fn a_damaged_copy_in_the_cache_is_fetched_again() {
    let cache = tempfile::tempdir().unwrap();
    let store = Store::open("memory://").unwrap();
    let file = store.create("shard", Bytes::from_static(b"rows")).await.unwrap();
    let local = store.local_file(&file, cache.path()).await.unwrap();
    std::fs::write(&local, b"row!").unwrap();
    store.local_file(&file, cache.path()).await.unwrap();
    assert_eq!(std::fs::read(local).unwrap(), b"rows");
}

#[tokio::test]
async fn a_reference_cannot_reach_outside_the_store() {
    let (folder, store) = folder_store();
    std::fs::write(folder.path().join("secret"), "secret").unwrap();
    let blake3 = blake3::hash(b"secret").to_hex().to_string();
    let file = FileRef { path: "../../secret".to_owned(), bytes: 6, blake3 };
    assert!(matches!(store.read(&file).await, Err(StorageError::Path { .. })));
    assert!(matches!(store.local_file(&file, folder.path()).await, Err(StorageError::Path { .. })));
    let file = FileRef { path: "a".to_owned(), bytes: 6, blake3: "../../secret".to_owned() };
    let memory = Store::open("memory://").unwrap();
    assert!(matches!(memory.local_file(&file, folder.path()).await, Err(StorageError::Path { .. })));
}

#[test]
fn a_wrong_url_says_what_is_expected() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for url in
        ["", "ftp://host/x", "http://host/x", "file://relative", "s3://", file.path().to_str().unwrap()]
    {
        match Store::open(url) {
            Err(error @ StorageError::Url { .. }) => {
                assert!(error.to_string().contains("expected"), "{error}");
            }
            other => panic!("{url}: {other:?}"),
        }
    }
}

#[test]
fn a_folder_has_one_url_however_it_was_named() {
    let folder = tempfile::tempdir().unwrap();
    let plain = Store::open(folder.path().join("a b").to_str().unwrap()).unwrap();
    assert!(plain.url().starts_with("file:///") && plain.url().ends_with("/a%20b"), "{}", plain.url());
    assert_eq!(Store::open(plain.url()).unwrap().url(), plain.url());
}

#[test]
fn a_bucket_is_opened_without_asking_it() {
    // Without a region and credentials in the environment the defaults hold until a request is made.
    Store::open("s3://bucket/prefix").unwrap();
}

/// The child of the test below: writes files, each of one repeated byte, until it is killed.
#[tokio::test]
#[ignore = "run by another test as a process of its own"]
async fn writer_that_is_killed() {
    let store = Store::open(&std::env::var("PHALANX_TEST_STORE").unwrap()).unwrap();
    for i in 0..u32::MAX {
        store.create(&format!("f{i}"), Bytes::from(vec![(i % 251) as u8; 3 << 20])).await.unwrap();
    }
}

#[tokio::test]
async fn a_killed_writer_leaves_only_whole_files() {
    let (_folder, store) = folder_store();
    for round in 0..5 {
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args(["folder::writer_that_is_killed", "--exact", "--ignored"])
            .env("PHALANX_TEST_STORE", store.url())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while store.list_prefix("").await.unwrap().len() < 3 {
            assert!(Instant::now() < deadline, "the writer does not write");
            tokio::time::sleep(Duration::from_millis(1 + round)).await;
        }
        writer.kill().unwrap();
        writer.wait().unwrap();
        for file in store.list_prefix("").await.unwrap() {
            let content = store.read_path(&file.path, 4 << 20).await.unwrap();
            let number: u32 = file.path[1..].parse().unwrap();
            assert_eq!(content.len(), 3 << 20, "{}", file.path);
            assert!(content.iter().all(|&b| u32::from(b) == number % 251), "{}", file.path);
            store.delete(&file.path).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_store_whose_folder_is_gone_says_so_and_is_not_begun_anew() {
    let (folder, store) = folder_store();
    let root = folder.path().join("new/store");
    std::fs::remove_dir_all(&root).unwrap();
    let error = store.create("a/b", Bytes::from_static(b"content")).await.unwrap_err();
    assert!(matches!(error, StorageError::Other(_)), "{error:?}");
    assert!(error.to_string().contains(root.to_str().unwrap()), "{error}");
    assert!(!root.exists());
}

#[tokio::test]
async fn others_may_read_a_file_as_far_as_the_umask_lets_them() {
    let (folder, store) = folder_store();
    store.create("a", Bytes::from_static(b"content")).await.unwrap();
    let plain = folder.path().join("plain");
    std::fs::write(&plain, "content").unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&folder.path().join("new/store/a")), mode(&plain));
}

#[test]
fn what_a_killed_process_left_in_a_cache_goes_away() {
    let cache = tempfile::tempdir().unwrap();
    let files = cache.path().join("files");
    std::fs::create_dir(&files).unwrap();
    let [copy, old, young] = ["0123", ".get-old", ".get-young"].map(|name| files.join(name));
    let long_ago = SystemTime::now() - Duration::from_secs(7_200);
    for path in [&copy, &old, &young] {
        std::fs::write(path, "half").unwrap();
    }
    for path in [&copy, &old] {
        std::fs::File::options().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
    }
    clean_cache(cache.path());
    clean_cache(&cache.path().join("absent"));
    assert_eq!([&copy, &old, &young].map(|path| path.exists()), [true, false, true]);
}

#[tokio::test]
async fn a_full_disk_is_said_to_be_full_and_nothing_half_written_stays() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path().join("disk"), "256k") else {
        eprintln!("SKIPPED: a small file system cannot be mounted here (it takes root)");
        return;
    };
    let store = Store::open(disk.path().to_str().unwrap()).unwrap();
    let small = store.create("small", Bytes::from_static(b"fits")).await.unwrap();

    let large = Bytes::from(vec![7; 1 << 20]);
    let error = store.create("large", large.clone()).await.unwrap_err();
    assert!(matches!(error, StorageError::Full(_)), "{error}");
    assert_eq!(files_below(disk.path()), ["small"]);
    store.read(&small).await.unwrap();

    let memory = Store::open("memory://").unwrap();
    let file = memory.create("large", large).await.unwrap();
    let cache = disk.path().join("cache");
    let error = memory.local_file(&file, &cache).await.unwrap_err();
    assert!(matches!(error, StorageError::Full(_)), "{error}");
    assert_eq!(files_below(&cache), Vec::<String>::new());
}
