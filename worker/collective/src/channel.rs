//! A connection with another process before it is a rank's: it takes the handshake of TLS,
//! where the cluster has it, and the first words of both sides. What carries messages is
//! made of it afterwards.

use std::{io, net::TcpStream};

use phalanx_tls::Tls;
use rustix::event::PollFlags;

use crate::{
    handshake::{HelloReader, first_words},
    link::Transport,
    secured::Secured,
    session::{Session, Step},
    tcp::Tcp,
    wire::{Hello, WireError},
};

/// A connection, over a socket that does not block.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: TcpStream,
    /// Where the cluster has TLS.
    session: Option<Box<Session>>,
}

impl Channel {
    /// The end that dialed.
    pub(crate) fn dialed(socket: TcpStream, tls: Option<&Tls>) -> io::Result<Self> {
        Ok(Self { socket, session: tls.map(Session::client).transpose()?.map(Box::new) })
    }

    /// The end that was dialed.
    pub(crate) fn accepted(socket: TcpStream, tls: Option<&Tls>) -> io::Result<Self> {
        Ok(Self { socket, session: tls.map(Session::server).transpose()?.map(Box::new) })
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// What a wait for the other side is to be ended by.
    pub(crate) fn interest(&self) -> PollFlags {
        let writes = self.session.as_ref().is_some_and(|session| session.wants_write());
        if writes { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN }
    }

    /// Goes on with the TLS handshake; whether words can be exchanged.
    pub(crate) fn handshake(&mut self) -> io::Result<bool> {
        self.session.as_mut().map_or(Ok(true), |session| session.handshake(&self.socket))
    }

    /// Sends a hello, the first words over this connection: it fits into the socket's
    /// empty buffer, so that it is sent whole or not at all.
    pub(crate) fn send_hello(&mut self, hello: &Hello) -> io::Result<()> {
        let words = hello.encode();
        let Some(session) = &mut self.session else { return first_words(&self.socket, &words) };
        session.encrypt(&[io::IoSlice::new(&words)])?;
        session.flush(&self.socket).map_err(|error| session.why(&self.socket, error))?;
        if session.wants_write() { Err(io::ErrorKind::WriteZero.into()) } else { Ok(()) }
    }

    /// Takes in what has arrived of a hello; `None` where more must come. That the
    /// connection was closed is an error.
    pub(crate) fn read_hello(
        &mut self,
        hello: &mut HelloReader,
    ) -> io::Result<Option<Result<Hello, WireError>>> {
        let Self { socket, session } = self;
        let Some(session) = session else { return hello.read(|bytes| io::Read::read(&mut &*socket, bytes)) };
        hello.read(|bytes| {
            loop {
                let words = session.words()?;
                let taken = words.len().min(bytes.len());
                if taken > 0 {
                    bytes[..taken].copy_from_slice(&words[..taken]);
                    session.consume(taken);
                    return Ok(taken);
                }
                if session.decrypt(socket)? == Step::Blocked {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
            }
        })
    }

    /// What carries messages to and from `rank` from now on.
    pub(crate) fn into_transport(self, rank: usize) -> Box<dyn Transport> {
        match self.session {
            Some(session) => Box::new(Secured::new(rank, self.socket, session)),
            None => Box::new(Tcp::new(rank, self.socket)),
        }
    }
}
