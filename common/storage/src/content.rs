//! What a file is to hold, in one piece or in several that lie apart: a checkpoint's
//! tensors need not be copied together to be written.

use bytes::{Bytes, BytesMut};

/// The content of a file. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Content {
    pieces: Vec<Bytes>,
}

impl Content {
    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its pieces, in their order.
    pub fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }

    /// All of it in one piece; copied, unless it is one already.
    pub fn into_bytes(self) -> Bytes {
        let bytes = self.len();
        let mut pieces = self.pieces;
        if pieces.len() == 1
            && let Some(whole) = pieces.pop()
        {
            return whole;
        }
        let mut whole = BytesMut::with_capacity(bytes);
        pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
        whole.freeze()
    }

    /// BLAKE3 of all of it.
    pub(crate) fn hash(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        for piece in &self.pieces {
            hasher.update(piece);
        }
        hasher.finalize()
    }
}

impl From<Bytes> for Content {
    fn from(whole: Bytes) -> Self {
        Self { pieces: vec![whole] }
    }
}

impl From<Vec<Bytes>> for Content {
    fn from(pieces: Vec<Bytes>) -> Self {
        Self { pieces }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_the_file_that_they_make_together() {
        let pieces = ["ab", "", "cde"].map(|piece| Bytes::from_static(piece.as_bytes()));
        let content = Content::from(pieces.to_vec());
        let whole = Content::from(Bytes::from_static(b"abcde"));
        assert_eq!((content.len(), content.hash()), (5, whole.hash()));
        assert_eq!(content.into_bytes(), whole.into_bytes());
        assert!(Content::default().into_bytes().is_empty());
    }
}
