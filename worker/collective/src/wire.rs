//! The words that go over a connection: one hello each way when it is made, then
//! messages, each a header and its payload. Pure encoding and decoding, little-endian;
//! who sends what when is not known here.
//!
//! ```text
//! hello   0 magic 8 | 8 version 2 | 10 purpose 1 | 11 job length 1 | 12 from 4 | 16 to 4
//!         20 world size 4 | 24 lanes 4 | 28 zero 4 | 32 generation 8 | 40 job 128
//! header  0 magic 4 | 4 operation 1 | 5 zero 3 | 8 generation 8 | 16 sequence 8
//!         24 subject 8 | 32 payload length in bytes 8
//! ```
//!
//! Invariant: what is decoded encodes to the same bytes again; anything else is an
//! error. Both ends know the length of every payload before its header arrives, so
//! that no length from outside ever leads to an allocation.

use std::fmt;

/// Version of everything in this file.
pub(crate) const WIRE_VERSION: u16 = 1;

/// Length of a hello.
pub(crate) const HELLO_BYTES: usize = 168;

/// Length of a header.
pub(crate) const HEADER_BYTES: usize = 40;

/// The longest name of a job.
pub const JOB_BYTES_MAX: usize = 128;

/// The longest payload of one message: 16 GiB.
pub const PAYLOAD_BYTES_MAX: u64 = 1 << 34;

const HELLO_MAGIC: [u8; 8] = *b"phalanx\x01";
const HEADER_MAGIC: [u8; 4] = *b"phlx";

/// What a peer sent is not of this protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Something else talks on this connection, or bytes were lost.
    #[error("a message begins with the wrong bytes")]
    Magic,
    /// Another version of the program.
    #[error("wire version {actual} instead of {expected}")]
    Version {
        /// Ours.
        expected: u16,
        /// The peer's.
        actual: u16,
    },
    /// A field has a value that nobody sends.
    #[error("field `{field}` cannot be {value}")]
    Field {
        /// The field.
        field: &'static str,
        /// What it holds.
        value: u64,
    },
}

/// What a hello is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The dialing rank wants to be a member.
    Join,
    /// The dialed rank is a member too.
    Welcome,
    /// The dialed process is past that generation; the hello's is the newest it knows.
    Refuse,
}

/// The first words on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) purpose: Purpose,
    pub(crate) job: String,
    pub(crate) generation: u64,
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) world_size: u32,
    pub(crate) lanes: u32,
}

impl Hello {
    /// As it is sent. The job's name must not be longer than [`JOB_BYTES_MAX`].
    pub(crate) fn encode(&self) -> [u8; HELLO_BYTES] {
        let purpose: u8 = match self.purpose {
            Purpose::Join => 1,
            Purpose::Welcome => 2,
            Purpose::Refuse => 3,
        };
        let job = self.job.as_bytes();
        let mut bytes = [0; HELLO_BYTES];
        bytes[0..8].copy_from_slice(&HELLO_MAGIC);
        bytes[8..10].copy_from_slice(&WIRE_VERSION.to_le_bytes());
        bytes[10] = purpose;
        bytes[11] = u8::try_from(job.len()).expect("invariant: a job's name is bounded");
        bytes[12..16].copy_from_slice(&self.from.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.to.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.world_size.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.lanes.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.generation.to_le_bytes());
        bytes[40..40 + job.len()].copy_from_slice(job);
        bytes
    }

    /// Reads what [`encode`](Self::encode) wrote.
    pub(crate) fn decode(bytes: &[u8; HELLO_BYTES]) -> Result<Self, WireError> {
        if bytes[0..8] != HELLO_MAGIC {
            return Err(WireError::Magic);
        }
        let actual = u16::from_le_bytes(array(bytes, 8));
        if actual != WIRE_VERSION {
            return Err(WireError::Version { expected: WIRE_VERSION, actual });
        }
        let purpose = match bytes[10] {
            1 => Purpose::Join,
            2 => Purpose::Welcome,
            3 => Purpose::Refuse,
            other => return Err(WireError::Field { field: "purpose", value: other.into() }),
        };
        must_be_zero("zero", &bytes[28..32])?;
        let job_bytes = usize::from(bytes[11]);
        let wrong_job = WireError::Field { field: "job length", value: bytes[11].into() };
        if job_bytes > JOB_BYTES_MAX {
            return Err(wrong_job);
        }
        let (job, padding) = bytes[40..].split_at(job_bytes);
        must_be_zero("job padding", padding)?;
        Ok(Self {
            purpose,
            job: std::str::from_utf8(job).map_err(|_| wrong_job)?.to_owned(),
            generation: u64::from_le_bytes(array(bytes, 32)),
            from: u32::from_le_bytes(array(bytes, 12)),
            to: u32::from_le_bytes(array(bytes, 16)),
            world_size: u32::from_le_bytes(array(bytes, 20)),
            lanes: u32::from_le_bytes(array(bytes, 24)),
        })
    }
}

/// What a message belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// First round of an all-reduce: partial sums go to the owners of segments.
    ReduceScatter,
    /// Second round of an all-reduce: owners send their segments to everyone.
    SumGather,
    /// The lengths of an all-gather's parts.
    GatherLengths,
    /// The parts of an all-gather.
    Gather,
    /// The length of what is broadcast.
    BroadcastLength,
    /// What is broadcast.
    Broadcast,
    /// A barrier.
    Barrier,
}

impl Operation {
    const ALL: [Self; 7] = [
        Self::ReduceScatter,
        Self::SumGather,
        Self::GatherLengths,
        Self::Gather,
        Self::BroadcastLength,
        Self::Broadcast,
        Self::Barrier,
    ];

