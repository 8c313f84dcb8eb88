//! Two ranks in network namespaces of their own, with an interface between them that is slow
//! and loses packets: what goes over a real network stack, and what happens when the cable is cut.

mod support;

use std::{
    env, fs,
    net::{SocketAddr, TcpStream},
    process::{Child, Command, ExitStatus, Output},
    thread,
    time::{Duration, Instant},
};

use phalanx_collective::{BucketPlan, CollectiveError, Group, GroupConfig, Listener, Reduction, tree_reduce};
use support::{PATIENT, abort, bits, config, lane_vector};

/// Which rank a process that is run by the test is, and what it does.
const RANK: &str = "COLLECTIVE_TEST_RANK";

const ADDRESSES: [&str; 2] = ["10.213.0.1", "10.213.0.2"];
const PORT: u16 = 7_213;
const LANES: u32 = 4;

/// How long a machine may be silent.
const SILENCE: Duration = Duration::from_secs(2);

/// Two namespaces and a cable between them. Gone when dropped.
struct Cable {
    namespaces: [String; 2],
}

impl Cable {
    /// The cable, and how it is made bad; why not, where this machine allows none.
    fn lay(part: &str) -> Result<(Self, &'static str), String> {
        let name = |rank| format!("phalanx-{part}-{}-{rank}", std::process::id());
        let cable = Self { namespaces: [0, 1].map(name) };
        let [left, right] = &cable.namespaces;
        for namespace in &cable.namespaces {
            ip(&["netns", "add", namespace])?;
        }
        ip(&[
            "link", "add", "cable0", "netns", left, "type", "veth", "peer", "name", "cable1", "netns", right,
        ])?;
        for (rank, namespace) in cable.namespaces.iter().enumerate() {
            let (interface, address) = (format!("cable{rank}"), format!("{}/24", ADDRESSES[rank]));
            ip(&["-n", namespace, "addr", "add", &address, "dev", &interface])?;
            ip(&["-n", namespace, "link", "set", &interface, "up"])?;
        }
        let netem = ["netem", "delay", "2ms", "1ms", "loss", "1%"];
        // Not every kernel has it. A short queue before a slow interface delays and drops, too.
        let queue = ["tbf", "rate", "200mbit", "burst", "32kb", "limit", "64kb"];
        let bad = if cable.worsen(&netem).is_ok() {
            "2 ms of delay and 1 % of loss"
        } else {
            cable.worsen(&queue)?;
            "200 Mbit/s behind a queue of 64 KB"
        };
        Ok((cable, bad))
    }

    fn worsen(&self, how: &[&str]) -> Result<(), String> {
        self.namespaces.iter().enumerate().try_for_each(|(rank, namespace)| {
            let interface = format!("cable{rank}");
            let place = ["netns", "exec", namespace, "tc", "qdisc", "add", "dev", &interface, "root"];
            ip(&[&place, how].concat())
        })
    }

    fn cut(&self) {
        ip(&["-n", &self.namespaces[1], "link", "set", "cable1", "down"]).expect("it was up");
    }

    fn start(&self, rank: usize, part: &str) -> Child {
        let own = env::current_exe().expect("it has a path");
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespaces[rank]]).arg(own);
        command.args(["--exact", "rank", "--ignored", "--nocapture"]).env(RANK, format!("{rank} {part}"));
        command.spawn().expect("it can be started")
    }
}

/// A rank's process. Killed when dropped early.
struct Rank(Child);

impl Drop for Rank {
    fn drop(&mut self) {
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for namespace in &self.namespaces {
            let _ = ip(&["netns", "del", namespace]);
        }
    }
}

fn ip(words: &[&str]) -> Result<(), String> {
    let said = |Output { status, stderr, .. }: Output| match status.success() {
        true => Ok(()),
        false => Err(format!("ip {}: {}", words.join(" "), String::from_utf8_lossy(&stderr).trim())),
    };
    Command::new("ip").args(words).output().map_err(|error| format!("ip: {error}")).and_then(said)
}

