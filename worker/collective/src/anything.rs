//! The check that a fuzzer and this crate's own tests make of the wire format.

use crate::{
    memory::Layout,
    presence::{PRESENCE_BYTES, Presence},
    wire::{HEADER_BYTES, HELLO_BYTES, Header, Hello, OFFER_BYTES, Offer},
};

/// Decodes bytes as each kind of word that they are long enough for.
///
/// # Panics
///
/// Where something is decoded that does not encode to the same bytes again: a mistake.
#[doc(hidden)]
pub fn decode_anything(bytes: &[u8]) {
    if let Some(bytes) = bytes.first_chunk::<HELLO_BYTES>()
        && let Ok(hello) = Hello::decode(bytes)
    {
        assert_eq!(hello.encode(), *bytes);
    }
    if let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>()
        && let Ok(header) = Header::decode(bytes)
    {
        assert_eq!(header.encode(), *bytes);
    }
    if let Some(bytes) = bytes.first_chunk::<PRESENCE_BYTES>() {
        assert_eq!(Presence::decode(bytes).encode(), *bytes);
    }
    if let Some(bytes) = bytes.first_chunk::<OFFER_BYTES>()
        && let Ok(offer) = Offer::decode(bytes)
    {
        assert_eq!(offer.encode(), *bytes);
        // The only lengths from outside that memory is mapped for.
        if let Some(layout) = Layout::announced(offer.slots, offer.ring_bytes) {
            assert_eq!(layout.slots(), offer.slots as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Operation, Purpose, TOKEN_BYTES};

    #[test]
    fn a_million_damaged_words_are_errors_or_themselves() {
        let (job, purpose) = ("test-1".to_owned(), Purpose::Welcome);
        let hello = Hello { purpose, job, generation: 3, from: 1, to: 0, world_size: 2, lanes: 2 };
        let header = Header {
            operation: Operation::Gather,
            reduction: None,
            generation: 3,
            sequence: 9,
            subject: 1,
            payload_bytes: 100,
        };
        let offer = Offer { from: 1, slots: 3, slot: Some(2), ring_bytes: 1 << 18, token: [9; TOKEN_BYTES] };
        let right = [hello.encode().to_vec(), header.encode().to_vec(), offer.encode().to_vec()];
        let inputs = if cfg!(miri) { 1_000 } else { 1_000_000 };
        let mut word = 0x9e37_79b9_7f4a_7c15_u64;
        let mut bytes = Vec::with_capacity(PRESENCE_BYTES);
        for input in 0..inputs {
            bytes.clear();
            bytes.extend_from_slice(&right[input % right.len()]);
            for _ in 0..input / right.len() % 5 {
                word ^= word << 13;
                word ^= word >> 7;
                word ^= word << 17;
                let place = word as usize % bytes.len();
                bytes[place] =
                    if word >> 63 == 0 { (word >> 40) as u8 } else { bytes[place] ^ 1 << (word >> 60 & 7) };
            }
            bytes.truncate(bytes.len() - (word >> 32) as usize % 2);
            decode_anything(&bytes);
        }
    }
}
