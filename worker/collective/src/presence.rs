//! Where a rank is: on which boot of which host, on which cores, and behind which door
//! it takes shared memory in. Ranks tell each other when their group is made.

use rustix::thread::sched_getaffinity;

use crate::{patience::Patience, wire::TOKEN_BYTES};

/// Cores that are told apart.
const CORES_MAX: usize = 1_024;

/// Length of a presence as it is sent.
pub(crate) const PRESENCE_BYTES: usize = 16 + CORES_MAX / 8 + 2 * TOKEN_BYTES;

/// Where one rank is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Presence {
    /// The boot of the host, a number that no other host has.
    boot: u128,
    /// The cores that it may run on, a bit each.
    cores: [u8; CORES_MAX / 8],
    /// The name of its door, none if it takes no shared memory in.
    pub(crate) door: Option<[u8; TOKEN_BYTES]>,
    /// What must be said at that door.
    pub(crate) token: [u8; TOKEN_BYTES],
}

impl Presence {
    /// Of this process.
    pub(crate) fn here(door: Option<[u8; TOKEN_BYTES]>, token: [u8; TOKEN_BYTES]) -> Self {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let boot = u128::from_str_radix(&boot.trim().replace('-', ""), 16).unwrap_or(0);
        let mut cores = [0; CORES_MAX / 8];
        if let Ok(set) = sched_getaffinity(None) {
            for core in (0..CORES_MAX).filter(|core| set.is_set(*core)) {
                cores[core / 8] |= 1 << (core % 8);
            }
        }
        Self { boot, cores, door, token }
    }

    /// As it is sent.
    pub(crate) fn encode(&self) -> [u8; PRESENCE_BYTES] {
        let mut bytes = [0; PRESENCE_BYTES];
        bytes[0..16].copy_from_slice(&self.boot.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.door.unwrap_or_default());
        bytes[32..48].copy_from_slice(&self.token);
        bytes[48..].copy_from_slice(&self.cores);
        bytes
    }

    /// Reads what [`encode`](Self::encode) wrote; anything is a presence.
    pub(crate) fn decode(bytes: &[u8; PRESENCE_BYTES]) -> Self {
        let word = |at: usize| -> [u8; 16] {
            bytes[at..at + 16].try_into().expect("invariant: a range of 16 bytes has 16 bytes")
        };
        Self {
            boot: u128::from_le_bytes(word(0)),
            door: Some(word(16)).filter(|door| *door != [0; TOKEN_BYTES]),
            token: word(32),
            cores: bytes[48..].try_into().expect("invariant: the cores are the rest"),
        }
    }

    /// How this rank should wait, given where all ranks are, itself among them. A host
    /// that does not tell its boot is taken for the only one.
    pub(crate) fn patience<'a>(&self, all: impl Iterator<Item = &'a Self>) -> Patience {
        let (mut ranks, mut cores) = (0, [0; CORES_MAX / 8]);
        for near in all.filter(|presence| presence.boot == self.boot) {
            ranks += 1;
            cores.iter_mut().zip(near.cores).for_each(|(cores, more)| *cores |= more);
        }
        let cores: u32 = cores.iter().map(|cores| cores.count_ones()).sum();
        Patience::of(ranks, cores as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presence(boot: u128, cores: u8) -> Presence {
        let mut set = [0; CORES_MAX / 8];
        set[0] = cores;
        Presence { boot, cores: set, door: Some([1; TOKEN_BYTES]), token: [2; TOKEN_BYTES] }
    }

    #[test]
    fn a_presence_is_read_as_it_was_written() {
        for presence in [presence(7, 3), Presence { door: None, ..presence(0, 0) }] {
            assert_eq!(Presence::decode(&presence.encode()), presence);
        }
    }

    #[test]
    fn only_ranks_of_one_host_share_its_cores() {
        let all = [presence(1, 0b11), presence(1, 0b11), presence(2, 0b1), presence(2, 0b1)];
        assert_eq!(all[0].patience(all.iter()), Patience::Spin);
        assert_eq!(all[2].patience(all.iter()), Patience::Yield, "both are bound to one core");
        let apart = [presence(2, 0b01), presence(2, 0b10)];
        assert_eq!(apart[0].patience(apart.iter()), Patience::Spin);
    }
}
