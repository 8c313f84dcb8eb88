//! Groups with certificates: who is not of the cluster is refused and told why, in time,
//! and keeps nobody from working.

mod support;

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use phalanx_collective::{
    CollectiveError, Group, GroupConfig, Listener, Role, TlsFailure, Transport, WireError,
};
use rcgen::{CertificateParams, date_time_ymd};
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use support::{
    Carrier, PATIENT, abort, certificates::Ca, config, form_a_group, listener, on_ranks, secured_listener,
};

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

fn expired(params: &mut CertificateParams) {
    params.not_after = date_time_ymd(2001, 1, 1);
}

/// What rank 1 gets when it dials a rank 0 that listens there.
fn dial(own: &Listener, addr: SocketAddr) -> CollectiveError {
    let config = GroupConfig { rank: 1, peers: vec![addr, own.local_addr()], ..config(2, &[]) };
    let begun = Instant::now();
    let error = Group::connect(own, config, &abort()).expect_err("they have nothing in common");
    assert!(begun.elapsed() < PATIENT / 2, "it takes too long: {error}");
    error
}

/// A client that trusts the tests' CA and presents what it likes.
fn stranger(own: Option<&str>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let ca = Ca::of_the_tests().pem();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).expect("a certificate")).expect("a CA");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().expect("ring has them");
    let builder = builder.with_root_certificates(roots);
    match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let (certificate, key) = parsed(own);
            builder.with_client_auth_cert(vec![certificate], key).expect("the key fits")
        }
    }
}

fn parsed(pem: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate");
    (certificate, PrivateKeyDer::from_pem_slice(pem.as_bytes()).expect("a key"))
}

#[test]
fn ranks_with_certificates_share_memory_too() {
    for transport in [Transport::SharedMemory, Transport::Auto] {
        let sums = on_ranks(Carrier { transport, secured: true }, 4, 3, |mut group| {
            assert!(group.is_secured());
            let mut sum = vec![0.0; 300_000];
            for _ in 0..3 {
                let mut lanes: Vec<_> = group.lanes().map(|lane| vec![lane as f32; 300_000]).collect();
                group.all_reduce_lanes(&mut lanes, &mut sum).expect("all ranks take part");
            }
            sum
        });
        assert!(sums.iter().flatten().all(|sum| *sum == 6.0));
    }
}

#[test]
fn the_end_of_a_rank_that_shares_memory_is_noticed() {
    let shared = Carrier { transport: Transport::SharedMemory, secured: true };
    let ends = on_ranks(shared, 2, 2, |mut group| match group.rank() {
        0 => Some(group.barrier().expect_err("rank 1 is gone")),
        _ => None,
    });
    assert!(matches!(ends[0], Some(CollectiveError::Lost { rank: 1, .. })), "{ends:?}");
}

#[test]
fn workers_of_two_clusters_do_not_work_together() {
    let other = Listener::bind_secured(ANY, Ca::new().worker()).expect("a port is free");
    let listeners = [secured_listener(), secured_listener()];
    for (own, peer) in [(&other, &listeners[0]), (&listeners[0], &other)] {
        let error = dial(own, peer.local_addr());
        let told = matches!(error, CollectiveError::Tls { rank: 0, cause: TlsFailure::Issuer });
        assert!(told, "{error}");
    }
    form_a_group(&[secured_listener(), secured_listener()]);
}

#[test]
fn who_has_certificates_and_who_has_none_tell_each_other() {
    let (plain, secured) = (listener(), secured_listener());
    let error = dial(&plain, secured.local_addr());
    let told = matches!(error, CollectiveError::Malformed { rank: 0, cause: WireError::Tls });
    assert!(told, "{error}");
    let error = dial(&secured, plain.local_addr());
    let told = matches!(error, CollectiveError::Tls { rank: 0, cause: TlsFailure::Closed });
    assert!(told && error.to_string().contains("or neither"), "{error}");
}

#[test]
fn what_answers_in_another_protocol_is_no_rank() {
    let own = secured_listener();
    let other = TcpListener::bind(ANY).expect("a port is free");
    let addr = other.local_addr().expect("it is bound");
    thread::scope(|scope| {
        scope.spawn(move || {
            let (mut stream, _) = other.accept().expect("rank 1 dials");
            stream.write_all(&[b'?'; 4_096]).expect("it is sent");
            io::copy(&mut stream, &mut io::sink())
        });
        let error = dial(&own, addr);
        assert!(matches!(error, CollectiveError::Tls { rank: 0, cause: TlsFailure::Plain }), "{error}");
    });
}

#[test]
fn clients_without_a_certificate_of_the_cluster_are_told_so() {
    let listeners = [secured_listener(), secured_listener()];
    let ca = Ca::of_the_tests();
    let not_a_worker = |params: &mut CertificateParams| {
        params.subject_alt_names =
            CertificateParams::new(vec!["else".to_owned()]).expect("a name").subject_alt_names;
    };
    for (own, alert) in [
        (None, AlertDescription::CertificateRequired),
        // It has the name of the right CA and another key.
        (Some(Ca::new().worker_pem(|_| ())), AlertDescription::DecryptError),
        (Some(ca.worker_pem(expired)), AlertDescription::CertificateExpired),
        (Some(ca.worker_pem(not_a_worker)), AlertDescription::BadCertificate),
    ] {
        let config = Arc::new(stranger(own.as_deref()));
        let mut tls = ClientConnection::new(config, Role::Worker.server_name()).expect("it can begin");
        let mut stream = TcpStream::connect(listeners[0].local_addr()).expect("it listens");
        let ended = rustls::Stream::new(&mut tls, &mut stream).read(&mut [0; 9]).expect_err("it is refused");
        assert!(ended.to_string().contains(&format!("{alert:?}")), "{ended} instead of {alert:?}");
    }
    form_a_group(&listeners);
}