    fn code(self) -> u8 {
        match self {
            Self::ReduceScatter => 1,
            Self::SumGather => 2,
            Self::GatherLengths => 3,
            Self::Gather => 4,
            Self::BroadcastLength => 5,
            Self::Broadcast => 6,
            Self::Barrier => 7,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReduceScatter => "reduce-scatter",
            Self::SumGather => "sum gather",
            Self::GatherLengths => "all-gather lengths",
            Self::Gather => "all-gather",
            Self::BroadcastLength => "broadcast length",
            Self::Broadcast => "broadcast",
            Self::Barrier => "barrier",
        })
    }
}

/// What stands before every payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) operation: Operation,
    pub(crate) generation: u64,
    /// How many rounds this group has finished before this one.
    pub(crate) sequence: u64,
    /// What else both ends must agree on: the elements of the whole vector in an
    /// all-reduce, the root of a broadcast, else 0.
    pub(crate) subject: u64,
    pub(crate) payload_bytes: u64,
}

impl Header {
    /// As it is sent.
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..4].copy_from_slice(&HEADER_MAGIC);
        bytes[4] = self.operation.code();
        bytes[8..16].copy_from_slice(&self.generation.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.subject.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.payload_bytes.to_le_bytes());
        bytes
    }

    /// Reads what [`encode`](Self::encode) wrote.
    pub(crate) fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, WireError> {
        if bytes[0..4] != HEADER_MAGIC {
            return Err(WireError::Magic);
        }
        let operation = Operation::ALL
            .into_iter()
            .find(|operation| operation.code() == bytes[4])
            .ok_or(WireError::Field { field: "operation", value: bytes[4].into() })?;
        must_be_zero("zero", &bytes[5..8])?;
        let payload_bytes = u64::from_le_bytes(array(bytes, 32));
        if payload_bytes > PAYLOAD_BYTES_MAX {
            return Err(WireError::Field { field: "payload length", value: payload_bytes });
        }
        Ok(Self {
            operation,
            generation: u64::from_le_bytes(array(bytes, 8)),
            sequence: u64::from_le_bytes(array(bytes, 16)),
            subject: u64::from_le_bytes(array(bytes, 24)),
            payload_bytes,
        })
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("invariant: a range of N bytes has N bytes")
}

fn must_be_zero(field: &'static str, bytes: &[u8]) -> Result<(), WireError> {
    match bytes.iter().find(|byte| **byte != 0) {
        None => Ok(()),
        Some(byte) => Err(WireError::Field { field, value: (*byte).into() }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header() -> Header {
        Header {
            operation: Operation::SumGather,
            generation: 3,
            sequence: 1 << 40,
            subject: 1_000,
            payload_bytes: PAYLOAD_BYTES_MAX,
        }
    }

    fn hello() -> Hello {
        Hello {
            purpose: Purpose::Join,
            job: "mnist-3".into(),
            generation: 7,
            from: 2,
            to: 1,
            world_size: 3,
            lanes: 4,
        }
    }

    #[test]
    fn the_longest_name_of_a_job_fits_into_a_hello() {
        let longest = Hello { job: "x".repeat(JOB_BYTES_MAX), ..hello() };
        assert_eq!(Hello::decode(&longest.encode()), Ok(longest));
    }

    #[test]
    fn another_version_is_told_from_another_protocol() {
        let mut bytes = hello().encode();
        bytes[8] += 1;
        let actual = WIRE_VERSION + 1;
        assert_eq!(Hello::decode(&bytes), Err(WireError::Version { expected: WIRE_VERSION, actual }));
        bytes[0] += 1;
        assert_eq!(Hello::decode(&bytes), Err(WireError::Magic));
    }

    #[test]
    fn a_payload_beyond_the_limit_is_refused() {
        let field = "payload length";
        let value = PAYLOAD_BYTES_MAX + 1;
        let bytes = Header { payload_bytes: value, ..header() }.encode();
        assert_eq!(Header::decode(&bytes), Err(WireError::Field { field, value }));
    }

    #[test]
    fn every_operation_has_a_code_of_its_own() {
        for operation in Operation::ALL {
            let header = Header { operation, ..header() };
            assert_eq!(Header::decode(&header.encode()), Ok(header));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn any_header_is_an_error_or_encodes_to_itself(mut bytes in any::<[u8; HEADER_BYTES]>(), flips in 0_usize..4) {
            let _ = Header::decode(&bytes);
            // Random bytes hardly ever pass the magic: also damage a right one.
            let right = header().encode();
            let damage = bytes;
            bytes = right;
            for flip in damage.iter().take(flips) {
                bytes[usize::from(*flip) % HEADER_BYTES] ^= damage[HEADER_BYTES - 1] | 1;
            }
            if let Ok(header) = Header::decode(&bytes) {
                prop_assert_eq!(header.encode(), bytes);
            }
        }

        #[test]
        fn any_hello_is_an_error_or_encodes_to_itself(
            noise in prop::collection::vec(any::<(u8, u8)>(), 0..6),
            junk in prop::collection::vec(any::<u8>(), HELLO_BYTES),
        ) {
            let _ = Hello::decode(&junk.try_into().expect("it has this length"));
            let mut bytes = hello().encode();
            for (place, value) in noise {
                bytes[usize::from(place) % HELLO_BYTES] = value;
            }
            if let Ok(hello) = Hello::decode(&bytes) {
                prop_assert_eq!(hello.encode(), bytes);
            }
        }
    }
}
