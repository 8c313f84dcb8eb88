//! Metrics of texts that are held to references by the pieces that they share: BLEU,
//! chrF and ROUGE. The accumulators own whole counts, or sums over pairs.
//!
//! Cutting texts into tokens is the caller's, since the figures depend on it; [`words`] is
//! what ROUGE is usually computed on. All figures are from 0 to 1.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    sum::ExactSum,
    undefined::{Undefined, Value},
};

/// The longest run of tokens that BLEU counts.
const BLEU_ORDER: usize = 4;

/// The longest run of characters that chrF counts.
const CHRF_ORDER: usize = 6;

/// How often each run of `order` pieces occurs.
fn runs<T: Ord>(pieces: &[T], order: usize) -> BTreeMap<&[T], u64> {
    let mut counts = BTreeMap::new();
    for run in pieces.windows(order) {
        *counts.entry(run).or_insert(0) += 1;
    }
    counts
}

/// The runs that both have, each as often as both have it.
fn shared<T: Ord>(a: &BTreeMap<&[T], u64>, b: &BTreeMap<&[T], u64>) -> u64 {
    a.iter().map(|(run, count)| b.get(run).map_or(0, |other| *count.min(other))).sum()
}

/// Lower-case words of letters a to z and digits: everything else parts them.
pub fn words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let parted = lower.split(|letter: char| !letter.is_ascii_alphanumeric());
    parted.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// BLEU of a whole corpus (Papineni 2002) with up to four tokens in a run; orders without any
/// match are smoothed as sacrebleu does by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bleu {
    matched: [u64; BLEU_ORDER],
    all: [u64; BLEU_ORDER],
    tokens: u64,
    reference_tokens: u64,
}

impl Bleu {
    /// Takes in one text and its references, at least one, as tokens.
    pub fn update(&mut self, tokens: &[&str], references: &[&[&str]]) {
        for order in 1..=BLEU_ORDER {
            let ours = runs(tokens, order);
            // A run counts as often as the reference that has it most often.
            let mut most: BTreeMap<&[&str], u64> = BTreeMap::new();
            for (run, count) in references.iter().flat_map(|reference| runs(reference, order)) {
                let known = most.entry(run).or_insert(0);
                *known = count.max(*known);
            }
            self.matched[order - 1] += shared(&ours, &most);
            self.all[order - 1] += ours.values().sum::<u64>();
        }
        self.tokens += tokens.len() as u64;
        let closest = references.iter().map(|reference| reference.len());
        let closest = closest.min_by_key(|length| (length.abs_diff(tokens.len()), *length));
        self.reference_tokens += closest.unwrap_or(0) as u64;
    }

    /// Takes in what another has counted.
    pub fn merge(&mut self, other: &Self) {
        for order in 0..BLEU_ORDER {
            self.matched[order] += other.matched[order];
            self.all[order] += other.all[order];
        }
        self.tokens += other.tokens;
        self.reference_tokens += other.reference_tokens;
    }

    /// The score; 0 where nothing matches, or no text is as long as the longest run.
    pub fn finish(&self) -> f64 {
        if self.matched.iter().all(|matched| *matched == 0) || self.all.contains(&0) {
            return 0.0;
        }
        let mut halves = 1.0;
        let mut logarithms = 0.0;
        for (matched, all) in self.matched.iter().zip(&self.all) {
            let precision = if *matched == 0 {
                halves *= 2.0;
                1.0 / (halves * *all as f64)
            } else {
                *matched as f64 / *all as f64
            };
            logarithms += precision.ln();
        }
        let too_short = self.tokens < self.reference_tokens;
        let brevity = if too_short { 1.0 - self.reference_tokens as f64 / self.tokens as f64 } else { 0.0 };
        (brevity + logarithms / BLEU_ORDER as f64).exp()
    }
}

/// chrF of a whole corpus (Popović 2015): runs of up to six characters, blanks left out,
/// recall counting twice as much as precision.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChrF(RunCounts);

/// For each order, runs of the text, of the reference, and of both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct RunCounts([[u64; 3]; CHRF_ORDER]);

impl RunCounts {
    fn of(text: &[char], reference: &[char]) -> Self {
        let mut counts = Self::default();
        for order in 1..=CHRF_ORDER {
            let (ours, theirs) = (runs(text, order), runs(reference, order));
            let in_reference: u64 = theirs.values().sum();
            // What no reference is long enough to have is no mistake.
            let in_text = if in_reference == 0 { 0 } else { ours.values().sum() };
            counts.0[order - 1] = [in_text, in_reference, shared(&ours, &theirs)];
        }
        counts
    }

    fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().flatten().zip(other.0.iter().flatten()) {
            *mine += theirs;
        }
    }

    fn score(&self) -> f64 {
        let used = || self.0.iter().filter(|[ours, theirs, _]| *ours > 0 && *theirs > 0);
        let orders = used().count() as f64;
        if orders == 0.0 {
            return 0.0;
        }
        let precision = used().map(|[ours, _, both]| *both as f64 / *ours as f64).sum::<f64>() / orders;
        let recall = used().map(|[_, theirs, both]| *both as f64 / *theirs as f64).sum::<f64>() / orders;
        if precision + recall == 0.0 { 0.0 } else { 5.0 * precision * recall / (4.0 * precision + recall) }
    }
}

