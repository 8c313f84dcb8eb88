//! What TLS costs an all-reduce: two ranks on threads of this process, over TCP on the
//! loopback interface, with certificates and without, turn about.
//!
//!     tls [BYTES...]

use std::{env, error::Error, net::SocketAddr, thread, time::Duration, time::Instant};

use phalanx_collective::{AbortHandle, CollectiveError, Group, GroupConfig, Listener, Role, Tls, Transport};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// Turns of each contender.
const TURNS: usize = 5;

/// How long a turn takes, about.
const TURN_TIME: Duration = Duration::from_millis(300);

fn main() -> Result<(), Box<dyn Error>> {
    let sizes: Result<Vec<usize>, _> = env::args().skip(1).map(|bytes| bytes.parse()).collect();
    let sizes = sizes.map(|sizes| if sizes.is_empty() { vec![1 << 16, 1 << 22] } else { sizes })?;
    let tls = certificates()?;
    for bytes in sizes {
        let [mut plain, mut secured] = [Vec::new(), Vec::new()];
        for _ in 0..TURNS {
            plain.push(turn(bytes / 4, None)?);
            secured.push(turn(bytes / 4, Some(&tls))?);
        }
        let [plain, secured] = [plain, secured].map(median);
        let ratio = secured.as_secs_f64() / plain.as_secs_f64();
        println!("{bytes} bytes: TCP {plain:?}, TLS {secured:?}, {ratio:.2} times as long");
    }
    Ok(())
}

/// The median of a round on rank 0.
fn turn(len: usize, tls: Option<&Tls>) -> Result<Duration, Box<dyn Error>> {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let bind = || tls.map_or_else(|| Listener::bind(any), |tls| Listener::bind_secured(any, tls.clone()));
    let listeners = [bind()?, bind()?];
    let peers: Vec<_> = listeners.iter().map(Listener::local_addr).collect();
    let rank = |rank: u32| {
        let (job, timeout, silence) = ("bench".to_owned(), Duration::from_secs(30), Duration::from_secs(30));
        let peers = peers.clone();
        let transport = Transport::Tcp;
        let config = GroupConfig { job, generation: 1, rank, lanes: 2, peers, timeout, silence, transport };
        let abort =
            AbortHandle::new().map_err(|cause| CollectiveError::System { doing: "a handle", cause })?;
        let mut group = Group::connect(&listeners[rank as usize], config, &abort)?;
        rounds(&mut group, len)
    };
    let times = thread::scope(|scope| {
        let other = scope.spawn(|| rank(1));
        let times = rank(0);
        other.join().expect("a rank does not panic").and(times)
    })?;
    Ok(median(times))
}

fn rounds(group: &mut Group, len: usize) -> Result<Vec<Duration>, CollectiveError> {
    let (mut lanes, mut sum, mut times) = ([vec![1.0; len]], vec![0.0; len], Vec::new());
    let begun = Instant::now();
    loop {
        let round = Instant::now();
        group.all_reduce_lanes(&mut lanes, &mut sum)?;
        times.push(round.elapsed());
        // Rank 0 decides for both, now and then.
        if times.len().is_power_of_two() || times.len().is_multiple_of(64) {
            let mut through = vec![u8::from(begun.elapsed() > TURN_TIME)];
            group.broadcast(0, &mut through)?;
            if through == [1] {
                return Ok(times);
            }
        }
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn certificates() -> Result<Tls, Box<dyn Error>> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let (key, own) = (KeyPair::generate()?, CertificateParams::new(vec![Role::Worker.name().to_owned()])?);
    let own = own.signed_by(&key, &ca)?.pem();
    Ok(Tls::new(Role::Worker, ca.pem().as_bytes(), own.as_bytes(), key.serialize_pem().as_bytes())?)
}
