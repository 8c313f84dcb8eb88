//! The one place that knows how control messages become bytes: bincode 2
//! behind tarpc's serializer trait, inside length-delimited frames.
//!
//! bincode is no longer maintained (RUSTSEC-2025-0141, a written exception in
//! `deny.toml`); replacing it means changing this file alone.

use std::{io, marker::PhantomData, pin::Pin};

use bytes::{Bytes, BytesMut};
use serde::{Serialize, de::DeserializeOwned};
use tarpc::tokio_serde::{Deserializer, Serializer};
use tokio_util::codec::LengthDelimitedCodec;

/// The most bytes in one control message. Most are a few kilobytes; the largest
/// is the report of a finished job with the confusion matrix of a thousand classes.
pub const FRAME_BYTES_MAX: usize = 4 << 20;

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<FRAME_BYTES_MAX>()
}

/// The framing of control connections: a 4-byte length, then the message.
pub fn framing() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().max_frame_length(FRAME_BYTES_MAX).new_codec()
}

/// Encodes `message`. Fails where it is larger than [`FRAME_BYTES_MAX`].
pub fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let bytes = bincode::serde::encode_to_vec(message, config()).map_err(invalid)?;
    // bincode's limit is for reading alone.
    if bytes.len() > FRAME_BYTES_MAX {
        return Err(invalid(format!(
            "a message of {} bytes, expected at most {FRAME_BYTES_MAX}",
            bytes.len()
        )));
    }
    Ok(bytes)
}

/// Decodes one message that fills `bytes` exactly.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    let (message, used) = bincode::serde::decode_from_slice(bytes, config()).map_err(invalid)?;
    if used != bytes.len() {
        return Err(invalid(format!("{} bytes after the end of a message", bytes.len() - used)));
    }
    Ok(message)
}

fn invalid(error: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

/// tarpc's serializer over [`encode`] and [`decode`].
#[derive(Debug)]
pub struct Codec<In, Out>(PhantomData<fn(Out) -> In>);

impl<In, Out> Default for Codec<In, Out> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<In: DeserializeOwned, Out> Deserializer<In> for Codec<In, Out> {
    type Error = io::Error;

    fn deserialize(self: Pin<&mut Self>, bytes: &BytesMut) -> io::Result<In> {
        decode(bytes)
    }
}

impl<In, Out: Serialize> Serializer<Out> for Codec<In, Out> {
    type Error = io::Error;

    fn serialize(self: Pin<&mut Self>, message: &Out) -> io::Result<Bytes> {
        encode(message).map(Bytes::from)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::{Event, Progress};

    #[test]
    fn bytes_after_a_message_are_refused() {
        let mut bytes = encode(&7_u32).expect("a number fits");
        bytes.push(0);
        assert!(decode::<u32>(&bytes).is_err());
    }

    proptest! {
        #[test]
        fn garbage_is_an_error_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = decode::<Event>(&bytes);
        }

        #[test]
        fn a_message_comes_back_as_it_was(step: u64, loss in -1e9..1e9_f64, curve in proptest::collection::vec((any::<u64>(), -1e3..1e3_f64), 0..64)) {
            let event = Event::Progress(Progress {
                step, epoch: 0, cursor: step, loss, learning_rate: 0.1, samples_per_second: 1.0, curve,
            });
            prop_assert_eq!(decode::<Event>(&encode(&event).expect("fits")).expect("decodes"), event);
        }
    }
}
