//! Texts as tokens: a byte-level BPE (R. Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units",
//! 2016; over bytes as GPT-2 has it), learnt from the training split with Hugging Face's `tokenizers` and kept as the
//! `tokenizer.json` that its libraries read.
//!
//! Every token stands for one or more whole bytes, so that what a model says of tokens can be told of bytes. A text is
//! read in pieces that end behind a line, as far as there is one: no token crosses the end of a piece.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokenizers::{
    models::{
        TrainerWrapper,
        bpe::{BPE, BpeTrainer},
    },
    pre_tokenizers::byte_level::ByteLevel,
};

use crate::{PrepareError, source::TextFile};

/// Bytes that are read, and cut into tokens, at once.
const PIECE_BYTES: u64 = 1 << 20;

/// Bytes from which tokens are learnt, at most: pieces that lie as far apart as needed.
const LEARNT_BYTES_MAX: u64 = 64 << 20;

/// Cuts texts into tokens and puts them together again.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct Tokenizer {
    /// The content of a `tokenizer.json`.
    json: Value,
    inner: Arc<tokenizers::Tokenizer>,
    /// The bytes of each token.
    tokens: Arc<[Vec<u8>]>,
}

/// A text that is no `tokenizer.json` of this kind.
#[derive(Debug, thiserror::Error)]
#[error("not a byte-level tokenizer: {0}")]
pub struct InvalidTokenizer(String);

impl Tokenizer {
    /// Bytes of each token, by its number.
    pub fn lengths(&self) -> Vec<u32> {
        self.tokens.iter().map(|token| token.len() as u32).collect()
    }

    /// The tokens of a text.
    pub fn encode(&self, text: &str) -> Vec<u16> {
        let encoded = self.inner.encode_fast(text, false);
        let encoded = encoded.expect("invariant: a byte-level tokenizer has a token for every byte");
        // There are at most 65,536, as was checked when it was made.
        encoded.get_ids().iter().map(|id| *id as u16).collect()
    }

    /// The bytes that tokens stand for.
    pub fn decode(&self, tokens: &[u16]) -> Vec<u8> {
        tokens.iter().filter_map(|token| self.tokens.get(usize::from(*token))).flatten().copied().collect()
    }

    /// Learns up to `vocabulary` tokens from the `bytes` of a text from `start` on.
    pub(crate) fn learn(
        file: &mut TextFile,
        (start, bytes): (u64, u64),
        vocabulary: usize,
        mut progress: impl FnMut(f32) -> Result<(), PrepareError> + Send,
    ) -> Result<Self, PrepareError> {
        let alphabet: HashSet<char> = (0..=255).map(char_of).collect();
        let trainer = BpeTrainer::builder().vocab_size(vocabulary).show_progress(false);
        let mut trainer = TrainerWrapper::from(trainer.initial_alphabet(alphabet).build());
        let mut inner = tokenizers::Tokenizer::new(BPE::default());
        let level = ByteLevel::default().add_prefix_space(false);
        inner.with_pre_tokenizer(Some(level)).with_decoder(Some(level));

        let apart = bytes.div_ceil(LEARNT_BYTES_MAX).max(1);
        let failed = Mutex::new(None);
        let mut pieces = Pieces::new(start, bytes);
        let path = file.path().to_owned();
        let pieces = std::iter::from_fn(|| {
            let piece = pieces.next(file).and_then(|piece| {
                progress((pieces.at - start) as f32 / bytes.max(1) as f32)?;
                pieces.skip(file, apart - 1)?;
                Ok(piece)
            });
            piece.unwrap_or_else(|error| {
                *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                None
            })
        });
        let trained = inner.train(&mut trainer, pieces).map(|_| ());
        if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let broken = |error: String| PrepareError::Recipe { reason: format!("{}: {error}", path.display()) };
        trained.map_err(|error| broken(error.to_string()))?;
        let json = inner.to_string(false).map_err(|error| broken(error.to_string()))?;
        let json: Value = serde_json::from_str(&json).map_err(|error| broken(error.to_string()))?;
        Self::try_from(json).map_err(|error| broken(error.to_string()))
    }
}

impl TryFrom<Value> for Tokenizer {
    type Error = InvalidTokenizer;

    fn try_from(json: Value) -> Result<Self, InvalidTokenizer> {
        let invalid = |reason: String| InvalidTokenizer(reason);
        let bytes = serde_json::to_vec(&json).map_err(|error| invalid(error.to_string()))?;
        let inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(|error| invalid(error.to_string()))?;
        let count = u32::try_from(inner.get_vocab_size(true)).ok().filter(|count| *count <= 1 << 16);
        let count = count.ok_or_else(|| invalid("it has more than 65,536 tokens".to_owned()))?;
        let byte_of: BTreeMap<char, u8> = (0..=255).map(|byte| (char_of(byte), byte)).collect();
        let token = |id: u32| {
            let text = inner.id_to_token(id).ok_or_else(|| invalid(format!("it has no token {id}")))?;
            let bytes: Option<Vec<u8>> = text.chars().map(|sign| byte_of.get(&sign).copied()).collect();
            bytes.ok_or_else(|| invalid(format!("token {id} is of no bytes")))
        };
        let tokens = (0..count).map(token).collect::<Result<_, _>>()?;
        Ok(Self { json, inner: Arc::new(inner), tokens })
    }
}

impl From<Tokenizer> for Value {
    fn from(tokenizer: Tokenizer) -> Self {
        tokenizer.json
    }
}

impl PartialEq for Tokenizer {
    fn eq(&self, other: &Self) -> bool {
        self.json == other.json
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer").field("tokens", &self.tokens.len()).finish_non_exhaustive()
    }
}

