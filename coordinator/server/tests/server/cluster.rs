//! Several coordinators over a real etcd: who leads, who follows, and what a leader that is cut
//! off still does.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use etcd_client::{Client, GetOptions, Permission};
use phalanx_protocol::{
    rpc::{NotAttached, Rejected, Standby},
    view::{ApiError, JobView},
};
use phalanx_server::{Config, EtcdAccess, Password, Server, ServerError, StartError, StateError, start};
use phalanx_tests::{Etcd, Signal, freeze, send};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use reqwest::{Method, StatusCode};
use serde_json::json;
use tempfile::TempDir;
use tokio::time::timeout;

use crate::{
    restart::{address, spawn},
    support::{DEADLINE, User, config, connect, context, hello, spec},
};

/// That of workers, and so that of the leader.
const LEASE: Duration = Duration::from_secs(3);

fn over(etcd: &Etcd, folder: &Path) -> Config {
    Config { state_url: etcd.url("tests"), lease: LEASE, ..config(folder) }
}

async fn until(what: &str, mut right: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !right().await {
        assert!(begin.elapsed() < DEADLINE, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn until_it_leads(server: &Server) {
    until("it leads", async || server.leads()).await;
}

/// What it says about who leads, where it stands by.
async fn standby(user: &User) -> Option<Standby> {
    let response = user.request(Method::GET, "/v1/jobs").send().await.unwrap();
    let status = response.status();
    let error: ApiError = response.json().await.ok()?;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    error.standby
}

async fn jobs(user: &User) -> Vec<String> {
    user.get::<Vec<JobView>>("/v1/jobs").await.into_iter().map(|job| job.id.to_string()).collect()
}

#[tokio::test]
async fn a_standby_names_the_leader_and_takes_over_at_once_when_it_stops() {
    let Some(etcd) = Etcd::start(1) else { return };
    let folder = tempfile::tempdir().unwrap();
    let first = start(over(&etcd, folder.path())).await.unwrap();
    until_it_leads(&first).await;
    let second = start(over(&etcd, folder.path())).await.unwrap();
    let (leader, user) = (User::of(&first), User::of(&second));
    let named = Some(Standby { leader: Some(format!("http://{}", first.http_addr())) });
    until("the leader is named", async || standby(&user).await == named).await;

    for (path, status) in [("/healthz", 200), ("/metrics", 200), ("/readyz", 503), ("/v1/cluster", 503)] {
        let answer = user.request(Method::GET, path).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{path}");
        assert_eq!(leader.request(Method::GET, path).send().await.unwrap().status(), 200, "{path}");
    }
    let named = Standby { leader: Some(first.rpc_addr().to_string()) };
    let client = connect(second.rpc_addr()).await;
    let refused = client.attach(context(), hello()).await.unwrap();
    assert_eq!(refused, Err(NotAttached::Standby(named.clone())));
    let refused =
        client.directives(context(), phalanx_protocol::id::WorkerId::new(1), 0, None).await.unwrap();
    assert_eq!(refused, Err(Rejected::Standby(named)));

    let before = [leader.submit(spec("points")).await, leader.submit(spec("points")).await];
    first.shutdown().await.unwrap();
    let stopped_at = Instant::now();
    until_it_leads(&second).await;
    assert!(stopped_at.elapsed() < LEASE / 2, "{:?}", stopped_at.elapsed());
    for job in before {
        assert_eq!(user.job(&job.id).await, job);
    }
    assert_eq!(user.submit(spec("points")).await.id.as_str(), "points-3");
    second.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_killed_leader_is_followed_and_nothing_that_it_confirmed_is_lost() {
    let Some(etcd) = Etcd::start(1) else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut child = spawn(folder.path(), Some(&etcd.url("tests")));
    let leader = User::at(address(folder.path(), &mut child).await);
    let standby = start(over(&etcd, folder.path())).await.unwrap();
    for _ in 0..3 {
        leader.submit(spec("points")).await;
    }
    let confirmed = jobs(&leader).await;
    child.kill().unwrap();
    child.wait().unwrap();
    until_it_leads(&standby).await;
    assert_eq!(jobs(&User::of(&standby)).await, confirmed);
}

#[tokio::test]
async fn a_leader_that_wakes_up_too_late_confirms_and_changes_nothing() {
    let Some(etcd) = Etcd::start(1) else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut child = spawn(folder.path(), Some(&etcd.url("tests")));
    let pid = i32::try_from(child.id()).unwrap();
    let ghost = User::at(address(folder.path(), &mut child).await);
    let next = start(over(&etcd, folder.path())).await.unwrap();
    let user = User::of(&next);
    ghost.submit(spec("points")).await;
    freeze(pid);
    // Heard by the machine while the process sleeps: taken up when it wakes.
    let late = tokio::spawn({
        let (ghost, body) = (ghost.clone(), json!({ "spec": spec("late") }));
        async move { ghost.request(Method::POST, "/v1/jobs").json(&body).send().await.unwrap().status() }
    });
    until_it_leads(&next).await;
    user.submit(spec("points")).await;
    send(pid, Signal::CONT);
    assert_eq!(late.await.unwrap(), StatusCode::SERVICE_UNAVAILABLE);
    let named = Some(Standby { leader: Some(format!("http://{}", next.http_addr())) });
    until("the former leader stands by", async || standby(&ghost).await == named).await;
    assert_eq!(jobs(&user).await, ["points-1", "points-2"]);
    user.submit(spec("points")).await;
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test]
async fn a_leader_cut_off_from_etcd_is_silent_before_its_lease_ends_and_leads_again_later() {
    let Some(etcd) = Etcd::start(1) else { return };
    let folder = tempfile::tempdir().unwrap();
    let server = start(over(&etcd, folder.path())).await.unwrap();
    let user = User::of(&server);
    until_it_leads(&server).await;
    user.submit(spec("points")).await;
    etcd.hang(0);
    let begin = Instant::now();
    let late = user.request(Method::POST, "/v1/jobs").json(&json!({ "spec": spec("late") })).send().await;
    assert_eq!(late.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(begin.elapsed() < LEASE, "{:?}", begin.elapsed());
    until("it stands by", async || standby(&user).await == Some(Standby { leader: None })).await;
    assert!(begin.elapsed() < LEASE * 2, "{:?}", begin.elapsed());
    etcd.go_on(0);
    until_it_leads(&server).await;
    // What was not confirmed may have been stored all the same.
    let found = jobs(&user).await;
    assert!(found == ["points-1"] || found == ["points-1", "late-2"], "{found:?}");
    user.submit(spec("points")).await;
}

#[tokio::test]
async fn a_seat_that_was_taken_away_is_taken_again_with_all_that_is_stored() {
    let Some(etcd) = Etcd::start(1) else { return };
    let folder = tempfile::tempdir().unwrap();
    let server = start(over(&etcd, folder.path())).await.unwrap();
    let user = User::of(&server);
    until_it_leads(&server).await;
    user.submit(spec("points")).await;
    let mut client = Client::connect(etcd.endpoints(), None).await.unwrap();
    let seat = async |client: &mut Client| client.get("/tests/leader", None).await.unwrap().take_kvs().pop();
    let before = seat(&mut client).await.unwrap();
    client.lease_revoke(before.lease()).await.unwrap();
    until("there is another term", async || {
        seat(&mut client).await.is_some_and(|seat| seat.create_revision() > before.create_revision())
    })
    .await;
    until_it_leads(&server).await;
    assert_eq!(jobs(&user).await, ["points-1"]);
    user.submit(spec("points")).await;
}

#[tokio::test]
async fn an_etcd_of_three_may_lose_its_leader() {
    let Some(mut etcd) = Etcd::start(3) else { return };
    let folder = tempfile::tempdir().unwrap();
    // A wait for the next leader of etcd must fit.
    let long = Config { lease: LEASE * 3, ..over(&etcd, folder.path()) };
    let server = start(long).await.unwrap();
    let user = User::of(&server);
    until_it_leads(&server).await;
    for number in 1..=2 {
        let member = phalanx_tests::eventually("a leader of etcd", Default::default(), || etcd.leader());
        etcd.kill(member);
        assert_eq!(user.submit(spec("points")).await.id.as_str(), format!("points-{number}"));
        etcd.restart(member);
    }
    assert!(server.leads());
}

#[tokio::test]
async fn etcd_with_users_lets_in_who_has_the_password() {
    let Some(mut etcd) = Etcd::start(1) else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut admin = Client::connect(etcd.endpoints(), None).await.unwrap();
    for (user, password, role) in [("root", "toor", "root"), ("phalanx", "right", "cluster")] {
        admin.role_add(role).await.unwrap();
        admin.user_add(user, password, None).await.unwrap();
        admin.user_grant_role(user, role).await.unwrap();
    }
    let below = Permission::read_write("/tests/").with_prefix();
    admin.role_grant_permission("cluster", below).await.unwrap();
    admin.auth_enable().await.unwrap();

    let with = |name: &str, password: &str| {
        let user = Some((name.to_owned(), Password::new(password)));
        Config { etcd: EtcdAccess { user, ..EtcdAccess::default() }, ..over(&etcd, folder.path()) }
    };
    let elsewhere = Config { state_url: etcd.url("elsewhere"), ..with("phalanx", "right") };
    for wrong in [over(&etcd, folder.path()), with("phalanx", "wrong-one"), elsewhere] {
        let mut server = start(wrong).await.unwrap();
        let error = timeout(DEADLINE, server.failed()).await.unwrap();
        assert!(matches!(error, ServerError::State(StateError::Refused { .. })), "{error:?}");
        let said = error.to_string();
        assert!(said.contains("--etcd-user") && !said.contains("wrong-one"), "{said}");
    }
    let server = start(with("phalanx", "right")).await.unwrap();
    until_it_leads(&server).await;
    let user = User::of(&server);
    user.submit(spec("points")).await;
    // etcd forgets who has logged in.
    etcd.kill(0);
    etcd.restart(0);
    until_it_leads(&server).await;
    user.submit(spec("points")).await;
}

/// Writes a CA of its own, and a certificate for `127.0.0.1` and its key, into a folder.
fn certificates() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| fs::write(folder.path().join(name), text).unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().unwrap();
    write("ca.pem", ca.self_signed(&ca_key).unwrap().pem());
    let mut end = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    end.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    write("end.pem", end.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap().pem());
    write("end.key", key.serialize_pem());
    folder
}

#[tokio::test]
async fn etcd_over_tls_and_a_coordinator_know_each_other_by_certificates() {
    let ours = certificates();
    let file = |folder: &TempDir, name: &str| folder.path().join(name);
    let mut flags = vec!["--client-cert-auth".to_owned()];
    for (flag, name) in [("trusted-ca-file", "ca.pem"), ("cert-file", "end.pem"), ("key-file", "end.key")] {
        flags.push(format!("--{flag}={}", file(&ours, name).display()));
    }
    let Some(etcd) = Etcd::start_with(1, "https", flags) else { return };
    let folder = tempfile::tempdir().unwrap();
    let with = |ca: &TempDir, own: Option<&TempDir>| {
        let certificate = own.map(|own| (file(own, "end.pem"), file(own, "end.key")));
        let access = EtcdAccess { ca: Some(file(ca, "ca.pem")), certificate, user: None };
        Config { etcd: access, ..over(&etcd, folder.path()) }
    };
    let others = certificates();
    let mut strangers = Vec::new();
    for stranger in [with(&others, Some(&ours)), with(&ours, None), with(&ours, Some(&others))] {
        strangers.push(start(stranger).await.unwrap());
    }
    let server = start(with(&ours, Some(&ours))).await.unwrap();
    until_it_leads(&server).await;
    User::of(&server).submit(spec("points")).await;
    server.shutdown().await.unwrap();
    // The seat is empty, and nobody of these can take it.
    tokio::time::sleep(LEASE / 2).await;
    assert!(strangers.iter().all(|stranger| !stranger.leads()));

    fs::write(file(&others, "end.key"), "no key").unwrap();
    let error = start(with(&ours, Some(&others))).await.unwrap_err();
    assert!(matches!(error, StartError::State(StateError::Refused { .. })), "{error:?}");
}

#[tokio::test]
async fn a_coordinator_waits_for_an_etcd_that_is_not_there_yet() {
    let Some(mut etcd) = Etcd::start(1) else { return };
    let folder = tempfile::tempdir().unwrap();
    etcd.kill(0);
    let server = start(over(&etcd, folder.path())).await.unwrap();
    let user = User::of(&server);
    assert_eq!(standby(&user).await, Some(Standby { leader: None }));
    etcd.restart(0);
    until_it_leads(&server).await;
    user.submit(spec("points")).await;
    server.shutdown().await.unwrap();
    let mut client = Client::connect(etcd.endpoints(), None).await.unwrap();
    let left = client.get("/tests/leader", Some(GetOptions::new().with_keys_only())).await.unwrap();
    assert!(left.kvs().is_empty(), "whoever stops gives its seat back");
}
