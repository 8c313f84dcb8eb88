//! The connection to the coordinator below its calls: over TLS where this worker has
//! certificates, in the clear where it has none; and what is said where the coordinator
//! has it otherwise.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use phalanx_protocol::rpc::LET_IN;
use phalanx_tls::{Role, Tls, TlsFailure, begins_tls};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::either::Either;

/// What calls go through.
pub(crate) type Stream = Either<TlsStream<TcpStream>, Clear>;

/// Makes a new connection one that can call.
pub(crate) async fn secure(stream: TcpStream, tls: Option<&Tls>) -> io::Result<Stream> {
    let Some(tls) = tls else { return Ok(Either::Right(Clear { stream, began: false })) };
    let secured = async {
        let connector = TlsConnector::from(tls.client());
        let mut stream = connector.connect(Role::Coordinator.server_name(), stream).await?;
        // Only this tells that the coordinator has taken this worker's certificate.
        match stream.read_u8().await? {
            LET_IN => Ok(stream),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    };
    secured.await.map(Either::Left).map_err(|error| told(TlsFailure::of_handshake(error)))
}

/// With the options that mend it.
fn told(error: io::Error) -> io::Error {
    match TlsFailure::of(&error) {
        Some(failure @ (TlsFailure::Plain | TlsFailure::Closed)) => {
            io::Error::other(format!("{failure} (--tls-ca, --tls-cert and --tls-key)"))
        }
        Some(_) | None => error,
    }
}

/// A connection in the clear, that says so where the coordinator takes TLS only.
#[derive(Debug)]
pub(crate) struct Clear {
    stream: TcpStream,
    began: bool,
}

impl AsyncRead for Clear {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let first = buffer.filled().get(before).filter(|_| !self.began);
        if first.is_some_and(|first| begins_tls(*first)) {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it takes TLS only: give this worker --tls-ca, --tls-cert and --tls-key",
            )));
        }
        self.began |= first.is_some();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Clear {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
