//! Hellos over a non-blocking socket. A hello is small enough to fit into the empty
//! buffer of a new connection, so that it is sent whole or not at all; it may arrive
//! in pieces. Exactly its bytes are read: what follows belongs to the group.

use std::{
    io::{self, Read as _, Write as _},
    net::TcpStream,
};

use crate::wire::{HELLO_BYTES, Hello, WireError};

/// Sends a hello over a connection that nothing was sent over yet.
pub(crate) fn send_hello(mut stream: &TcpStream, hello: &Hello) -> io::Result<()> {
    match stream.write(&hello.encode())? {
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

    /// Takes in what has arrived; `None` where more must come. That the connection was
    /// closed is an error.
    pub(crate) fn read(&mut self, mut stream: &TcpStream) -> io::Result<Option<Result<Hello, WireError>>> {
        while self.filled < HELLO_BYTES {
            match stream.read(&mut self.bytes[self.filled..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => self.filled += read,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(Some(Hello::decode(&self.bytes)))
    }
}
