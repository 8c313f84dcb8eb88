//! A coordinator that cannot start says why and what to do.

use std::{net::TcpListener, time::Duration};

use phalanx_server::{BindError, Config, StartError, StateError, start};

use crate::support::{Cluster, config};

#[tokio::test]
async fn a_port_in_use_is_named_with_the_option_that_changes_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let error = start(Config { http_addr: addr, ..config(folder.path()) }).await.unwrap_err();
    assert!(matches!(error, StartError::Bind(BindError::InUse { .. })), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&addr.port().to_string()) && text.contains("--listen"), "{text}");

    let error = start(Config { rpc_addr: Some(addr), ..config(folder.path()) }).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&addr.port().to_string()) && text.contains("--rpc"), "{text}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was written");
}

#[tokio::test]
async fn an_address_of_another_machine_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = Config { http_addr: "192.0.2.1:80".parse().unwrap(), ..config(folder.path()) };
    let error = start(elsewhere).await.unwrap_err();
    assert!(matches!(error, StartError::Bind(BindError::Other { .. })), "{error:?}");
}

#[tokio::test]
async fn the_rpc_port_is_the_one_after_the_http_port() {
    let folder = tempfile::tempdir().unwrap();
    // Somebody may hold the port after a free one, so this is tried a few times.
    for _ in 0..20 {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        if let Ok(server) = start(Config { http_addr: free, ..config(folder.path()) }).await {
            assert_eq!(server.rpc_addr().port(), server.http_addr().port() + 1);
            return;
        }
    }
    panic!("no two ports in a row are free");
}

#[tokio::test]
async fn a_second_coordinator_on_the_same_state_is_refused() {
    let cluster = Cluster::start().await;
    let error = start(config(cluster.folder.path())).await.unwrap_err();
    assert!(matches!(error, StartError::State(StateError::InUse { .. })), "{error:?}");
    assert!(error.to_string().contains("--state"), "{error}");
}

#[tokio::test]
async fn a_record_that_nobody_can_read_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let url = config(folder.path()).state_url;
    let state = phalanx_server::state::open(&url).await.unwrap();
    let before = state.load().await.unwrap().revision;
    let record = phalanx_server::state::Put { key: "job/points-1".to_owned(), value: b"{}".to_vec() };
    state.commit(before, vec![record]).await.unwrap();
    drop(state);
    let error = start(config(folder.path())).await.unwrap_err();
    assert!(matches!(error, StartError::Record(_)), "{error:?}");
    assert!(error.to_string().contains("job/points-1"), "{error}");
}

#[tokio::test]
async fn a_lease_out_of_bounds_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for lease in [Duration::ZERO, Duration::from_secs(3_600)] {
        let error = start(Config { lease, ..config(folder.path()) }).await.unwrap_err();
        assert!(matches!(error, StartError::Lease { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_store_that_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = Config { store_url: "ftp://somewhere".to_owned(), ..config(folder.path()) };
    let error = start(wrong).await.unwrap_err();
    assert!(error.to_string().contains("expected a folder"), "{error}");
}

#[tokio::test]
async fn a_store_in_memory_is_refused_since_workers_would_not_see_it() {
    let folder = tempfile::tempdir().unwrap();
    let alone = Config { store_url: "memory://".to_owned(), ..config(folder.path()) };
    let error = start(alone).await.unwrap_err();
    assert!(matches!(error, StartError::StoreNotShared { .. }), "{error:?}");
    assert!(error.to_string().contains("--store"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was written");
}
