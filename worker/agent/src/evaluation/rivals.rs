//! The versions that gates compare with: what each of them says of the rows that this model was
//! measured on.

use std::collections::BTreeMap;

use bytes::Bytes;
use phalanx_assess::{Baseline, Rival};
use phalanx_protocol::{
    message::{Assignment, Incumbent},
    reference::{FileRef, ModelArtifact},
};
use phalanx_storage::Store;

use super::{KeptPredictions, read_predictions};
use crate::patience::StorePatience;

/// The versions that gates name, by that name. Waits while the store is away; a version whose predictions
/// are absent or damaged cannot be compared with.
pub(crate) async fn rivals(
    assignment: &Assignment,
    store: &Store,
    patience: &mut StorePatience,
) -> BTreeMap<String, Rival> {
    let mut rivals = BTreeMap::new();
    for (named, incumbent) in &assignment.incumbents {
        let rival = match incumbent {
            Incumbent::NoneYet => Rival::NoneYet,
            Incumbent::Unknown { known } => {
                Rival::Unavailable(format!("the model has no version or alias `{named}`; it has {known}"))
            }
            Incumbent::Version { version, dataset, artifact } => {
                match file(artifact, dataset, &assignment.dataset.version) {
                    Err(reason) => Rival::Unavailable(reason),
                    Ok(file) => match patience.call(|| store.read(file)).await {
                        Ok(content) => rival(assignment, *version, content),
                        Err(error) => Rival::Unavailable(error.to_string()),
                    },
                }
            }
        };
        rivals.insert(named.clone(), rival);
    }
    rivals
}

/// The predictions of a version, if they are of the same rows.
fn file<'a>(artifact: &'a ModelArtifact, theirs: &str, ours: &str) -> Result<&'a FileRef, String> {
    if theirs != ours {
        let short = |version: &str| version.get(..12).unwrap_or(version).to_owned();
        return Err(format!(
            "it was measured on other rows (data set {}, this job has {})",
            short(theirs),
            short(ours)
        ));
    }
    artifact.predictions.as_ref().ok_or_else(|| "its predictions were not kept".to_owned())
}

fn rival(assignment: &Assignment, version: u64, content: Bytes) -> Rival {
    let model = assignment.spec.register.as_ref().map_or("", |register| register.model.as_str());
    match read_predictions(content) {
        Ok(KeptPredictions { predictions, .. }) => {
            Rival::Version(Baseline { name: format!("{model}@{version}"), predictions })
        }
        Err(error) => Rival::Unavailable(error.to_string()),
    }
}