/// The character that stands for a byte in a byte-level `tokenizer.json`: those that can be seen stand for themselves,
/// the others follow at 256.
fn char_of(byte: u8) -> char {
    let seen = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if seen(&byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|byte| !seen(byte)).count();
    char::from_u32(256 + before as u32).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The pieces of a stretch of a text.
#[derive(Debug)]
pub(crate) struct Pieces {
    /// Where the next one begins.
    pub(crate) at: u64,
    end: u64,
}

impl Pieces {
    /// Of the `bytes` from `start` on, which must not begin or end inside of a character.
    pub(crate) fn new(start: u64, bytes: u64) -> Self {
        Self { at: start, end: start + bytes }
    }

    /// The next piece; `None` at the end.
    pub(crate) fn next(&mut self, file: &mut TextFile) -> Result<Option<String>, PrepareError> {
        let length = PIECE_BYTES.min(self.end - self.at);
        if length == 0 {
            return Ok(None);
        }
        let mut bytes = file.read(self.at, length as usize)?;
        if self.at + length < self.end {
            let behind_line = bytes.iter().rposition(|byte| *byte == b'\n').map(|newline| newline + 1);
            let whole = match std::str::from_utf8(&bytes) {
                Err(error) if error.error_len().is_none() => error.valid_up_to(),
                Ok(_) | Err(_) => bytes.len(),
            };
            bytes.truncate(behind_line.unwrap_or(whole));
        }
        let start = self.at;
        self.at += bytes.len() as u64;
        String::from_utf8(bytes).map(Some).map_err(|error| PrepareError::NotUtf8 {
            path: file.path().to_owned(),
            byte: start + error.utf8_error().valid_up_to() as u64,
        })
    }

    /// Leaves so many pieces out.
    fn skip(&mut self, file: &mut TextFile, pieces: u64) -> Result<(), PrepareError> {
        if pieces > 0 {
            let at = self.at.saturating_add(pieces * PIECE_BYTES).min(self.end);
            self.at = border(file, at)?.min(self.end);
        }
        Ok(())
    }
}

/// Three stretches of a text of these sizes, moved so that none begins inside of a character.
pub(crate) fn whole_characters(file: &mut TextFile, sizes: [u64; 3]) -> Result<[u64; 3], PrepareError> {
    let [train, validation, _] = sizes;
    let first = border(file, train)?;
    let second = border(file, (train + validation).max(first))?;
    Ok([first, second - first, file.bytes() - second])
}

/// The first byte from `at` on that begins a character. The bytes that do not are three at the most.
fn border(file: &mut TextFile, at: u64) -> Result<u64, PrepareError> {
    let near = file.read(at, (file.bytes() - at).min(4) as usize)?;
    let inside = near.iter().take_while(|byte| **byte & 0xc0 == 0x80).count();
    Ok(at + inside as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_character_of_its_own() {
        let signs: HashSet<char> = (0..=255).map(char_of).collect();
        assert_eq!(signs.len(), 256);
        // Those of GPT-2.
        assert_eq!([b' ', b'\n', b'a', 0xad].map(char_of), ['Ġ', 'Ċ', 'a', 'Ń']);
    }

    fn learnt(folder: &tempfile::TempDir, text: &str, vocabulary: usize) -> Tokenizer {
        let path = folder.path().join("text");
        std::fs::write(&path, text).unwrap();
        let mut file = TextFile::open(&path).unwrap();
        Tokenizer::learn(&mut file, (0, text.len() as u64), vocabulary, |_| Ok(())).unwrap()
    }

    #[test]
    fn tokens_are_learnt_alike_each_time_and_give_the_text_back() {
        let folder = tempfile::tempdir().unwrap();
        let text: String = (0..3_000).map(|line| format!("line {line}: the größte cat sat\n")).collect();
        let tokenizer = learnt(&folder, &text, 400);
        assert_eq!(tokenizer, learnt(&folder, &text, 400));
        let tokens = tokenizer.encode(&text);
        assert!(tokens.len() * 2 < text.len(), "{} tokens of {} bytes", tokens.len(), text.len());
        assert_eq!(tokenizer.decode(&tokens), text.as_bytes());
        let lengths = tokenizer.lengths();
        let bytes: u32 = tokens.iter().map(|token| lengths[usize::from(*token)]).sum();
        assert_eq!(bytes as usize, text.len());
        let strange = "\u{0}Ω 猫\r\n\t  ";
        assert_eq!(tokenizer.decode(&tokenizer.encode(strange)), strange.as_bytes());

        let json = serde_json::to_string(&tokenizer).unwrap();
        let again: Tokenizer = serde_json::from_str(&json).unwrap();
        assert_eq!(again.encode(&text), tokens);
    }

    #[test]
    fn pieces_end_behind_lines_and_never_inside_of_a_character() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        for line in ["ö".repeat(700_001), format!("{}\n", "ö".repeat(300_001))] {
            let text = line.repeat(3);
            std::fs::write(&path, &text).unwrap();
            let mut file = TextFile::open(&path).unwrap();
            let (mut pieces, mut all) = (Pieces::new(0, text.len() as u64), String::new());
            while let Some(piece) = pieces.next(&mut file).unwrap() {
                all += &piece;
                assert!(!line.ends_with('\n') || piece.ends_with('\n'));
            }
            assert_eq!(all, text);
        }
        std::fs::write(&path, b"abc\xff").unwrap();
        let error = Pieces::new(0, 4).next(&mut TextFile::open(&path).unwrap()).unwrap_err();
        assert!(error.to_string().contains("at byte 3"), "{error}");
    }
}
