//! What an alias or a number means in a gate that compares with another version. The coordinator alone knows; it tells
//! with the work of a generation. Owns nothing but its values.

use serde::{Deserialize, Serialize};

use crate::reference::{HashHex, ModelArtifact};

/// A version of the model that gates compare with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Incumbent {
    /// The model has no version yet: there is nothing to be worse than.
    NoneYet,
    /// The model has versions, but none that is called so.
    Unknown {
        /// What they are called, for people.
        known: String,
    },
    /// It.
    Version {
        /// Its number.
        version: u64,
        /// Version of the data set that it was trained on.
        dataset: HashHex,
        /// Its files.
        artifact: Box<ModelArtifact>,
    },
}

impl Incumbent {
    /// Its number, if it is a version.
    pub fn version(&self) -> Option<u64> {
        match self {
            Self::NoneYet | Self::Unknown { .. } => None,
            Self::Version { version, .. } => Some(*version),
        }
    }
}
