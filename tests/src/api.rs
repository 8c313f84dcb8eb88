//! The coordinator's HTTP interface over one connection that stays: quick enough to be asked
//! hundreds of times a second.

use std::{
    cell::RefCell,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use serde::de::DeserializeOwned;
use serde_json::from_slice;

/// The longest that an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// A client of one coordinator.
#[derive(Debug)]
pub struct Api {
    address: String,
    connection: RefCell<Option<BufReader<TcpStream>>>,
}

impl Api {
    /// The coordinator at `host:port`. Nothing is connected yet.
    pub fn new(address: &str) -> Self {
        Self { address: address.to_owned(), connection: RefCell::new(None) }
    }

    /// What `GET path` gives, read from JSON.
    ///
    /// # Errors
    ///
    /// Where the coordinator is away or answers something else.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> io::Result<T> {
        Ok(from_slice(&self.call(&format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.address))?)?)
    }

    /// What `GET path` gives, as it is.
    ///
    /// # Errors
    ///
    /// Where nobody answers, or something else.
    pub fn text(&self, path: &str) -> io::Result<String> {
        let answer = self.call(&format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.address))?;
        String::from_utf8(answer).map_err(io::Error::other)
    }

    /// What `POST path` with a body gives, read from JSON.
    ///
    /// # Errors
    ///
    /// Where the coordinator is away or refuses it.
    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &serde_json::Value) -> io::Result<T> {
        let (address, body) = (&self.address, body.to_string());
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        Ok(from_slice(&self.call(&(head + &body))?)?)
    }

    fn call(&self, request: &str) -> io::Result<Vec<u8>> {
        let mut connection = self.connection.borrow_mut();
        let answer = self.ask(&mut connection, request);
        if answer.is_err() {
            *connection = None;
        }
        answer
    }

    fn ask(&self, connection: &mut Option<BufReader<TcpStream>>, request: &str) -> io::Result<Vec<u8>> {
        let connection = match connection {
            Some(connection) => connection,
            None => {
                let stream = TcpStream::connect(&self.address)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(ANSWER_MAX))?;
                connection.insert(BufReader::new(stream))
            }
        };
        connection.get_mut().write_all(request.as_bytes())?;
        let (mut line, mut length, mut status) = (String::new(), 0, String::new());
        loop {
            line.clear();
            if connection.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if status.is_empty() {
                status.clone_from(&line);
            }
            match line.trim_end().split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse().map_err(io::Error::other)?;
                }
                None if line.trim_end().is_empty() => break,
                _ => {}
            }
        }
        let mut body = vec![0; length];
        connection.read_exact(&mut body)?;
        if status.contains(" 20") {
            return Ok(body);
        }
        Err(io::Error::other(format!("{}: {}", status.trim_end(), String::from_utf8_lossy(&body))))
    }
}
