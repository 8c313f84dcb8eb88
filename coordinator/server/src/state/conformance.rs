//! What every state store must do; each kind is run through [`check`].

use super::{Put, StateError, StateStore, open};

fn put(key: &str, value: &str) -> Put {
    Put { key: key.to_owned(), value: value.as_bytes().to_vec() }
}

/// Runs a store through everything that the trait promises. `reopen` opens the
/// same, at first empty, store once more after the last handle was dropped.
async fn check(reopen: impl AsyncFn() -> Box<dyn StateStore>) {
    commits_are_read_back_by_the_next_process(&reopen).await;
    changes_apply_in_order_and_values_are_bytes(&reopen).await;
    a_commit_on_an_old_revision_changes_nothing(&reopen).await;
    a_commit_without_changes_makes_a_revision(&reopen).await;
    a_commit_of_any_size_is_whole(&reopen).await;
}

async fn commits_are_read_back_by_the_next_process(reopen: &impl AsyncFn() -> Box<dyn StateStore>) {
    let store = reopen().await;
    let empty = store.load().await.unwrap();
    assert!(empty.records.is_empty());
    let first = store.commit(empty.revision, vec![put("a", "1"), put("b", "2")]).await.unwrap();
    let second = store.commit(first, vec![put("c", "3")]).await.unwrap();
    assert!(empty.revision < first && first < second);
    drop(store);

    let found = reopen().await.load().await.unwrap();
    assert_eq!(found.revision, second);
    let records: Vec<_> = found.records.iter().map(|(k, v)| (k.as_str(), v.as_slice())).collect();
    assert_eq!(records, [("a", &b"1"[..]), ("b", b"2"), ("c", b"3")]);
}

async fn changes_apply_in_order_and_values_are_bytes(reopen: &impl AsyncFn() -> Box<dyn StateStore>) {
    let store = reopen().await;
    let before = store.load().await.unwrap().revision;
    let large = "x".repeat(1 << 20);
    let changes = vec![put("a", "old"), put("a", "new"), put("empty", ""), put("large", &large)];
    store.commit(before, changes).await.unwrap();
    let records = store.load().await.unwrap().records;
    assert_eq!(records["a"], b"new");
    assert_eq!(records["empty"], b"");
    assert_eq!(records["large"], large.as_bytes());
}

async fn a_commit_on_an_old_revision_changes_nothing(reopen: &impl AsyncFn() -> Box<dyn StateStore>) {
    let store = reopen().await;
    let old = store.load().await.unwrap().revision;
    let new = store.commit(old, vec![put("a", "leader")]).await.unwrap();
    let before = store.load().await.unwrap();
    match store.commit(old, vec![put("a", "ghost"), put("z", "ghost")]).await {
        Err(StateError::Conflict { expected, actual, .. }) => assert_eq!((expected, actual), (old, new)),
        other => panic!("{other:?}"),
    }
    assert_eq!(store.load().await.unwrap(), before);
}

async fn a_commit_without_changes_makes_a_revision(reopen: &impl AsyncFn() -> Box<dyn StateStore>) {
    let store = reopen().await;
    let before = store.load().await.unwrap();
    let after = store.commit(before.revision, Vec::new()).await.unwrap();
    assert!(before.revision < after);
    assert_eq!(store.load().await.unwrap().records, before.records);
}

async fn a_commit_of_any_size_is_whole(reopen: &impl AsyncFn() -> Box<dyn StateStore>) {
    let store = reopen().await;
    let before = store.load().await.unwrap();
    let many =
        |value: &str| (0..1_500).map(|number| put(&format!("many/{number}"), value)).collect::<Vec<_>>();
    let sized = |mebibytes: usize| put("sized", &"y".repeat(mebibytes << 20));
    let mut expected = before.records;
    let mut revision = before.revision;
    for changes in [many("1"), vec![sized(7)], [many("2"), vec![sized(3)]].concat(), vec![sized(0)]] {
        expected.extend(changes.iter().map(|put| (put.key.clone(), put.value.clone())));
        let next = store.commit(revision, changes).await.unwrap();
        assert!(revision < next);
        revision = next;
    }
    drop(store);
    let found = reopen().await.load().await.unwrap();
    assert_eq!(found.revision, revision);
    assert!(found.records == expected);
}

#[tokio::test]
async fn redb_keeps_what_the_trait_promises() {
    let folder = tempfile::tempdir().unwrap();
    let url = folder.path().join("new/state.redb").to_str().unwrap().to_owned();
    check(async || open(&url).await.unwrap()).await;
}

#[cfg(feature = "cluster")]
#[tokio::test]
async fn etcd_keeps_what_the_trait_promises() {
    let Some(etcd) = phalanx_tests::Etcd::start(1) else { return };
    let leader = tokio::sync::Mutex::new(None);
    check(async || {
        let mut leader = leader.lock().await;
        if let Some(before) = leader.take() {
            crate::cluster::Elected::resign(before).await;
        }
        let elected = leader.insert(crate::cluster::tests::elected(&etcd, "first").await);
        let state: Box<dyn StateStore> = Box::new(elected.state().await.unwrap());
        state
    })
    .await;
}

#[tokio::test]
async fn a_state_file_that_is_open_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let url = folder.path().join("state.redb").to_str().unwrap().to_owned();
    let _open = open(&url).await.unwrap();
    let error = open(&url).await.unwrap_err();
    assert!(matches!(error, StateError::InUse { .. }), "{error:?}");
    assert!(error.to_string().contains("state.redb"));
}

#[tokio::test]
async fn a_state_file_of_another_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.redb");
    let database = redb::Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    let table = redb::TableDefinition::<&str, u64>::new("meta");
    transaction.open_table(table).unwrap().insert("format", 99).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error = open(path.to_str().unwrap()).await.unwrap_err();
    assert!(matches!(error, StateError::Format { actual: 99, .. }), "{error:?}");
}

#[tokio::test]
async fn a_file_that_is_no_state_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.redb");
    let content = "no database ".repeat(1_000);
    std::fs::write(&path, &content).unwrap();
    let error = open(path.to_str().unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("state.redb"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
}

#[tokio::test]
async fn a_wrong_url_says_what_is_expected() {
    for url in ["", "folder/", "s3://bucket/state", "file://relative"] {
        let error = open(url).await.unwrap_err();
        assert!(matches!(error, StateError::Url { .. }), "{url}: {error}");
    }
}