impl ChrF {
    /// Takes in one text and its references, of which the one that fits best counts.
    pub fn update(&mut self, text: &str, references: &[&str]) {
        let letters = |text: &str| text.chars().filter(|letter| !letter.is_whitespace()).collect::<Vec<_>>();
        let text = letters(text);
        let all = references.iter().map(|reference| RunCounts::of(&text, &letters(reference)));
        // The first of several that fit as well.
        let better = |best: RunCounts, next: RunCounts| if next.score() > best.score() { next } else { best };
        if let Some(best) = all.reduce(better) {
            self.0.add(&best);
        }
    }

    /// Takes in what another has counted.
    pub fn merge(&mut self, other: &Self) {
        self.0.add(&other.0);
    }

    /// The score; 0 where nothing matches.
    pub fn finish(&self) -> f64 {
        self.0.score()
    }
}

/// ROUGE-1, ROUGE-2 and ROUGE-L (Lin 2004): means over pairs of text and reference of what
/// they share.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Rouge {
    pairs: u64,
    sums: [RougeSums; 3],
}

/// Sums over pairs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct RougeSums {
    precision: ExactSum,
    recall: ExactSum,
    f1: ExactSum,
}

/// One kind of ROUGE.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RougeScore {
    /// The share of the text that is in the reference.
    pub precision: f64,
    /// The share of the reference that is in the text.
    pub recall: f64,
    /// The mean over pairs of the harmonic mean of the two.
    pub f1: f64,
}

impl Rouge {
    /// Takes in one text and its reference, as tokens.
    pub fn update<T: Ord>(&mut self, tokens: &[T], reference: &[T]) {
        self.pairs += 1;
        let of_order = |order: usize| {
            let (ours, theirs) = (runs(tokens, order), runs(reference, order));
            (shared(&ours, &theirs), ours.values().sum::<u64>(), theirs.values().sum::<u64>())
        };
        let longest = longest_common_subsequence(tokens, reference);
        let counts = [of_order(1), of_order(2), (longest, tokens.len() as u64, reference.len() as u64)];
        for (sums, (shared, ours, theirs)) in self.sums.iter_mut().zip(counts) {
            sums.precision.add(shared as f64 / ours.max(1) as f64);
            sums.recall.add(shared as f64 / theirs.max(1) as f64);
            sums.f1.add(if shared == 0 { 0.0 } else { 2.0 * shared as f64 / (ours + theirs) as f64 });
        }
    }

    /// Takes in what another has measured.
    pub fn merge(&mut self, other: &Self) {
        self.pairs += other.pairs;
        for (mine, theirs) in self.sums.iter_mut().zip(&other.sums) {
            mine.precision.merge(&theirs.precision);
            mine.recall.merge(&theirs.recall);
            mine.f1.merge(&theirs.f1);
        }
    }

    /// ROUGE-1, ROUGE-2 and ROUGE-L.
    ///
    /// # Errors
    ///
    /// Where there was no pair.
    pub fn finish(&self) -> Result<[RougeScore; 3], Undefined> {
        if self.pairs == 0 {
            return Err(Undefined::NoRows);
        }
        let mean = |sum: &ExactSum| sum.value() / self.pairs as f64;
        Ok(self.sums.each_ref().map(|sums| RougeScore {
            precision: mean(&sums.precision),
            recall: mean(&sums.recall),
            f1: mean(&sums.f1),
        }))
    }
}

fn longest_common_subsequence<T: Eq>(a: &[T], b: &[T]) -> u64 {
    let mut lengths = vec![0_u64; b.len() + 1];
    for left in a {
        let mut diagonal = 0;
        for (index, right) in b.iter().enumerate() {
            let above = lengths[index + 1];
            lengths[index + 1] = if left == right { diagonal + 1 } else { above.max(lengths[index]) };
            diagonal = above;
        }
    }
    lengths[b.len()]
}

/// Edits that make references of texts, against the length of the references: word and
/// character error rates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorRate {
    edits: u64,
    reference: u64,
}

impl ErrorRate {
    /// Takes in one text and its reference as pieces, words or characters. An edit inserts, deletes
    /// or replaces one (Levenshtein).
    pub fn update<T: Eq>(&mut self, pieces: &[T], reference: &[T]) {
        self.edits += strsim::generic_levenshtein(&Pieces(pieces), &Pieces(reference)) as u64;
        self.reference += reference.len() as u64;
    }

    /// Takes in what another has counted.
    pub fn merge(&mut self, other: &Self) {
        self.edits += other.edits;
        self.reference += other.reference;
    }

    /// Edits counted.
    pub fn edits(&self) -> u64 {
        self.edits
    }

    /// Edits for each piece of the references; more than 1 where texts are longer.
    pub fn finish(&self) -> Value {
        match self.reference {
            0 => Err(Undefined::NoDenominator { what: "reference" }),
            reference => Ok(self.edits as f64 / reference as f64),
        }
    }
}

/// A slice as `strsim` takes it.
struct Pieces<'a, T>(&'a [T]);

impl<'a, T> IntoIterator for &'a Pieces<'_, T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}
