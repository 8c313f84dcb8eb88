//! One end of a TLS connection over a socket that does not block: rustls does the
//! cryptography, this moves its bytes. Words go in and come out in order; where one
//! message ends and the next begins is not known here.

use std::{
    fmt,
    io::{self, BufRead as _, IoSlice, Read, Write},
    net::TcpStream,
};

use phalanx_tls::{Role, Tls, TlsFailure};
use rustix::{
    io::Errno,
    net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, sendmsg},
};
use rustls::{ClientConnection, Connection, ServerConnection};

/// What is read from the socket at once, and encrypted before it is sent: four records of
/// the largest size.
const BUFFER_BYTES: usize = 1 << 16;

/// The state of one connection. Its memory is bounded: by what rustls keeps of a handshake,
/// 64 KiB, and by [`BUFFER_BYTES`] each way from then on.
pub(crate) struct Session {
    tls: Connection,
    /// Bytes from the socket that rustls has not seen. No memory before the handshake is through.
    input: Vec<u8>,
    seen: usize,
    filled: usize,
}

/// What decrypting has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Something moved.
    Moved,
    /// All that the socket held has been taken in.
    Drained,
    /// The socket allows nothing now.
    Blocked,
}

impl Session {
    /// The end that dials another worker.
    pub(crate) fn client(tls: &Tls) -> io::Result<Self> {
        let client = ClientConnection::new(tls.client(), Role::Worker.server_name());
        client.map(|client| Self::new(client.into())).map_err(failed)
    }

    /// The end that was dialed.
    pub(crate) fn server(tls: &Tls) -> io::Result<Self> {
        ServerConnection::new(tls.server()).map(|server| Self::new(server.into())).map_err(failed)
    }

    fn new(mut tls: Connection) -> Self {
        tls.set_buffer_limit(Some(BUFFER_BYTES));
        Self { tls, input: Vec::new(), seen: 0, filled: 0 }
    }

    /// Goes on with the handshake as far as the socket allows; whether it is through.
    /// What a side says in it last is sent before this returns `true`.
    pub(crate) fn handshake(&mut self, socket: &TcpStream) -> io::Result<bool> {
        loop {
            self.flush(socket).map_err(|error| TlsFailure::of_handshake(self.why(socket, error)))?;
            if self.tls.wants_write() || !self.tls.is_handshaking() {
                return Ok(!self.tls.wants_write());
            }
            match self.tls.read_tls(&mut Socket(socket)) {
                Ok(0) => return Err(TlsFailure::Closed.into()),
                Ok(_) => self.process(socket)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(TlsFailure::of_handshake(error)),
            }
        }
    }

    /// Whether bytes wait for the socket.
    pub(crate) fn wants_write(&self) -> bool {
        self.tls.wants_write()
    }

    /// Encrypts what there is room for, as much as fills whole records; how much that was.
    pub(crate) fn encrypt(&mut self, words: &[IoSlice<'_>]) -> io::Result<usize> {
        self.tls.writer().write_vectored(words)
    }

    /// Sends what is encrypted, as far as the socket takes it; whether it took anything.
    pub(crate) fn flush(&mut self, socket: &TcpStream) -> io::Result<bool> {
        let mut moved = false;
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut Socket(socket)) {
                Ok(sent) => moved |= sent > 0,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(moved)
    }

    /// What lies decrypted; empty where more must come.
    pub(crate) fn words(&mut self) -> io::Result<&[u8]> {
        match self.tls.reader().into_first_chunk() {
            // The peer has said that it ends.
            Ok([]) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(&[]),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(error.kind().into()),
            other => other,
        }
    }

    /// Takes the first of what [`words`](Self::words) gave.
    pub(crate) fn consume(&mut self, bytes: usize) {
        self.tls.reader().consume(bytes);
    }

    /// Whether nothing from the socket is left that could be decrypted.
    pub(crate) fn is_used_up(&self) -> bool {
        self.seen == self.filled
    }

    /// Decrypts more. Only where no [`words`](Self::words) are left; reads from the socket
    /// once at most.
    pub(crate) fn decrypt(&mut self, socket: &TcpStream) -> io::Result<Step> {
        let mut step = Step::Moved;
        if self.is_used_up() {
            self.input.resize(BUFFER_BYTES, 0);
            (self.seen, self.filled) = (0, 0);
            match Socket(socket).read(&mut self.input) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    self.filled = read;
                    step = if read < BUFFER_BYTES { Step::Drained } else { Step::Moved };
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Step::Blocked),
                Err(error) => return Err(error),
            }
        }
        let mut unseen = &self.input[self.seen..self.filled];
        match self.tls.read_tls(&mut unseen)? {
            // The peer has said that it ends.
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            seen => self.seen += seen,
        }
        self.process(socket)?;
        Ok(step)
    }

    /// Why nothing can be sent: a peer that refuses this side says so before it closes.
    pub(crate) fn why(&mut self, socket: &TcpStream, error: io::Error) -> io::Error {
        loop {
            match self.decrypt(socket) {
                Ok(Step::Blocked) => return error,
                Ok(Step::Moved | Step::Drained) => {}
                Err(other) => return if TlsFailure::of(&other).is_some() { other } else { error },
            }
        }
    }

    /// Lets rustls work on what it was given. What it has to say to a peer that it refuses
    /// is sent, if the socket takes it.
    fn process(&mut self, socket: &TcpStream) -> io::Result<()> {
        let Err(error) = self.tls.process_new_packets() else { return Ok(()) };
        let _ = self.flush(socket);
        Err(failed(error))
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

fn failed(error: rustls::Error) -> io::Error {
    TlsFailure::from(error).into()
}

/// The socket, as rustls reads and writes it. A signal in between is nothing.
struct Socket<'a>(&'a TcpStream);

impl Read for Socket<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            match recv(self.0, &mut *bytes, RecvFlags::empty()) {
                Ok((read, _)) => return Ok(read),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        loop {
            let mut control = SendAncillaryBuffer::default();
            match sendmsg(self.0, slices, &mut control, SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => {}
                result => return result.map_err(io::Error::from),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
