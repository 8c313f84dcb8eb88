//! The words that go between ranks: one hello each way when a connection is made, then
//! messages, each a header and its payload; and the offer of shared memory. Pure encoding and decoding, little-endian;
//! who sends what when is not known here.
//!
//! ```text
//! hello   0 magic 8 | 8 version 2 | 10 purpose 1 | 11 job length 1 | 12 from 4 | 16 to 4
//!         20 world size 4 | 24 lanes 4 | 28 zero 4 | 32 generation 8 | 40 job 128
//! header  0 magic 4 | 4 operation 1 | 5 reduction 1 | 6 zero 2 | 8 generation 8
//!         16 sequence 8 | 24 subject 8 | 32 payload length in bytes 8
//! offer   0 magic 4 | 4 from 4 | 8 slots 4 | 12 slot 4, all ones for none | 16 ring bytes 8 | 24 token 16
//! ```
//!
//! Invariant: what is decoded encodes to the same bytes again; anything else is an
//! error. Both ends know the length of every payload before its header arrives, so
//! that no length from outside ever leads to an allocation.

use std::fmt;

use crate::reduction::Reduction;

/// Version of everything in this file.
pub(crate) const WIRE_VERSION: u16 = 3;

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
const OFFER_MAGIC: [u8; 4] = *b"phlm";

/// Length of an offer.
pub(crate) const OFFER_BYTES: usize = 40;

/// The slot in an offer of memory that has none for the receiver.
const NO_SLOT: u32 = u32::MAX;

/// Length of a secret that shows who a process is.
pub(crate) const TOKEN_BYTES: usize = 16;

/// What a peer sent is not of this protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Something else talks on this connection, or bytes were lost.
    #[error("a message begins with the wrong bytes")]
    Magic,
    /// The peer has the cluster's certificates, and this side has not.
    #[error("it speaks TLS, and this side has no certificates: give both those of one CA, or neither")]
    Tls,
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
    /// The only round of a small all-reduce: partial sums go to everyone.
    AllReduce,
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
    /// The comparison of bucket plans.
    BucketPlan,
    /// Where ranks are, when a group is made.
    Presence,
    /// Which ranks could open which memory, when a group is made.
    Opened,
    /// A bucket's lanes lie where all ranks see them.
    ReduceInPlace,
    /// A rank's part of a bucket's sum does.
    ReducedInPlace,
}

impl Operation {
    const ALL: [Self; 13] = [
        Self::ReduceScatter,
        Self::SumGather,
        Self::GatherLengths,
        Self::Gather,
        Self::BroadcastLength,
        Self::Broadcast,
        Self::Barrier,
        Self::AllReduce,
        Self::BucketPlan,
        Self::Presence,
        Self::Opened,
        Self::ReduceInPlace,
        Self::ReducedInPlace,
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
            Self::AllReduce => 8,
            Self::BucketPlan => 9,
            Self::Presence => 10,
            Self::Opened => 11,
            Self::ReduceInPlace => 12,
            Self::ReducedInPlace => 13,
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
            Self::AllReduce => "all-reduce",
            Self::BucketPlan => "bucket plan",
            Self::Presence => "presence",
            Self::Opened => "shared memory",
            Self::ReduceInPlace => "lanes in place",
            Self::ReducedInPlace => "sum in place",
        })
    }
}

/// What stands before every payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) operation: Operation,
    /// How vectors are reduced, where they are.
    pub(crate) reduction: Option<Reduction>,
    pub(crate) generation: u64,
    /// How many rounds this group has finished before this one.
    pub(crate) sequence: u64,
    /// What else both ends must agree on: the elements of the whole vector in an
    /// all-reduce, the number of a bucket, the root of a broadcast, the hash of a bucket plan,
    /// the part of a meeting, else 0.
    pub(crate) subject: u64,
    pub(crate) payload_bytes: u64,
}

impl Header {
    /// As it is sent.
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..4].copy_from_slice(&HEADER_MAGIC);
        bytes[4] = self.operation.code();
        bytes[5] = reduction_code(self.reduction);
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
        let reduction = REDUCTIONS
            .into_iter()
            .find(|reduction| reduction_code(*reduction) == bytes[5])
            .ok_or(WireError::Field { field: "reduction", value: bytes[5].into() })?;
        must_be_zero("zero", &bytes[6..8])?;
        let payload_bytes = u64::from_le_bytes(array(bytes, 32));
        if payload_bytes > PAYLOAD_BYTES_MAX {
            return Err(WireError::Field { field: "payload length", value: payload_bytes });
        }
        Ok(Self {
            operation,
            reduction,
            generation: u64::from_le_bytes(array(bytes, 8)),
            sequence: u64::from_le_bytes(array(bytes, 16)),
            subject: u64::from_le_bytes(array(bytes, 24)),
            payload_bytes,
        })
    }
}

const REDUCTIONS: [Option<Reduction>; 5] =
    [None, Some(Reduction::Sum), Some(Reduction::Mean), Some(Reduction::Max), Some(Reduction::Bf16Sum)];

pub(crate) fn reduction_code(reduction: Option<Reduction>) -> u8 {
    match reduction {
        None => 0,
        Some(Reduction::Sum) => 1,
        Some(Reduction::Mean) => 2,
        Some(Reduction::Max) => 3,
        Some(Reduction::Bf16Sum) => 4,
    }
}

/// What comes with the memory that a rank hands to another on the same host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) from: u32,
    /// How many peers the memory has room for.
    pub(crate) slots: u32,
    /// Which of them the receiver is, if it is one.
    pub(crate) slot: Option<u32>,
    pub(crate) ring_bytes: u64,
    /// What the receiver told its group, and nobody else.
    pub(crate) token: [u8; TOKEN_BYTES],
}

impl Offer {
    /// As it is sent.
    pub(crate) fn encode(&self) -> [u8; OFFER_BYTES] {
        let mut bytes = [0; OFFER_BYTES];
        bytes[0..4].copy_from_slice(&OFFER_MAGIC);
        bytes[4..8].copy_from_slice(&self.from.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.slots.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.slot.unwrap_or(NO_SLOT).to_le_bytes());
        bytes[16..24].copy_from_slice(&self.ring_bytes.to_le_bytes());
        bytes[24..40].copy_from_slice(&self.token);
        bytes
    }

    /// Reads what [`encode`](Self::encode) wrote.
    pub(crate) fn decode(bytes: &[u8; OFFER_BYTES]) -> Result<Self, WireError> {
        if bytes[0..4] != OFFER_MAGIC {
            return Err(WireError::Magic);
        }
        Ok(Self {
            from: u32::from_le_bytes(array(bytes, 4)),
            slots: u32::from_le_bytes(array(bytes, 8)),
            slot: Some(u32::from_le_bytes(array(bytes, 12))).filter(|slot| *slot != NO_SLOT),
            ring_bytes: u64::from_le_bytes(array(bytes, 16)),
            token: array(bytes, 24),
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
            reduction: Some(Reduction::Mean),
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

    #[test]
    fn an_offer_is_read_as_it_was_written() {
        let offer = Offer { from: 1, slots: 3, slot: Some(2), ring_bytes: 1 << 18, token: [9; TOKEN_BYTES] };
        let mut bytes = offer.encode();
        assert_eq!(Offer::decode(&bytes), Ok(offer));
        bytes[0] += 1;
        assert_eq!(Offer::decode(&bytes), Err(WireError::Magic));
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