/// Runs both ranks, doing something to the cable after a while.
fn run(part: &str, meanwhile: impl FnOnce(&Cable)) {
    let (cable, bad) = match Cable::lay(part) {
        Ok(laid) => laid,
        Err(reason) => return eprintln!("SKIPPED: network namespaces cannot be had here: {reason}"),
    };
    eprintln!("between the ranks: {bad}");
    let mut ranks = [0, 1].map(|rank| Rank(cable.start(rank, part)));
    meanwhile(&cable);
    let deadline = Instant::now() + PATIENT;
    let ends = ranks.each_mut().map(|rank| {
        loop {
            match rank.0.try_wait().expect("it was started") {
                Some(end) => break end,
                None => assert!(Instant::now() < deadline, "a rank does not come to an end"),
            }
            thread::sleep(Duration::from_millis(10));
        }
    });
    assert!(ends.iter().all(ExitStatus::success), "{ends:?}");
}

#[test]
fn a_bad_network_changes_no_bit() {
    run("reduce", |_| ());
}

#[test]
fn a_cable_that_is_cut_is_an_error_on_both_sides() {
    run("until-cut", |cable| {
        thread::sleep(Duration::from_secs(1));
        cable.cut();
    });
}

#[test]
#[ignore = "run by other tests"]
fn rank() {
    let Ok(order) = env::var(RANK) else { return };
    let (rank, part) = order.split_once(' ').expect("it was given both");
    let rank: usize = rank.parse().expect("a number");
    let address =
        |rank: usize| -> SocketAddr { format!("{}:{PORT}", ADDRESSES[rank]).parse().expect("an address") };
    let listener = Listener::bind(address(rank)).expect("nobody else is in the namespace");
    let peers = vec![address(0), address(1)];
    // Ranks of a job know where others listen because they do. A stranger is no harm.
    while TcpStream::connect(peers[1 - rank]).is_err() {
        thread::sleep(Duration::from_millis(10));
    }
    let config = GroupConfig { rank: rank as u32, peers, silence: SILENCE, ..config(LANES, &[]) };
    let mut group = Group::connect(&listener, config, &abort()).expect("the other comes");
    let mapped = fs::read_to_string("/proc/self/maps").expect("the system tells");
    assert!(!mapped.contains("memfd:"), "ranks in two namespaces are on two hosts");
    match part {
        "reduce" => (0..3).for_each(|seed| reduce(&mut group, seed)),
        _ => reduce_until_cut(&mut group),
    }
}

fn reduce(group: &mut Group, seed: u64) {
    let lens = [3, 5_000, 400_003];
    let mut buckets = group.buckets(&BucketPlan::new(&lens, 0)).expect("both take part");
    for reduction in [Reduction::Sum, Reduction::Bf16Sum] {
        for (bucket, len) in buckets.iter_mut().zip(lens) {
            for (lane, vector) in group.lanes().zip(&mut bucket.lanes) {
                let numbers = lane_vector(seed, lane, len);
                vector.copy_from_slice(&numbers);
            }
            group.all_reduce_bucket(reduction, bucket).expect("both take part");
            let mut lanes: Vec<_> = (0..LANES).map(|lane| lane_vector(seed, lane, len)).collect();
            let mut expected = vec![0.0; len];
            tree_reduce(reduction, &mut lanes, &mut expected);
            assert!(bits(bucket.sum()) == bits(&expected), "{reduction:?} of {len} elements");
        }
    }
}

fn reduce_until_cut(group: &mut Group) {
    let mut last = Instant::now();
    let error = loop {
        let lanes = &mut [vec![1.0; 10_000], vec![1.0; 10_000]];
        match group.all_reduce_lanes(lanes, &mut vec![0.0; 10_000]) {
            Ok(()) => last = Instant::now(),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, CollectiveError::Lost { .. }), "{error}");
    // Probes go out while the machine is silent, and the system counts in its own steps.
    assert!(last.elapsed() < SILENCE * 5, "{:?}", last.elapsed());
}
