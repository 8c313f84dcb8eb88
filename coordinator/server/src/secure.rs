//! What a worker's connection must be before it can call: over TLS with a worker's
//! certificate, where the coordinator has certificates, and in the clear where it has none.
//! Whoever has it otherwise is told so, as far as it can be.

use std::{io, time::Duration};

use phalanx_protocol::rpc::LET_IN;
use phalanx_tls::{Tls, TlsFailure, begins_tls};
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    time::{error::Elapsed, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::either::Either;

/// The longest that a handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);

/// A connection that can call.
pub(crate) type Stream = Either<TlsStream<TcpStream>, TcpStream>;

/// Why a connection cannot call.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotLetIn {
    /// The two do not agree on TLS, or it has not the right certificate.
    #[error("{0}")]
    Tls(io::Error),
    /// It has certificates, and the coordinator has none.
    #[error(
        "it speaks TLS and this coordinator has no certificates: give both --tls-ca, --tls-cert and --tls-key, \
         or neither"
    )]
    NoCertificates,
    /// It broke before it said anything.
    #[error("it broke: {0}")]
    Broken(io::Error),
    /// It says nothing.
    #[error("it said nothing in time")]
    Silent(#[from] Elapsed),
}

/// Makes a new connection one that can call. Without certificates it may be silent for
/// `idle_max` before it calls first.
pub(crate) async fn let_in(
    stream: TcpStream,
    tls: Option<&Tls>,
    idle_max: Duration,
) -> Result<Stream, NotLetIn> {
    match tls {
        Some(tls) => {
            let secured = timeout(HANDSHAKE_MAX, secured(stream, tls)).await?;
            secured.map(Either::Left).map_err(|error| NotLetIn::Tls(TlsFailure::of_handshake(error)))
        }
        None => {
            let mut first = [0];
            timeout(idle_max, stream.peek(&mut first)).await?.map_err(NotLetIn::Broken)?;
            if begins_tls(first[0]) { Err(NotLetIn::NoCertificates) } else { Ok(Either::Right(stream)) }
        }
    }
}

/// In TLS 1.3 a client does not learn from the handshake whether its certificate was taken.
async fn secured(stream: TcpStream, tls: &Tls) -> io::Result<TlsStream<TcpStream>> {
    let mut stream = TlsAcceptor::from(tls.server()).accept(stream).await?;
    stream.write_u8(LET_IN).await?;
    stream.flush().await?;
    Ok(stream)
}
