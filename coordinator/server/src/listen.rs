//! Listening: ports, and accepting a bounded number of connections. Shared by
//! the HTTP interface and the RPC.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// A peer whose machine does not answer for this long is asked whether it is
/// still there, and after a few times this long its connections end.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Why an address cannot be listened at.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody listens there.
    #[error("port {} of {} is in use: stop whoever listens there or give another with {option}", addr.port(), addr.ip())]
    InUse {
        /// The address.
        addr: SocketAddr,
        /// The option that chooses it.
        option: &'static str,
    },
    /// Everything else: not an address of this machine, a port that takes root.
    #[error("cannot listen at {addr} (choose another with {option}): {reason}")]
    Other {
        /// The address.
        addr: SocketAddr,
        /// The option that chooses it.
        option: &'static str,
        /// What the system said.
        reason: io::Error,
    },
}

/// A port that accepts a bounded number of connections at a time.
#[derive(Debug)]
pub(crate) struct Listener {
    listener: TcpListener,
    addr: SocketAddr,
    slots: Arc<Semaphore>,
}

impl Listener {
    /// Listens at `addr`, which `option` of the command line chooses, for at
    /// most `connections_max` connections at a time.
    pub(crate) async fn bind(
        addr: SocketAddr,
        option: &'static str,
        connections_max: usize,
    ) -> Result<Self, BindError> {
        let bound = async {
            let listener = TcpListener::bind(addr).await?;
            let addr = listener.local_addr()?;
            Ok(Self { listener, addr, slots: Arc::new(Semaphore::new(connections_max)) })
        };
        bound.await.map_err(|reason: io::Error| match reason.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse { addr, option },
            _ => BindError::Other { addr, option, reason },
        })
    }

    /// The address, its port known.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The next connection and the slot that it takes until that is dropped;
    /// nothing after `stop`. While all slots are taken, clients wait.
    pub(crate) async fn accept(&self, stop: &CancellationToken) -> Option<(TcpStream, OwnedSemaphorePermit)> {
        let accepted = async {
            let slot = Arc::clone(&self.slots).acquire_owned().await;
            let slot = slot.expect("invariant: the semaphore is never closed");
            loop {
                match self.listener.accept().await {
                    Ok((stream, _)) => {
                        prepare(&stream);
                        return (stream, slot);
                    }
                    Err(error) => {
                        // Most likely out of file descriptors: it passes, or it is said once a second.
                        warn!(addr = %self.addr, %error, "connection not accepted");
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => None,
            accepted = accepted => Some(accepted),
        }
    }
}

/// Messages are small and written whole, so waiting for more would only delay
/// them. A connection that ended meanwhile says so when it is used.
fn prepare(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
}
