//! Texts that are nearly the same: MinHash and locality-sensitive hashing (Broder
//! 1997; Indyk and Motwani 1998).
//!
//! A text is the set of its runs of words, in small letters. Its signature is, for
//! each of [`HASHES`] hash functions, the least hash of the set; two signatures agree in as
//! large a part as the sets have in common. Signatures are cut into bands, and only texts
//! that agree in a whole band are compared. Rows are looked at in their order, and one that
//! is like a row that stays is dropped; so the first of each group stays.

use std::collections::HashMap;

use phalanx_protocol::spec::NearDuplicatesStep;

/// Hash functions of a signature: its share of agreement is right to within 0.1 with a probability of 0.98.
pub(super) const HASHES: usize = 128;

/// The most rows: each takes half a kilobyte of memory.
pub(super) const ROWS_MAX: usize = 2 << 20;

/// The most rows that one is compared with in a band.
const COMPARED_MAX: usize = 64;

/// A text's signature; `None` if there is no text.
pub(super) type Signature = Option<Box<[u32; HASHES]>>;

/// The signature of a text, by runs of so many words.
pub(super) fn signature(text: &str, words: usize) -> Signature {
    let lower = text.to_lowercase();
    let all: Vec<u64> = lower.split_whitespace().map(hash_word).collect();
    if all.is_empty() {
        return None;
    }
    let mut least = [u32::MAX; HASHES];
    for run in all.windows(words.clamp(1, all.len())) {
        let run = run.iter().fold(0, |run: u64, word| mixed(run.rotate_left(5) ^ word));
        for (number, least) in (0_u64..).zip(&mut least) {
            let hash = (mixed(run ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)) >> 32) as u32;
            *least = (*least).min(hash);
        }
    }
    Some(Box::new(least))
}

/// Finds rows that are like an earlier one.
pub(super) struct Near {
    similarity: f64,
    /// Rows of a band.
    rows: usize,
    kept: Vec<[u32; HASHES]>,
    /// Kept rows by the number of a band and its hash.
    bands: HashMap<(u32, u64), Vec<u32>>,
}

impl Near {
    pub(super) fn new(step: &NearDuplicatesStep) -> Self {
        Self {
            similarity: step.similarity,
            rows: rows_of_band(step.similarity),
            kept: Vec::new(),
            bands: HashMap::new(),
        }
    }

    /// Whether a row is like one before it that was not; if it is not, later ones are compared with it.
    pub(super) fn is_repeat(&mut self, signature: Box<[u32; HASHES]>) -> bool {
        let bands: Vec<(u32, u64)> = (0..).zip(signature.chunks_exact(self.rows).map(hash_band)).collect();
        let like = |other: &u32| {
            let other = &self.kept[*other as usize];
            let same = signature.iter().zip(other.iter()).filter(|(a, b)| a == b).count();
            same as f64 >= self.similarity * HASHES as f64
        };
        let near = bands.iter().filter_map(|band| self.bands.get(band));
        if near.flat_map(|rows| rows.iter().take(COMPARED_MAX)).any(like) {
            return true;
        }
        let number = self.kept.len() as u32;
        self.kept.push(*signature);
        for band in bands {
            self.bands.entry(band).or_default().push(number);
        }
        false
    }

    /// Rows that stay so far.
    pub(super) fn kept(&self) -> usize {
        self.kept.len()
    }
}

/// Rows of a band so that texts of this similarity agree in one with near certainty: a band of r rows
/// agrees with probability sʳ, and one of the HASHES / r does unless none do.
fn rows_of_band(similarity: f64) -> usize {
    let missed = |rows: usize| (1.0 - similarity.powi(rows as i32)).powi((HASHES / rows) as i32);
    [32, 16, 8, 4, 2].into_iter().find(|rows| missed(*rows) < 0.005).unwrap_or(1)
}

fn hash_word(word: &str) -> u64 {
    // FNV-1a, mixed: short words must differ in all bits.
    mixed(word.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    }))
}

fn hash_band(band: &[u32]) -> u64 {
    band.iter().fold(0, |hash: u64, part| mixed(hash ^ u64::from(*part)))
}

/// The finaliser of SplitMix64 (Steele et al. 2014).
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_texts_that_are_nearly_the_same_stays() {
        let step = NearDuplicatesStep { column: "text".to_owned(), similarity: 0.6, words: 2 };
        let long =
            "the quick brown fox jumps over the lazy dog and runs away from all of the other animals here";
        let other = long.replace("lazy dog", "sleepy dog");
        let mut near = Near::new(&step);
        let mut repeat = |text: &str| near.is_repeat(signature(text, step.words).unwrap());
        assert!(!repeat(long));
        assert!(repeat(&long.to_uppercase()));
        assert!(repeat(&other));
        assert!(!repeat("something else that has nothing in common with what was said before"));
        assert_eq!(near.kept(), 2);
        assert!(signature("  ", 2).is_none());
    }

    #[test]
    fn agreement_of_signatures_is_the_share_of_runs_in_common() {
        let words =
            |from: usize, to: usize| (from..to).map(|n| format!("w{n}")).collect::<Vec<_>>().join(" ");
        let (a, b) = (signature(&words(0, 100), 1).unwrap(), signature(&words(50, 150), 1).unwrap());
        let same = a.iter().zip(b.iter()).filter(|(a, b)| a == b).count() as f64 / HASHES as f64;
        assert!((same - 50.0 / 150.0).abs() < 0.12, "{same}");
    }
}
