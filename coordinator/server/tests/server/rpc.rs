//! Workers that do not behave.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use phalanx_protocol::{
    codec::FRAME_BYTES_MAX,
    id::{Generation, JobId, WorkerId},
    message::{Assignment, Event, Hello, Report, StateSource},
    rpc::{NotAttached, Rejected},
    view::WorkerView,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::support::{Cluster, DEADLINE, connect, context, hello, spec};

#[tokio::test]
async fn a_wait_without_directives_ends_with_the_heartbeat() {
    let cluster = Cluster::with_lease(Duration::from_secs(4)).await;
    let worker = cluster.worker().await;
    let begin = Instant::now();
    assert_eq!(worker.poll().await, Ok(Vec::new()));
    let waited = begin.elapsed();
    assert!(waited >= Duration::from_millis(900) && waited < Duration::from_secs(3), "{waited:?}");
}

#[tokio::test]
async fn a_worker_stays_while_it_is_heard_and_must_attach_again_after_a_silence() {
    let lease = Duration::from_secs(6);
    let cluster = Cluster::with_lease(lease).await;
    let worker = cluster.worker().await;
    let begin = Instant::now();
    while begin.elapsed() < lease * 3 / 2 {
        worker.poll().await.unwrap();
    }
    let begin = Instant::now();
    while !cluster.user.get::<Vec<WorkerView>>("/v1/workers").await.is_empty() {
        assert!(begin.elapsed() < DEADLINE, "a silent worker stays");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(worker.poll().await, Err(Rejected::UnknownWorker(worker.id())));
    assert_ne!(cluster.worker().await.id(), worker.id());
}

#[tokio::test]
async fn a_worker_of_another_version_is_told_so() {
    let cluster = Cluster::start().await;
    let client = connect(cluster.server.rpc_addr()).await;
    let old = Hello { version: "0.0.1".to_owned(), ..hello() };
    let refused = client.attach(context(), old).await.unwrap().unwrap_err();
    assert!(matches!(refused, NotAttached::Version { .. }), "{refused}");
}

#[tokio::test]
async fn a_connection_without_calls_ends_and_one_with_calls_stays() {
    let cluster = Cluster::with_lease(Duration::from_millis(500)).await;
    let mut silent = TcpStream::connect(cluster.server.rpc_addr()).await.unwrap();
    let client = connect(cluster.server.rpc_addr()).await;
    let stranger = WorkerId::new(99);
    let mut ended = pin!(timeout(DEADLINE, silent.read_u8()));
    loop {
        let refused = client.directives(context(), stranger, 0, None).await.unwrap();
        assert_eq!(refused, Err(Rejected::UnknownWorker(stranger)));
        if let Ok(ended) = timeout(Duration::from_millis(20), &mut ended).await {
            assert!(ended.expect("it ends in time").is_err());
            break;
        }
    }
    let refused = client.directives(context(), stranger, 0, None).await.unwrap();
    assert_eq!(refused, Err(Rejected::UnknownWorker(stranger)));
}

#[tokio::test]
async fn a_worker_that_leaves_is_forgotten_at_once() {
    let cluster = Cluster::start().await;
    let worker = cluster.worker().await;
    worker.client.detach(context(), worker.id()).await.unwrap();
    assert_eq!(worker.poll().await, Err(Rejected::UnknownWorker(worker.id())));
}

fn formed() -> Event {
    Event::Formed { step: 0, from: StateSource::Seed }
}

#[tokio::test]
async fn a_stranger_and_an_old_generation_are_refused() {
    let cluster = Cluster::start().await;
    let client = connect(cluster.server.rpc_addr()).await;
    let job: JobId = "points-1".parse().unwrap();
    let stranger = WorkerId::new(99);
    let report = Report { job, generation: Generation::new(1), event: formed() };
    let refused = client.report(context(), stranger, report).await.unwrap();
    assert_eq!(refused, Err(Rejected::UnknownWorker(stranger)));

    cluster.user.submit(spec("points")).await;
    let mut worker = cluster.worker().await;
    let Assignment { job, generation: current, .. } = *worker.begin().await;
    let old = Generation::new(current.get() - 1);
    let refused = worker.report(&job, old, formed()).await;
    assert_eq!(refused, Err(Rejected::StaleGeneration { got: old, current }));
}

#[tokio::test]
async fn garbage_ends_its_own_connection_and_nothing_else() {
    let cluster = Cluster::start().await;
    let worker = cluster.worker().await;
    let frame = |length: u32, content: &[u8]| [&length.to_be_bytes()[..], content].concat();
    for garbage in [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        frame(u32::MAX, b""),
        frame(FRAME_BYTES_MAX as u32 + 1, b"too large"),
        frame(16, &[0xff; 16]),
        frame(0, b""),
    ] {
        let mut stream = TcpStream::connect(cluster.server.rpc_addr()).await.unwrap();
        stream.write_all(&garbage).await.unwrap();
        let ended = timeout(DEADLINE, stream.read_to_end(&mut Vec::new())).await;
        assert!(ended.is_ok(), "the connection stays open after {garbage:?}");
    }
    cluster.user.submit(spec("points")).await;
    assert_eq!(worker.poll().await.unwrap().len(), 1);
}