#[test]
fn a_worker_whose_certificate_has_expired_is_refused_by_who_dials_it() {
    let own = secured_listener();
    let (certificate, key) = parsed(&Ca::of_the_tests().worker_pem(expired));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has them")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("the key fits");
    let other = TcpListener::bind(ANY).expect("a port is free");
    let addr = other.local_addr().expect("it is bound");
    thread::scope(|scope| {
        scope.spawn(move || {
            let (mut stream, _) = other.accept().expect("rank 1 dials");
            let mut tls = ServerConnection::new(Arc::new(config)).expect("it can begin");
            tls.complete_io(&mut stream)
        });
        let error = dial(&own, addr);
        assert!(matches!(error, CollectiveError::Tls { rank: 0, cause: TlsFailure::Expired }), "{error}");
    });
}

#[test]
fn strangers_at_the_door_keep_no_group_from_forming_and_are_shown_out() {
    let listeners = [secured_listener(), secured_listener()];
    let mut strangers = Vec::new();
    let mut tls =
        ClientConnection::new(Arc::new(stranger(None)), Role::Worker.server_name()).expect("it can");
    let mut hello = Vec::new();
    tls.write_tls(&mut hello).expect("it is written to memory");
    let unfinished = &hello[..hello.len() / 2];
    // A record of the longest length, of which nothing follows; the beginning of a long handshake.
    let huge = [&[0x16, 0x03, 0x01, 0x40, 0x00, 0x01, 0x00, 0xff, 0xff][..], &[0; 9_000]].concat();
    for listener in &listeners {
        for words in [&b""[..], b"GET / HTTP/1.1\r\n\r\n", &[0xff; 10_000], unfinished, &huge] {
            let mut stream = TcpStream::connect(listener.local_addr()).expect("it listens");
            // It may be closed to us before all is sent.
            let _ = stream.write_all(words);
            strangers.push(stream);
        }
    }
    form_a_group(&listeners);
    let begun = Instant::now();
    for mut stranger in strangers {
        stranger.set_read_timeout(Some(PATIENT)).expect("it can");
        let _ = stranger.read_to_end(&mut Vec::new());
    }
    assert!(begun.elapsed() < PATIENT / 2, "who says nothing is not waited for");
}

#[test]
fn a_handshake_that_does_not_go_on_ends_with_an_abort_or_the_timeout() {
    let silent = TcpListener::bind(ANY).expect("a port is free");
    let own = secured_listener();
    let peers = vec![silent.local_addr().expect("it is bound"), own.local_addr()];
    let patient = GroupConfig { rank: 1, peers, ..config(2, &[]) };
    let handle = abort();
    let error = thread::scope(|scope| {
        let rank = scope.spawn(|| Group::connect(&own, patient.clone(), &handle));
        let (mut stream, _) = silent.accept().expect("rank 1 dials");
        stream.read_exact(&mut [0; 5]).expect("it begins the handshake");
        handle.abort();
        rank.join().expect("a rank does not panic").expect_err("it is aborted")
    });
    assert!(matches!(error, CollectiveError::Aborted), "{error}");
    let hasty = GroupConfig { generation: 2, timeout: Duration::from_millis(200), ..patient };
    let error = Group::connect(&own, hasty, &abort()).expect_err("nobody answers");
    assert!(matches!(&error, CollectiveError::Timeout { ranks, .. } if *ranks == [0]), "{error}");
}

/// Passes on what comes, and changes one byte after so many.
fn pass_on(mut from: TcpStream, mut to: TcpStream, changed: Option<usize>) {
    let (mut bytes, mut passed) = ([0; 1 << 14], 0);
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        if let Some(place) =
            changed.and_then(|changed| changed.checked_sub(passed)).filter(|place| *place < read)
        {
            bytes[place] ^= 1;
        }
        passed += read;
        if to.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

#[test]
fn a_byte_that_is_changed_on_the_way_is_noticed() {
    let listeners = [secured_listener(), secured_listener()];
    let between = TcpListener::bind(ANY).expect("a port is free");
    let addr = between.local_addr().expect("it is bound");
    let config = GroupConfig { transport: Transport::Tcp, ..config(2, &listeners) };
    let errors = thread::scope(|scope| {
        scope.spawn(|| {
            let (rank_1, _) = between.accept().expect("rank 1 dials");
            let rank_0 = TcpStream::connect(listeners[0].local_addr()).expect("it listens");
            let copies = [&rank_1, &rank_0].map(|stream| stream.try_clone().expect("it can"));
            let [rank_1_too, rank_0_too] = copies;
            thread::scope(|scope| {
                scope.spawn(move || pass_on(rank_1, rank_0_too, Some(1_000_000)));
                scope.spawn(move || pass_on(rank_0, rank_1_too, None));
            });
        });
        let ranks = [0, 1].map(|rank| {
            let (listener, mut config) = (&listeners[rank as usize], GroupConfig { rank, ..config.clone() });
            config.peers[0] = addr;
            scope.spawn(move || {
                let mut group = Group::connect(listener, config, &abort()).expect("both come");
                let (mut lanes, mut sum) = ([vec![1.0; 1_000_000]], vec![0.0; 1_000_000]);
                group.all_reduce_lanes(&mut lanes, &mut sum).expect_err("it was changed")
            })
        });
        ranks.map(|rank| rank.join().expect("a rank does not panic"))
    });
    assert!(matches!(errors[0], CollectiveError::Tls { rank: 1, .. }), "{}", errors[0]);
}
