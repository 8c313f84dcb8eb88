//! A registered version and its files, for commands that work with the model itself.

use bytes::Bytes;
use phalanx_agent::evaluation::{KeptPredictions, read_predictions};
use phalanx_data::{DatasetManifest, RawRows, Split, find_version};
use phalanx_protocol::{
    reference::FileRef,
    spec::ModelSpec,
    view::{ModelVersion, ModelView},
};
use phalanx_report::Report;
use phalanx_storage::Store;
use phalanx_train::{Predictor, Tasks};

use super::model::ModelName;
use crate::{client::Client, error::CliError};

/// A version, and the store that has its files.
pub(super) struct Registered {
    pub(super) version: ModelVersion,
    store: Store,
}

impl Registered {
    /// The version that `name` means.
    pub(super) async fn find(client: &Client, name: &ModelName) -> Result<Self, CliError> {
        let model: ModelView = client.model(name.name()).await?;
        let version = name.find(&model)?.clone();
        Ok(Self { version, store: open(client).await? })
    }

    /// What it is called: `adult@3`.
    pub(super) fn name(&self) -> String {
        format!("{}@{}", self.version.name, self.version.version)
    }

    /// The model, put together from its files.
    pub(super) async fn predictor(&self) -> Result<Predictor, CliError> {
        let artifact = &self.version.artifact;
        let description = self.read(&artifact.description).await?;
        let weights = self.read(&artifact.weights).await?;
        let predictor = Predictor::new(&Tasks::new(), &description, &weights);
        predictor.map_err(|error| match self.version.spec.model {
            ModelSpec::Custom(_) => CliError::usage(error).hint(
                "this binary has the built-in models only; your own one can use `phalanx_train::Predictor`",
            ),
            _ => CliError::failed(error),
        })
    }

    /// What it says of its test split.
    pub(super) async fn predictions(&self) -> Result<KeptPredictions, CliError> {
        let Some(file) = &self.version.artifact.predictions else {
            let message = format!("{} has no predictions: it has no test split", self.name());
            return Err(CliError::usage(message).hint("--on FILE predicts the rows of a file with both"));
        };
        read_predictions(self.read(file).await?).map_err(CliError::failed)
    }

    /// The data set that it was made of.
    pub(super) async fn dataset(&self) -> Result<DatasetManifest, CliError> {
        find_version(&self.version.dataset.version, &self.store).await.map_err(CliError::failed)
    }

    /// The rows of a split of its data set, as they were before they were encoded.
    pub(super) async fn rows(&self, manifest: &DatasetManifest, split: Split) -> Result<RawRows, CliError> {
        RawRows::read(manifest, split, &self.store).await.map_err(CliError::failed)
    }

    /// Its report, with what only the registry knows.
    pub(super) async fn report(&self) -> Result<Report, CliError> {
        let mut report =
            read_report(&self.store, self.version.artifact.report.as_ref(), &self.name()).await?;
        report.identity.version = Some(self.version.version);
        report.identity.parent = self.version.parent;
        report.identity.artifact = Some(self.version.artifact.clone());
        Ok(report)
    }

    async fn read(&self, file: &FileRef) -> Result<Bytes, CliError> {
        self.store.read(file).await.map_err(CliError::failed)
    }
}

/// The store of a coordinator.
pub(super) async fn open(client: &Client) -> Result<Store, CliError> {
    Store::open(&client.cluster().await?.store_url).map_err(CliError::failed)
}

/// The report in a file of the store, of what is called `whose`.
pub(super) async fn read_report(
    store: &Store,
    file: Option<&FileRef>,
    whose: &str,
) -> Result<Report, CliError> {
    let file = file.ok_or_else(|| CliError::usage(format!("{whose} has no report")))?;
    let content = store.read(file).await.map_err(CliError::failed)?;
    let text = std::str::from_utf8(&content).map_err(CliError::failed)?;
    Report::from_json(text).map_err(|error| CliError::failed(format!("{}: {error}", file.path)))
}
