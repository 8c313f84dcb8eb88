//! Elections, fencing and large commits on a real etcd.

use std::time::Duration;

use etcd_client::{Client, GetOptions};
use phalanx_tests::Etcd;

use super::*;
use crate::{
    config::EtcdAccess,
    seat::Leader,
    state::{Put, StateError, StateStore},
};

/// As short as can be.
const LEASE: Duration = Duration::from_secs(2);

/// Long enough for etcd to be away for a while.
const LONG_LEASE: Duration = Duration::from_secs(8);

async fn candidate(etcd: &Etcd, name: &str, lease: Duration) -> Candidate {
    let place = Place::new(&etcd.url("tests"), &EtcdAccess::default()).unwrap();
    let me = Leader { http: format!("http://{name}:1"), rpc: format!("{name}:2") };
    Candidate::new(place, lease, me).await.unwrap()
}

/// A new leader, once nobody else leads.
pub(crate) async fn elected(etcd: &Etcd, name: &str) -> Elected {
    candidate(etcd, name, LEASE).await.elected(|_| ()).await.unwrap()
}

fn put(key: &str, value: Vec<u8>) -> Put {
    Put { key: key.to_owned(), value }
}

async fn client(etcd: &Etcd) -> Client {
    Client::connect(etcd.endpoints(), None).await.unwrap()
}

