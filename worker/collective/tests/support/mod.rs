//! Groups whose ranks are threads of the test, connected over the loopback interface.

#![allow(dead_code, reason = "each test binary uses its own part of this module")]

pub(crate) mod certificates;

use std::{net::SocketAddr, thread, time::Duration};

use certificates::Ca;
use phalanx_collective::{AbortHandle, Group, GroupConfig, Listener, Reduction, Transport, tree_reduce};

/// Long enough to never pass in a test that goes right.
pub(crate) const PATIENT: Duration = Duration::from_secs(60);

/// A listener at a free port.
pub(crate) fn listener() -> Listener {
    Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port is free")
}

/// A listener at a free port, for workers of the tests' cluster.
pub(crate) fn secured_listener() -> Listener {
    let tls = Ca::of_the_tests().worker();
    Listener::bind_secured(SocketAddr::from(([127, 0, 0, 1], 0)), tls).expect("a port is free")
}

/// A handle that nobody uses.
pub(crate) fn abort() -> AbortHandle {
    AbortHandle::new().expect("descriptors are left")
}

/// What carries messages between ranks, and whether they have certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Carrier {
    pub(crate) transport: Transport,
    pub(crate) secured: bool,
}

impl From<Transport> for Carrier {
    fn from(transport: Transport) -> Self {
        Self { transport, secured: false }
    }
}

impl Carrier {
    pub(crate) fn listener(self) -> Listener {
        if self.secured { secured_listener() } else { listener() }
    }
}

/// What carries messages without certificates.
pub(crate) const PLAIN: [Carrier; 2] = [
    Carrier { transport: Transport::Tcp, secured: false },
    Carrier { transport: Transport::SharedMemory, secured: false },
];

/// Everything that can carry messages between ranks of one host.
pub(crate) const TRANSPORTS: [Carrier; 3] =
    [PLAIN[0], PLAIN[1], Carrier { transport: Transport::Tcp, secured: true }];

/// Every reduction there is.
pub(crate) const REDUCTIONS: [Reduction; 4] =
    [Reduction::Sum, Reduction::Mean, Reduction::Max, Reduction::Bf16Sum];

/// The bits that all ranks must get from [`lane_vector`]s.
pub(crate) fn reduced(reduction: Reduction, seed: u64, lanes: u32, len: usize) -> Vec<u32> {
    let mut vectors: Vec<_> = (0..lanes).map(|lane| lane_vector(seed, lane, len)).collect();
    let mut out = vec![0.0; len];
    tree_reduce(reduction, &mut vectors, &mut out);
    bits(&out)
}

/// The settings of rank 0 in generation 1.
pub(crate) fn config(lanes: u32, listeners: &[Listener]) -> GroupConfig {
    GroupConfig {
        job: "test-1".into(),
        generation: 1,
        rank: 0,
        lanes,
        peers: listeners.iter().map(Listener::local_addr).collect(),
        timeout: PATIENT,
        silence: Duration::from_secs(30),
        transport: Transport::Auto,
    }
}

/// Connects `world_size` ranks and runs each on a thread of its own. What they return,
/// by rank.
pub(crate) fn on_ranks<T: Send>(
    transport: impl Into<Carrier>,
    lanes: u32,
    world_size: u32,
    run: impl Fn(Group) -> T + Sync,
) -> Vec<T> {
    on_ranks_within(PATIENT, transport, lanes, world_size, run)
}

/// [`on_ranks`] with a timeout of its own.
pub(crate) fn on_ranks_within<T: Send>(
    timeout: Duration,
    transport: impl Into<Carrier>,
    lanes: u32,
    world_size: u32,
    run: impl Fn(Group) -> T + Sync,
) -> Vec<T> {
    let carrier: Carrier = transport.into();
    let listeners: Vec<_> = (0..world_size).map(|_| carrier.listener()).collect();
    let config = GroupConfig { transport: carrier.transport, ..config(lanes, &listeners) };
    thread::scope(|scope| {
        let ranks: Vec<_> = (0..)
            .zip(&listeners)
            .map(|(rank, listener)| {
                let (run, config) = (&run, GroupConfig { rank, timeout, ..config.clone() });
                scope.spawn(move || run(Group::connect(listener, config, &abort()).expect("all ranks come")))
            })
            .collect();
        ranks.into_iter().map(|rank| rank.join().expect("a rank does not panic")).collect()
    })
}

/// That workers of the tests' cluster form a group with these listeners.
pub(crate) fn form_a_group(listeners: &[Listener]) {
    let config = config(listeners.len() as u32, listeners);
    thread::scope(|scope| {
        for (rank, listener) in (0..).zip(listeners) {
            let config = GroupConfig { rank, ..config.clone() };
            scope.spawn(move || Group::connect(listener, config, &abort()).expect("all come").barrier());
        }
    });
}

/// Words that look random, the same for the same seed, with many that are hard to add:
/// zeros, denormals, infinities, numbers near overflow and NaNs with payloads.
pub(crate) fn lane_vector(seed: u64, lane: u32, len: usize) -> Vec<f32> {
    const HARD: [u32; 8] = [
        0x8000_0000,
        0x0000_0001,
        0x807f_ffff,
        0x7f80_0000,
        0xff80_0000,
        0x7f7f_ffff,
        0x7f80_0001,
        0xffc1_2345,
    ];
    let mut word = (seed ^ (u64::from(lane) << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        word
    };
    let pattern = |word: u64| match word % 16 {
        0 => HARD[(word >> 8) as usize % HARD.len()],
        1..4 => (word >> 32) as u32,
        // Numbers of like size, whose sums depend on the order of the additions.
        _ => 0x3f00_0000 | ((word >> 32) as u32 & 0x80ff_ffff),
    };
    (0..len).map(|_| f32::from_bits(pattern(next()))).collect()
}

/// The bits of a vector: NaNs compare too.
pub(crate) fn bits(vector: &[f32]) -> Vec<u32> {
    vector.iter().map(|number| number.to_bits()).collect()
}
