//! Promises of every kind of store.

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use phalanx_storage::StorageError;

use crate::support::{large, on_each};

#[tokio::test]
async fn a_file_that_was_created_is_read_back() {
    on_each(async |store| {
        let file = store.create("a/b.bin", Bytes::from_static(b"content")).await.unwrap();
        assert_eq!(file.bytes, 7);
        assert_eq!(store.read(&file).await.unwrap(), "content");
        let [listed] = &store.list_prefix("").await.unwrap()[..] else { panic!("it is one file") };
        assert_eq!((listed.path.as_str(), listed.bytes), ("a/b.bin", 7));
        let age = Timestamp::now().duration_since(listed.modified);
        assert!(age.abs() < SignedDuration::from_secs(60), "{age}");
    })
    .await;
}

#[tokio::test]
async fn an_empty_file_is_a_file() {
    on_each(async |store| {
        let file = store.create("empty", Bytes::new()).await.unwrap();
        assert_eq!(store.read(&file).await.unwrap(), "");
    })
    .await;
}

#[tokio::test]
async fn creating_the_same_again_is_success_and_other_content_is_refused() {
    on_each(async |store| {
        let first = store.create("a", Bytes::from_static(b"one")).await.unwrap();
        assert_eq!(store.create("a", Bytes::from_static(b"one")).await.unwrap(), first);
        let error = store.create("a", Bytes::from_static(b"two")).await.unwrap_err();
        assert!(matches!(error, StorageError::Exists(path) if path == "a"));
        assert_eq!(store.read(&first).await.unwrap(), "one");
    })
    .await;
}

#[tokio::test]
async fn of_many_who_create_one_path_exactly_one_wins() {
    on_each(async |store| {
        let attempts = (0..16_u8).map(|i| {
            let store = store.clone();
            tokio::spawn(async move { store.create("contended", Bytes::from(vec![i; 4096])).await })
        });
        let mut winners = Vec::new();
        for attempt in attempts.collect::<Vec<_>>() {
            match attempt.await.unwrap() {
                Ok(file) => winners.push(file),
                Err(StorageError::Exists(_)) => {}
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(winners.len(), 1);
        store.read(&winners[0]).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_local_file_holds_the_content_whatever_the_store() {
    let cache = tempfile::tempdir().unwrap();
    on_each(async |store| {
        let file = store.create("shards/0", Bytes::from_static(b"rows")).await.unwrap();
        for _ in 0..2 {
            let local = store.local_file(&file, cache.path()).await.unwrap();
            assert_eq!(std::fs::read(local).unwrap(), b"rows");
        }
    })
    .await;
}

#[tokio::test]
async fn a_small_file_is_read_up_to_its_bound() {
    on_each(async |store| {
        store.create("manifest.json", Bytes::from_static(b"{}")).await.unwrap();
        assert_eq!(store.read_path("manifest.json", 2).await.unwrap(), "{}");
        assert!(matches!(store.read_path("manifest.json", 1).await, Err(StorageError::Damaged { .. })));
        assert!(matches!(store.read_path("other.json", 1).await, Err(StorageError::NotFound(_))));
    })
    .await;
}

#[tokio::test]
async fn a_listing_names_what_is_below_a_folder_in_order() {
    on_each(async |store| {
        for path in ["jobs/b/2", "jobs/a/1", "jobs-other", "jobs/b/1"] {
            store.create(path, Bytes::from_static(b"x")).await.unwrap();
        }
        let paths = async |prefix| -> Vec<String> {
            store.list_prefix(prefix).await.unwrap().into_iter().map(|file| file.path).collect()
        };
        assert_eq!(paths("jobs").await, ["jobs/a/1", "jobs/b/1", "jobs/b/2"]);
        assert_eq!(paths("absent").await, Vec::<String>::new());
        store.delete("jobs/a/1").await.unwrap();
        store.delete("jobs/a/1").await.unwrap();
        assert_eq!(paths("").await, ["jobs-other", "jobs/b/1", "jobs/b/2"]);
    })
    .await;
}

#[tokio::test]
async fn a_large_file_is_a_file_like_any_other() {
    let cache = tempfile::tempdir().unwrap();
    on_each(async |store| {
        let content = large(7);
        let file = store.create("large", content.clone()).await.unwrap();
        assert_eq!(store.create("large", content.clone()).await.unwrap(), file);
        let error = store.create("large", large(8)).await.unwrap_err();
        assert!(matches!(error, StorageError::Exists(_)), "{error:?}");
        assert!(store.read(&file).await.unwrap() == content);
        let local = store.local_file(&file, cache.path()).await.unwrap();
        assert!(std::fs::read(local).unwrap() == content);
        let error = store.read_path("large", 9 << 20).await.unwrap_err();
        assert!(matches!(error, StorageError::Damaged { .. }), "{error:?}");
        assert_eq!(store.list_prefix("").await.unwrap().len(), 1);
        assert_eq!(store.unfinished().await.unwrap(), []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_create_one_large_file_exactly_one_wins() {
    on_each(async |store| {
        for round in 0..3 {
            let path = format!("contended-{round}");
            let attempts = [0, 1, 2, 3].map(|i| {
                let (store, path) = (store.clone(), path.clone());
                tokio::spawn(async move { store.create(&path, large(i)).await })
            });
            let mut winners = Vec::new();
            for attempt in attempts {
                match attempt.await.unwrap() {
                    Ok(file) => winners.push(file),
                    Err(StorageError::Exists(_)) => {}
                    Err(other) => panic!("{other}"),
                }
            }
            assert_eq!(winners.len(), 1);
            store.read(&winners[0]).await.unwrap();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_who_create_one_large_file_with_the_same_content_succeed() {
    on_each(async |store| {
        let attempts = [(); 4].map(|()| {
            let store = store.clone();
            tokio::spawn(async move { store.create("shared", large(1)).await })
        });
        for attempt in attempts {
            store.read(&attempt.await.unwrap().unwrap()).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_search_is_bounded_and_says_whether_there_is_more() {
    on_each(async |store| {
        for path in ["a/1", "a/2", "a/3", "b/1"] {
            store.create(path, Bytes::from_static(b"x")).await.unwrap();
        }
        let (found, more) = store.find("a", 2, |file| !file.path.ends_with('2')).await.unwrap();
        assert_eq!((found.len(), more), (2, false));
        let (found, more) = store.find("", 3, |_| true).await.unwrap();
        assert_eq!((found.len(), more), (3, true));
    })
    .await;
}
