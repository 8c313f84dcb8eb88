//! The versions that gates compare with, and what each of them says of the rows that this model was
//! measured on. One that was measured on the same rows has its predictions kept; one of another dataset
//! version is applied to the columns of these rows.

use std::collections::BTreeMap;

use bytes::Bytes;
use phalanx_assess::{Baseline, Rival};
use phalanx_data::{RawRows, TargetKind};
use phalanx_evaluate::{ClassScores, Numbers, Predictions};
use phalanx_protocol::message::{Assignment, Incumbent};
use phalanx_storage::{StorageError, Store};
use phalanx_train::{Predictor, Rows, Tasks};

use super::{KeptPredictions, RawTable, read_predictions};
use crate::patience::StorePatience;

/// Versions by the name that gates give them.
pub(crate) struct Incumbents(BTreeMap<String, Fetched>);

/// What the store has of a version.
enum Fetched {
    NoneYet,
    /// There is nothing, for this reason.
    Nothing(String),
    /// Its predictions of the same rows.
    Predictions {
        name: String,
        content: Bytes,
    },
    /// The model itself.
    Model {
        name: String,
        description: Bytes,
        weights: Bytes,
    },
}

/// Fetches what is needed of the versions that gates name. Waits while the store is away; a version whose
/// files are absent or damaged cannot be compared with.
pub(crate) async fn fetch(
    assignment: &Assignment,
    store: &Store,
    patience: &mut StorePatience,
) -> Incumbents {
    let model = assignment.spec.register.as_ref().map_or("", |register| register.model.as_str());
    let mut incumbents = BTreeMap::new();
    for (named, incumbent) in &assignment.incumbents {
        let fetched = match incumbent {
            Incumbent::NoneYet => Fetched::NoneYet,
            Incumbent::Unknown { known } => {
                Fetched::Nothing(format!("the model has no version or alias `{named}`; it has {known}"))
            }
            Incumbent::Version { version, dataset, artifact } => {
                let name = format!("{model}@{version}");
                let is_of_these_rows = *dataset == assignment.dataset.version;
                match artifact.predictions.as_ref().filter(|_| is_of_these_rows) {
                    Some(file) => match patience.call(|| store.read(file)).await {
                        Ok(content) => Fetched::Predictions { name, content },
                        Err(error) => nothing(&error),
                    },
                    None => {
                        let description = patience.call(|| store.read(&artifact.description)).await;
                        let weights = patience.call(|| store.read(&artifact.weights)).await;
                        match (description, weights) {
                            (Ok(description), Ok(weights)) => Fetched::Model { name, description, weights },
                            (Err(error), _) | (_, Err(error)) => nothing(&error),
                        }
                    }
                }
            }
        };
        incumbents.insert(named.clone(), fetched);
    }
    Incumbents(incumbents)
}

fn nothing(error: &StorageError) -> Fetched {
    Fetched::Nothing(error.to_string())
}

impl Incumbents {
    /// Whether one has to be applied to the columns of the test split.
    pub(crate) fn need_columns(&self) -> bool {
        self.0.values().any(|fetched| matches!(fetched, Fetched::Model { .. }))
    }

    /// What they say of the rows of the test split, whose truth `ours` has and whose columns `table`.
    pub(super) fn rivals(
        &self,
        tasks: &Tasks,
        table: Option<&RawTable>,
        ours: &Predictions,
    ) -> BTreeMap<String, Rival> {
        let rival = |fetched: &Fetched| match fetched {
            Fetched::NoneYet => Rival::NoneYet,
            Fetched::Nothing(reason) => Rival::Unavailable(reason.clone()),
            Fetched::Predictions { name, content } => match read_predictions(content.clone()) {
                Ok(KeptPredictions { predictions, .. }) => {
                    Rival::Version(Baseline { name: name.clone(), predictions })
                }
                Err(error) => Rival::Unavailable(error.to_string()),
            },
            Fetched::Model { name, description, weights } => {
                match applied(tasks, table, ours, description, weights) {
                    Ok(predictions) => Rival::Version(Baseline { name: name.clone(), predictions }),
                    Err(reason) => {
                        let why =
                            format!("{name} cannot be applied to the rows of this test split: {reason}");
                        Rival::Unavailable(why)
                    }
                }
            }
        };
        self.0.iter().map(|(named, fetched)| (named.clone(), rival(fetched))).collect()
    }
}

/// What another model says of the rows of `table`, as it is served.
fn applied(
    tasks: &Tasks,
    table: Option<&RawTable>,
    ours: &Predictions,
    description: &[u8],
    weights: &[u8],
) -> Result<Predictions, String> {
    let table = table.ok_or("their columns were not kept")?;
    let predictor = Predictor::new(tasks, description, weights).map_err(|error| error.to_string())?;
    predict_kept(&predictor, &table.0, ours)
}

/// What a model says, as it is served, of rows that were kept and whose truth `known` has.
///
/// # Errors
///
/// In words: the rows lack a column, a cell is none that the model knows, or it predicts something else.
pub fn predict_kept(
    predictor: &Predictor,
    rows: &RawRows,
    known: &Predictions,
) -> Result<Predictions, String> {
    let batches = rows.encoded(predictor.encoder()).map_err(|error| error.to_string())?;
    let (mut probabilities, mut predictions) = (Vec::new(), Vec::new());
    for batch in &batches {
        match predictor.predict(batch) {
            Rows::Classes { probabilities: more, .. } => probabilities.extend(more),
            Rows::Numbers(more) => predictions.extend(more),
            Rows::BitsPerByte(_) => {}
        }
    }
    match (known, &predictor.schema().target) {
        (Predictions::Classes(known), TargetKind::Classes(classes)) if known.classes == *classes => {
            Ok(Predictions::Classes(ClassScores {
                classes: classes.clone(),
                probabilities,
                truths: known.truths.clone(),
                threshold: predictor.decision().least_probability(),
            }))
        }
        (Predictions::Numbers(known), TargetKind::Number { .. }) => {
            Ok(Predictions::Numbers(Numbers { predictions, truths: known.truths.clone() }))
        }
        (Predictions::Classes(_) | Predictions::Numbers(_) | Predictions::NextBytes(_), _) => {
            Err("it predicts something else".to_owned())
        }
    }
}
