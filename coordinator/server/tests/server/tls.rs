//! A coordinator with certificates, and one without: who is let in, and what others get.

use std::{io, net::SocketAddr, time::Duration};

use phalanx_protocol::{
    codec::{self, Codec},
    rpc::{CoordinatorClient, LET_IN},
};
use phalanx_server::{Config, Server, StartError, start};
use phalanx_tests::Certificates;
use phalanx_tls::{Role, Tls, TlsFailure, TlsFiles};
use tarpc::{client, serde_transport, tokio_util::codec::Framed};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::support::{DEADLINE, config, connect, context, hello};

fn files(certificates: &Certificates, role: &str) -> TlsFiles {
    let [ca, certificate, key] = certificates.files(role);
    TlsFiles { ca, certificate, key }
}

fn tls(certificates: &Certificates, role: Role) -> Tls {
    let name = match role {
        Role::Coordinator => "coordinator",
        Role::Worker => "worker",
    };
    files(certificates, name).load(role).unwrap()
}

async fn secured(folder: &tempfile::TempDir, certificates: &Certificates) -> Server {
    let tls = Some(files(certificates, "coordinator"));
    start(Config { tls, ..config(folder.path()) }).await.unwrap()
}

/// Connects as a worker does.
async fn dial(addr: SocketAddr, tls: &Tls) -> io::Result<TlsStream<TcpStream>> {
    let dialed = async {
        let stream = TcpStream::connect(addr).await?;
        let name = Role::Coordinator.server_name();
        let mut stream = TlsConnector::from(tls.client()).connect(name, stream).await?;
        assert_eq!(stream.read_u8().await?, LET_IN);
        Ok(stream)
    };
    timeout(DEADLINE, dialed).await.expect("it ends in time").map_err(TlsFailure::of_handshake)
}

async fn attaches(addr: SocketAddr, tls: &Tls) {
    let stream = dial(addr, tls).await.unwrap();
    let transport = serde_transport::new(Framed::new(stream, codec::framing()), Codec::default());
    let client = CoordinatorClient::new(client::Config::default(), transport).spawn();
    client.attach(context(), hello()).await.unwrap().unwrap();
}

#[tokio::test]
async fn workers_with_certificates_are_let_in_and_nobody_else_is() {
    let (folder, certificates) = (tempfile::tempdir().unwrap(), Certificates::new());
    let server = secured(&folder, &certificates).await;
    let (addr, worker) = (server.rpc_addr(), tls(&certificates, Role::Worker));
    attaches(addr, &worker).await;

    let failure = |error: io::Error| TlsFailure::of(&error).expect("it says why");
    let no_worker = tls(&certificates, Role::Coordinator);
    let error = failure(dial(addr, &no_worker).await.unwrap_err());
    assert!(matches!(error, TlsFailure::Refused(_)), "{error}");
    let stranger = tls(&Certificates::new(), Role::Worker);
    assert_eq!(failure(dial(addr, &stranger).await.unwrap_err()), TlsFailure::Issuer);

    let mut silent = TcpStream::connect(addr).await.unwrap();
    for words in [&b"\0\0\0\x10 in the clear.."[..], b"GET / HTTP/1.1\r\n\r\n", &[0xff; 10_000]] {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(words).await.unwrap();
        // What TLS says to who does not speak it, or the end.
        let answer = timeout(DEADLINE, stream.read_u8()).await.expect("it ends in time");
        assert!(answer.map_or(true, |first| first == 0x15), "{words:?}");
    }
    attaches(addr, &worker).await;
    let ended = timeout(DEADLINE, silent.read_to_end(&mut Vec::new())).await;
    assert!(ended.is_ok(), "who says nothing is not waited for");
}

#[tokio::test]
async fn a_call_in_the_clear_ends_where_tls_is_wanted() {
    let (folder, certificates) = (tempfile::tempdir().unwrap(), Certificates::new());
    let server = secured(&folder, &certificates).await;
    let client = connect(server.rpc_addr()).await;
    let answer = timeout(Duration::from_secs(10), client.attach(context(), hello())).await;
    assert!(answer.expect("it ends in time").is_err());
}

#[tokio::test]
async fn a_coordinator_without_certificates_ends_a_connection_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(config(folder.path())).await.unwrap();
    let worker = tls(&Certificates::new(), Role::Worker);
    let error = dial(server.rpc_addr(), &worker).await.unwrap_err();
    assert_eq!(TlsFailure::of(&error), Some(TlsFailure::Closed), "{error}");
}

#[tokio::test]
async fn certificates_that_cannot_work_are_named_before_anything_is_written() {
    let (folder, certificates) = (tempfile::tempdir().unwrap(), Certificates::new());
    let tls = Some(files(&certificates, "worker"));
    let error = start(Config { tls, ..config(folder.path()) }).await.unwrap_err();
    assert!(matches!(error, StartError::Tls(_)), "{error:?}");
    assert!(error.to_string().contains("worker.pem"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was written");
}
