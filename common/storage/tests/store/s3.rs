//! What is particular to S3: uploads that are cut off, servers that do not answer, and settings
//! that are wrong.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use bytes::Bytes;
use phalanx_storage::{Listed, StorageError, Store};
use phalanx_tests::SeaweedFs;

use crate::support::{large, s3_store};

const DEADLINE: Duration = Duration::from_secs(60);

/// The store at `url` with more settings.
fn with(server: &SeaweedFs, more: &[(&str, &str)]) -> Result<Store, StorageError> {
    let more = more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Store::open_with(
        &server.url("some/prefix"),
        &server.settings().into_iter().chain(more).collect::<Vec<_>>(),
    )
}

/// Waits until the unfinished uploads look right.
async fn until_unfinished(store: &Store, right: impl Fn(&[Listed]) -> bool) {
    let begun = Instant::now();
    loop {
        let unfinished = store.unfinished().await.unwrap();
        if right(&unfinished) {
            return;
        }
        assert!(begun.elapsed() < DEADLINE, "{unfinished:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn expect_nothing(store: &Store, path: &str) {
    let read = store.read_path(path, 1 << 30).await;
    assert!(matches!(read, Err(StorageError::NotFound(_))), "{read:?}");
    assert_eq!(store.list_prefix("").await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_is_given_up_leaves_nothing() {
    let Some((_server, store)) = s3_store() else { return };
    let upload = tokio::spawn({
        let store = store.clone();
        async move { store.create("cut/off", large(1)).await }
    });
    until_unfinished(&store, |unfinished| unfinished.len() == 1).await;
    upload.abort();
    assert!(upload.await.is_err(), "it was cut off");
    until_unfinished(&store, <[_]>::is_empty).await;
    expect_nothing(&store, "cut/off").await;
    store.create("cut/off", large(2)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_does_not_replace_what_was_created_meanwhile() {
    let Some((_server, store)) = s3_store() else { return };
    let upload = tokio::spawn({
        let store = store.clone();
        async move { store.create("file", Bytes::from(vec![1; 200 << 20])).await }
    });
    until_unfinished(&store, |unfinished| unfinished.len() == 1).await;
    let small = store.create("file", Bytes::from_static(b"content")).await.unwrap();
    let error = upload.await.unwrap().unwrap_err();
    assert!(matches!(error, StorageError::Exists(_)), "{error:?}");
    assert_eq!(store.read(&small).await.unwrap(), "content");
    // What was sent is left to whoever collects garbage.
    until_unfinished(&store, |unfinished| unfinished.len() == 1).await;
    store.abort("file").await.unwrap();
    assert_eq!(store.read(&small).await.unwrap(), "content");
    assert_eq!(store.unfinished().await.unwrap(), []);
}

/// The child of the test below.
#[tokio::test]
#[ignore = "run by another test as a process of its own"]
async fn uploader_that_is_killed() {
    let store = Store::open(&std::env::var("PHALANX_TEST_STORE").unwrap()).unwrap();
    store.create("cut/off", Bytes::from(vec![1; 1 << 30])).await.unwrap();
}

#[tokio::test]
async fn a_killed_uploader_leaves_no_file_and_what_it_has_sent_can_be_given_up() {
    let Some((server, store)) = s3_store() else { return };
    let mut uploader = Command::new(std::env::current_exe().unwrap())
        .args(["s3::uploader_that_is_killed", "--exact", "--ignored"])
        .env("PHALANX_TEST_STORE", store.url())
        .envs(server.settings())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    until_unfinished(&store, |unfinished| unfinished.len() == 1).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    uploader.kill().unwrap();
    uploader.wait().unwrap();
    expect_nothing(&store, "cut/off").await;

    // Whoever has other content may not know that it is gone.
    let error = store.create("cut/off", large(1)).await.unwrap_err();
    assert!(matches!(error, StorageError::Exists(_)), "{error:?}");
    let [unfinished] = &store.unfinished().await.unwrap()[..] else { panic!("it is one") };
    assert_eq!(unfinished.path, "cut/off");
    store.abort(&unfinished.path).await.unwrap();
    store.abort(&unfinished.path).await.unwrap();
    assert_eq!(store.unfinished().await.unwrap(), []);
    store.create("cut/off", large(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_away_for_seconds_is_waited_for() {
    let Some((mut server, store)) = s3_store() else { return };
    let small = store.create("small", Bytes::from_static(b"content")).await.unwrap();
    let begin = |path: &'static str, content: Bytes| {
        let store = store.clone();
        tokio::spawn(async move { store.create(path, content).await })
    };
    let upload = begin("large", large(1));
    until_unfinished(&store, |unfinished| unfinished.len() == 1).await;
    server.kill();
    let begun = Instant::now();
    let (create, read) = (begin("other", Bytes::from_static(b"other")), store.read(&small));
    let back = tokio::task::spawn_blocking(move || {
        std::thread::sleep(Duration::from_secs(2));
        server.restart();
        server
    });
    assert_eq!(read.await.unwrap(), "content");
    assert!(begun.elapsed() >= Duration::from_secs(2));
    create.await.unwrap().unwrap();
    let file = upload.await.unwrap().unwrap();
    assert!(store.read(&file).await.unwrap() == large(1));
    assert_eq!(store.away(), None);
    drop(back.await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_falls_silent_is_told_to_be_away_and_waited_for_when_it_is_asked_again() {
    let Some((server, _)) = s3_store() else { return };
    let store = with(&server, &[("AWS_TIMEOUT", "1s"), ("PHALANX_STORE_RETRY", "3")]).unwrap();
    let upload = tokio::spawn({
        let store = store.clone();
        async move { store.create("large", large(1)).await }
    });
    until_unfinished(&store, |unfinished| unfinished.len() == 1).await;
    server.freeze();
    let begun = Instant::now();
    let small = store.create("small", Bytes::from_static(b"content")).await.unwrap_err();
    assert!(small.is_transient(), "{small:?}");
    assert!(upload.await.unwrap().unwrap_err().is_transient());
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert!(store.away().unwrap().since.elapsed() >= Duration::from_secs(2));

    server.thaw();
    store.create("small", Bytes::from_static(b"content")).await.unwrap();
    let file = store.create("large", large(1)).await.unwrap();
    assert_eq!(store.away(), None);
    store.read(&file).await.unwrap();
    until_unfinished(&store, <[_]>::is_empty).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_goes_on_after_a_silence_in_its_midst() {
    let Some((server, store)) = s3_store() else { return };
    let content = Bytes::from(vec![3; 200 << 20]);
    let file = store.create("large", content.clone()).await.unwrap();
    let patient = with(&server, &[("AWS_TIMEOUT", "1s"), ("PHALANX_STORE_RETRY", "30")]).unwrap();
    let download = tokio::spawn(async move { patient.read(&file).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.freeze();
    assert!(!download.is_finished(), "it was quicker than the silence");
    tokio::time::sleep(Duration::from_secs(3)).await;
    server.thaw();
    assert!(download.await.unwrap().unwrap() == content);
}

#[tokio::test]
async fn nobody_at_the_endpoint_is_away_and_said_with_the_reason() {
    let Some((mut server, _)) = s3_store() else { return };
    let store = with(&server, &[("PHALANX_STORE_RETRY", "1")]).unwrap();
    server.kill();
    let error = store.create("a", Bytes::from_static(b"content")).await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("Connection refused"), "{error}");
    assert!(store.away().is_some());
}

#[tokio::test]
async fn wrong_credentials_are_refused_with_a_remedy_and_without_the_secret() {
    let Some((server, _)) = s3_store() else { return };
    for (name, value) in [("AWS_SECRET_ACCESS_KEY", "hunter2"), ("AWS_ACCESS_KEY_ID", "AKIASTRANGER")] {
        let store = with(&server, &[(name, value)]).unwrap();
        let large = store.create("a", large(1)).await.unwrap_err();
        let small = store.create("a", Bytes::from_static(b"content")).await.unwrap_err();
        let read = store.read_path("a", 10).await.unwrap_err();
        let list = store.list_prefix("").await.unwrap_err();
        let delete = store.delete("a").await.unwrap_err();
        for error in [large, small, read, list, delete] {
            assert!(matches!(error, StorageError::Denied(_)), "{error:?}");
            let text = error.to_string();
            assert!(text.contains("AWS_SECRET_ACCESS_KEY") && !text.contains(value), "{text}");
            assert!(!text.contains("open sesame"), "{text}");
        }
    }
}

#[tokio::test]
async fn absent_credentials_are_said_to_be_absent() {
    let settings = [("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1"), ("PHALANX_STORE_RETRY", "1")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let store = Store::open_with("s3://bucket/prefix", &settings).unwrap();
    let error = store.read_path("a", 10).await.unwrap_err();
    assert!(matches!(error, StorageError::Denied(_)), "{error:?}");
    assert!(error.to_string().contains("gives no credentials"), "{error}");
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_told_from_a_file_that_is_not() {
    let Some((server, _)) = s3_store() else { return };
    let store = Store::open_with("s3://absent/prefix", &server.settings()).unwrap();
    let large = store.create("a", large(1)).await.unwrap_err();
    let small = store.create("a", Bytes::from_static(b"content")).await.unwrap_err();
    let read = store.read_path("a", 10).await.unwrap_err();
    let read_large = store.read_path("a", 1 << 30).await.unwrap_err();
    let list = store.list_prefix("").await.unwrap_err();
    for error in [large, small, read, read_large, list] {
        assert!(matches!(error, StorageError::NoBucket(_)), "{error:?}");
        assert!(error.to_string().contains("create it"), "{error}");
    }
}

#[test]
fn settings_that_do_not_fit_are_refused_at_once() {
    let check = |settings: &[(&str, &str)], part: &str| {
        let settings: Vec<_> = settings.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        match Store::open_with("s3://bucket/prefix", &settings) {
            Err(StorageError::Url { reason, .. }) => assert!(reason.contains(part), "{reason}"),
            other => panic!("{other:?}"),
        }
    };
    check(&[("AWS_ENDPOINT", "http://127.0.0.1:1")], "AWS_ALLOW_HTTP=true");
    check(&[("AWS_ENDPOINT", "http://127.0.0.1:1"), ("AWS_ALLOW_HTTP", "no")], "AWS_ALLOW_HTTP=true");
    check(&[("PHALANX_STORE_RETRY", "soon")], "expected 0 to 600 seconds");
    check(&[("PHALANX_STORE_RETRY", "601")], "expected 0 to 600 seconds");
}
