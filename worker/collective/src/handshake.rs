//! Hellos over a socket that does not block. A hello is small enough to fit into the empty
//! buffer of a new connection, so that it is sent whole or not at all; it may arrive
//! in pieces. Exactly its bytes are read: what follows belongs to the group.

use std::{
    io::{self, Write as _},
    net::TcpStream,
};

use phalanx_tls::begins_tls;

use crate::wire::{HELLO_BYTES, Hello, WireError};

/// Sends a hello over a connection that nothing was sent over yet.
pub(crate) fn first_words(mut stream: &TcpStream, hello: &[u8; HELLO_BYTES]) -> io::Result<()> {
    match stream.write(hello)? {
        HELLO_BYTES => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}

/// A hello that is arriving.
#[derive(Debug)]
pub(crate) struct HelloReader {
    bytes: [u8; HELLO_BYTES],
    filled: usize,
}

impl HelloReader {
    /// Of which nothing has arrived.
    pub(crate) fn new() -> Self {
        Self { bytes: [0; HELLO_BYTES], filled: 0 }
    }

    /// Takes in what `read` gives; `None` where more must come. That the connection was
    /// closed is an error.
    pub(crate) fn read(
        &mut self,
        mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<Option<Result<Hello, WireError>>> {
        while self.filled < HELLO_BYTES {
            match read(&mut self.bytes[self.filled..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => self.filled += read,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
            if begins_tls(self.bytes[0]) {
                return Ok(Some(Err(WireError::Tls)));
            }
        }
        Ok(Some(Hello::decode(&self.bytes)))
    }
}
