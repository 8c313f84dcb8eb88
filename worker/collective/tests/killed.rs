//! A rank whose process is killed: the others are told at once, and nothing is left of
//! the memory that it shared.

mod support;

use std::{env, fs, process::Command, thread};

use phalanx_collective::{CollectiveError, Group, GroupConfig, Transport};
use support::{TRANSPORTS, abort, config, listener};

/// Where the other rank of a process that is run by the test listens, and how they talk.
const PEER: &str = "COLLECTIVE_TEST_PEER";

fn reduce(group: &mut Group) -> Result<(), CollectiveError> {
    group.all_reduce_lanes(&mut [vec![1.0; 300_000]], &mut vec![0.0; 300_000])
}

#[test]
#[ignore = "run by another test"]
fn rank_1() {
    let Ok(peer) = env::var(PEER) else { return };
    let own = listener();
    let (transport, addr) = peer.split_once(' ').expect("it was given both");
    let peers = vec![addr.parse().expect("an address"), own.local_addr()];
    let transport = if transport == "tcp" { Transport::Tcp } else { Transport::SharedMemory };
    let config = GroupConfig { rank: 1, peers, transport, ..config(2, &[]) };
    let mut group = Group::connect(&own, config, &abort()).expect("rank 0 comes");
    while reduce(&mut group).is_ok() {}
}

#[test]
fn a_killed_rank_is_lost_at_once_and_leaves_no_memory() {
    for transport in TRANSPORTS {
        let own = listener();
        let name = if transport == Transport::Tcp { "tcp" } else { "shm" };
        let mut process = Command::new(env::current_exe().expect("it has a path"))
            .args(["--exact", "rank_1", "--ignored"])
            .env(PEER, format!("{name} {}", own.local_addr()))
            .spawn()
            .expect("it can be started");
        let peers = vec![own.local_addr(); 2];
        let config = GroupConfig { peers, transport, ..config(2, &[]) };
        let mut group = Group::connect(&own, config, &abort()).expect("rank 1 comes");
        for _ in 0..10 {
            reduce(&mut group).expect("rank 1 is there");
        }
        let killer = thread::spawn(move || process.kill().and_then(|()| process.wait()));
        let error = loop {
            if let Err(error) = reduce(&mut group) {
                break error;
            }
        };
        assert!(matches!(error, CollectiveError::Lost { rank: 1, .. }), "{error}");
        killer.join().expect("it does not panic").expect("it was running");
        drop(group);
        let mapped = fs::read_to_string("/proc/self/maps").expect("the system tells");
        assert!(!mapped.contains("memfd:collective"), "{mapped}");
    }
}