/// All keys that begin with `begin`.
async fn keys_of(etcd: &Etcd, begin: &str) -> Vec<String> {
    let found =
        client(etcd).await.get(begin, Some(GetOptions::new().with_prefix().with_keys_only())).await.unwrap();
    found.kvs().iter().map(|found| found.key_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn one_leads_and_the_next_one_follows_at_once_when_it_resigns() {
    let Some(etcd) = Etcd::start(1) else { return };
    let first = elected(&etcd, "first").await;
    let mut second = candidate(&etcd, "second", LEASE).await;
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let second =
        tokio::spawn(async move { second.elected(move |leader| drop(tell.send(leader))).await.unwrap() });
    let leader = told.recv().await.unwrap().expect("it leads");
    assert_eq!((leader.http.as_str(), leader.rpc.as_str()), ("http://first:1", "first:2"));
    // Longer than a lease: the seat is kept.
    tokio::time::sleep(LEASE * 2).await;
    assert!(!first.term().is_over() && !second.is_finished());
    let (token, resigned_at) = (first.token(), std::time::Instant::now());
    first.resign().await;
    let second = second.await.unwrap();
    assert!(second.token() > token);
    assert!(resigned_at.elapsed() < LEASE / 2, "{:?}", resigned_at.elapsed());
}

#[tokio::test]
async fn a_ghost_leader_commits_nothing() {
    let Some(etcd) = Etcd::start(1) else { return };
    let ghost = elected(&etcd, "first").await;
    let ghosts = ghost.state().await.unwrap();
    let revision = ghosts.load().await.unwrap().revision;
    let revision = ghosts.commit(revision, vec![put("a", b"first".to_vec())]).await.unwrap();
    // Somebody takes its seat away; by its own clock it still leads.
    let mut client = client(&etcd).await;
    client.delete("/tests/leader", None).await.unwrap();
    assert!(!ghost.term().is_over());
    let small = ghosts.commit(revision, vec![put("a", b"ghost".to_vec())]).await;
    assert!(matches!(small, Err(StateError::TermOver)), "{small:?}");

    let leader = elected(&etcd, "second").await;
    let state = leader.state().await.unwrap();
    let before = state.load().await.unwrap();
    for value in [b"ghost".to_vec(), vec![7; 4 << 20]] {
        let refused = ghosts.commit(revision, vec![put("a", value)]).await;
        assert!(matches!(refused, Err(StateError::TermOver)), "{refused:?}");
    }
    assert!(matches!(ghosts.load().await, Err(StateError::TermOver)));
    assert_eq!(state.load().await.unwrap(), before);
    assert_eq!(before.records["a"], b"first");
    assert_eq!(keys_of(&etcd, "/tests/staged/").await, [""; 0]);
    state.commit(before.revision, vec![put("a", b"second".to_vec())]).await.unwrap();
}

#[tokio::test]
async fn a_lost_lease_ends_the_term_before_it_would_have_ended() {
    let Some(etcd) = Etcd::start(1) else { return };
    let leader = elected(&etcd, "first").await;
    let mut client = client(&etcd).await;
    let seat = client.get("/tests/leader", None).await.unwrap();
    client.lease_revoke(seat.kvs()[0].lease()).await.unwrap();
    tokio::time::timeout(LEASE, leader.term().over()).await.expect("it is told");
}

#[tokio::test]
async fn a_term_ends_by_the_clock_while_etcd_hangs_and_before_another_can_lead() {
    let Some(etcd) = Etcd::start(1) else { return };
    let leader = elected(&etcd, "first").await;
    let state = leader.state().await.unwrap();
    let revision = state.load().await.unwrap().revision;
    etcd.hang(0);
    let begin = std::time::Instant::now();
    let late = state.commit(revision, vec![put("a", b"late".to_vec())]).await;
    assert!(matches!(late, Err(StateError::TermOver)), "{late:?}");
    assert!(begin.elapsed() < LEASE, "{:?}", begin.elapsed());
    assert!(leader.term().is_over());
    etcd.go_on(0);
    let next = elected(&etcd, "second").await;
    assert!(next.token() > leader.token());
    // What the leader had sent may be there or not, but it is never confirmed, and nothing follows.
    let records = next.state().await.unwrap().load().await.unwrap().records;
    assert!(records.is_empty() || records["a"] == b"late");
}

#[tokio::test]
async fn a_large_commit_is_finished_by_the_next_leader() {
    let Some(etcd) = Etcd::start(1) else { return };
    let leader = elected(&etcd, "first").await;
    let state = leader.state().await.unwrap();
    let revision = state.load().await.unwrap().revision;
    let shrinks = vec![put("large", vec![1; 3 << 20]), put("small", b"old".to_vec())];
    let revision = state.commit(revision, shrinks).await.unwrap();
    // As a leader leaves it that dies after its commit and before it has put all in place.
    let (token, mut client) = (leader.token(), client(&etcd).await);
    let staged = |revision: u64, name: &str| format!("/tests/staged/{token}-{revision}/{name}");
    let next = revision.number() + 1;
    client.put(staged(next, "large#0000"), "new", None).await.unwrap();
    client.put(staged(next, "small#0000"), "new", None).await.unwrap();
    client.put(staged(next + 1, "small#0000"), "never committed", None).await.unwrap();
    let head = format!(r#"{{"revision":{next},"token":{token},"staged":true}}"#);
    client.put("/tests/head", head, None).await.unwrap();
    client.put("/tests/record/large#0000", "new", None).await.unwrap();
    client.delete("/tests/record/large#0011", None).await.unwrap();
    leader.resign().await;

    let leader = elected(&etcd, "second").await;
    let found = leader.state().await.unwrap().load().await.unwrap();
    assert_eq!(found.revision.number(), next);
    assert_eq!(
        (found.records["large"].as_slice(), found.records["small"].as_slice()),
        (&b"new"[..], &b"new"[..])
    );
    assert_eq!(keys_of(&etcd, "/tests/staged/").await, [""; 0]);
    let expected = ["/tests/record/large#0000", "/tests/record/small#0000"];
    assert_eq!(keys_of(&etcd, "/tests/record/").await, expected);
    assert_eq!(leader.state().await.unwrap().load().await.unwrap(), found);
}

#[tokio::test]
async fn what_was_staged_and_not_committed_is_forgotten() {
    let Some(etcd) = Etcd::start(1) else { return };
    let leader = elected(&etcd, "first").await;
    let state = leader.state().await.unwrap();
    let before = state.load().await.unwrap();
    let mut client = client(&etcd).await;
    client.put(format!("/tests/staged/{}-1/a#0000", leader.token()), "x", None).await.unwrap();
    assert_eq!(state.load().await.unwrap(), before);
    assert_eq!(keys_of(&etcd, "/tests/staged/").await, [""; 0]);
}

#[tokio::test]
async fn a_state_of_another_format_is_refused() {
    let Some(etcd) = Etcd::start(1) else { return };
    let mut client = client(&etcd).await;
    client.put("/tests/format", "99", None).await.unwrap();
    let error = candidate(&etcd, "first", LEASE).await.elected(|_| ()).await.unwrap_err();
    assert!(matches!(error, StateError::Format { actual: 99, .. }), "{error:?}");
    client.put("/tests/format", "words", None).await.unwrap();
    let error = candidate(&etcd, "first", LEASE).await.elected(|_| ()).await.unwrap_err();
    assert!(error.to_string().contains("prefix"), "{error}");
    assert!(keys_of(&etcd, "/tests/leader").await.is_empty());
}

#[tokio::test]
async fn a_member_of_etcd_that_is_killed_or_hangs_costs_no_term() {
    let Some(mut etcd) = Etcd::start(3) else { return };
    let leader = candidate(&etcd, "first", LONG_LEASE).await.elected(|_| ()).await.unwrap();
    let state = leader.state().await.unwrap();
    let mut revision = state.load().await.unwrap().revision;
    let member = etcd.leader().expect("one leads");
    etcd.kill(member);
    for round in 0..20_u8 {
        revision = state.commit(revision, vec![put("a", vec![round])]).await.unwrap();
    }
    etcd.restart(member);
    let member = phalanx_tests::eventually("a leader of etcd", Default::default(), || etcd.leader());
    etcd.hang(member);
    for round in 20..40_u8 {
        revision = state.commit(revision, vec![put("a", vec![round])]).await.unwrap();
    }
    etcd.go_on(member);
    assert!(!leader.term().is_over());
    assert_eq!(state.load().await.unwrap().records["a"], [39]);
}

#[tokio::test]
async fn an_etcd_that_is_restarted_costs_no_term() {
    let Some(mut etcd) = Etcd::start(1) else { return };
    let leader = candidate(&etcd, "first", LONG_LEASE).await.elected(|_| ()).await.unwrap();
    let state = leader.state().await.unwrap();
    let revision = state.load().await.unwrap().revision;
    etcd.kill(0);
    let commit = tokio::spawn(async move { (state.commit(revision, vec![put("a", vec![1])]).await, state) });
    etcd.restart(0);
    let (committed, state) = commit.await.unwrap();
    let revision = committed.unwrap();
    state.commit(revision, vec![put("a", vec![2])]).await.unwrap();
    assert!(!leader.term().is_over());
}
