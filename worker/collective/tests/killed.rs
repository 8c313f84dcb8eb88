//! A rank whose process is killed: the others are told at once, and nothing is left of
//! the memory that it shared.

mod support;

use std::{env, fs, process::Command, thread, time::Duration};

use phalanx_collective::{BucketPlan, CollectiveError, Group, GroupConfig, Listener, Reduction, Transport};
use support::{
    Carrier, TRANSPORTS, abort,
    certificates::{Ca, worker},
    config, listener,
};

/// Where the other rank of a process that is run by the test listens, and how they talk.
const PEER: &str = "COLLECTIVE_TEST_PEER";

/// The other rank's certificates, if it has any: the CA's and its own.
const TLS: [&str; 2] = ["COLLECTIVE_TEST_CA", "COLLECTIVE_TEST_OWN"];

/// Reduces a vector of the caller's and one of the group's until one of them fails.
fn reduce_until_lost(group: &mut Group) -> CollectiveError {
    let plan = BucketPlan::new(&[300_000], 0);
    let mut buckets = match group.buckets(&plan) {
        Ok(buckets) => buckets,
        Err(error) => return error,
    };
    loop {
        let caller = group.all_reduce_lanes(&mut [vec![1.0; 300_000]], &mut vec![0.0; 300_000]);
        let both = caller.and_then(|()| group.all_reduce_bucket(Reduction::Sum, &mut buckets[0]));
        if let Err(error) = both {
            return error;
        }
    }
}

#[test]
#[ignore = "run by another test"]
fn rank_1() {
    let Ok(peer) = env::var(PEER) else { return };
    let own = match TLS.map(env::var) {
        [Ok(ca), Ok(own)] => {
            let any = "127.0.0.1:0".parse().expect("an address");
            Listener::bind_secured(any, worker(&ca, &own)).expect("a port is free")
        }
        _ => listener(),
    };
    let (transport, addr) = peer.split_once(' ').expect("it was given both");
    let peers = vec![addr.parse().expect("an address"), own.local_addr()];
    let transport = if transport == "tcp" { Transport::Tcp } else { Transport::SharedMemory };
    let config = GroupConfig { rank: 1, peers, transport, ..config(2, &[]) };
    let mut group = Group::connect(&own, config, &abort()).expect("rank 0 comes");
    reduce_until_lost(&mut group);
}

#[test]
fn a_killed_rank_is_lost_at_once_and_leaves_no_memory() {
    let both = Carrier { transport: Transport::SharedMemory, secured: true };
    for carrier in TRANSPORTS.into_iter().chain([both]) {
        let (own, transport) = (carrier.listener(), carrier.transport);
        let name = if transport == Transport::Tcp { "tcp" } else { "shm" };
        let mut command = Command::new(env::current_exe().expect("it has a path"));
        command.args(["--exact", "rank_1", "--ignored"]).env(PEER, format!("{name} {}", own.local_addr()));
        if carrier.secured {
            let ca = Ca::of_the_tests();
            command.env(TLS[0], ca.pem()).env(TLS[1], ca.worker_pem(|_| ()));
        }
        let mut process = command.spawn().expect("it can be started");
        let peers = vec![own.local_addr(); 2];
        let config = GroupConfig { peers, transport, ..config(2, &[]) };
        let mut group = Group::connect(&own, config, &abort()).expect("rank 1 comes");
        let killer = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            process.kill().and_then(|()| process.wait())
        });
        let error = reduce_until_lost(&mut group);
        assert!(matches!(error, CollectiveError::Lost { rank: 1, .. }), "{error}");
        killer.join().expect("it does not panic").expect("it was running");
        drop(group);
        let mapped = fs::read_to_string("/proc/self/maps").expect("the system tells");
        assert!(!mapped.contains("memfd:"), "{mapped}");
    }
}
