//! `phalanx model`: a model, or one version of it; and the way to name one.

use std::{convert::Infallible, str::FromStr};

use clap::Args;
use phalanx_protocol::view::{ModelVersion, ModelView};

use crate::{
    connect::Where,
    error::{CliError, Exit},
    show::{self, Place},
};

/// Show a model with its versions and aliases, or one version of it
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  phalanx model mnist
  phalanx model mnist@2
  phalanx model mnist@champion --json")]
pub(crate) struct Model {
    /// The model, or one version of it by number or alias
    #[arg(value_name = "NAME[@VERSION|@ALIAS]")]
    model: ModelName,

    /// Print it as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    at: Where,
}

/// `mnist`, `mnist@2` or `mnist@champion`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ModelName {
    name: String,
    version: Option<String>,
}

impl Model {
    /// Shows it.
    pub(crate) async fn run(self) -> Result<Exit, CliError> {
        let connection = self.at.connect().await?;
        let client = connection.client();
        let model = client.model(self.model.name()).await?;
        if self.model.version.is_none() {
            if self.json { show::print_json(&model)? } else { show::print(&show::model(&model))? }
        } else {
            let version = self.model.find(&model)?;
            if self.json {
                show::print_json(version)?;
            } else {
                let place = Place::new(&client.cluster().await?.store_url);
                show::print(&show::version(version, &place))?;
            }
        }
        connection.close().await;
        Ok(Exit::Done)
    }
}

impl ModelName {
    /// The model.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The version that is meant: the newest if none is named.
    ///
    /// # Errors
    ///
    /// If the model has no such version or alias.
    pub(super) fn find<'m>(&self, model: &'m ModelView) -> Result<&'m ModelVersion, CliError> {
        let number = match &self.version {
            None => model.versions.last().map(|version| version.version),
            Some(text) => text.parse().ok().or_else(|| model.aliases.get(text).copied()),
        };
        let found = number.and_then(|number| model.versions.iter().find(|version| version.version == number));
        found.ok_or_else(|| self.unknown(model))
    }

    fn unknown(&self, model: &ModelView) -> CliError {
        let Self { name, version } = self;
        let message = match version {
            None => format!("model `{name}` has no versions yet"),
            Some(version) => format!("model `{name}` has no version or alias `{version}`"),
        };
        let versions = model.versions.iter().map(|version| version.version.to_string());
        let known: Vec<String> = versions.chain(model.aliases.keys().cloned()).collect();
        CliError::usage(message).hint(format!("it has {}", known.join(", ")))
    }
}

impl FromStr for ModelName {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.split_once('@') {
            Some((name, version)) => Self { name: name.to_owned(), version: Some(version.to_owned()) },
            None => Self { name: text.to_owned(), version: None },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_named_after_an_at_sign() {
        let parsed: ModelName = "mnist@champion".parse().unwrap();
        assert_eq!(parsed, ModelName { name: "mnist".to_owned(), version: Some("champion".to_owned()) });
        let parsed: ModelName = "mnist".parse().unwrap();
        assert_eq!(parsed, ModelName { name: "mnist".to_owned(), version: None });
    }

    #[test]
    fn a_model_without_versions_has_none_to_find() {
        let model = ModelView {
            name: "mnist".to_owned(),
            versions: Vec::new(),
            aliases: std::collections::BTreeMap::new(),
            alias_history: Vec::new(),
        };
        for name in ["mnist", "mnist@1", "mnist@champion"] {
            let parsed: ModelName = name.parse().unwrap();
            assert!(parsed.find(&model).is_err(), "{name}");
        }
    }
}
