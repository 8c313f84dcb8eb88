//! The registry: models, their versions and aliases. Owns them all.
//!
//! A version's number is reserved before its manifest is written, and never
//! given to another; a job that is given up meanwhile leaves a gap. A version
//! that is registered never changes (invariant 5).

use std::collections::BTreeMap;

use jiff::Timestamp;
use phalanx_protocol::{
    id::is_alias,
    message::Incumbent,
    view::{AliasChange, ModelVersion, ModelView},
};

use crate::{Record, Rejected, record::ModelHead};

/// The most changes of aliases that are kept for one model; older ones are forgotten.
pub(crate) const ALIAS_CHANGES_MAX: usize = 1_000;

/// The most versions, and aliases, that a message names.
const KNOWN_MAX: usize = 20;

/// All models.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    models: BTreeMap<String, Model>,
}

#[derive(Debug)]
struct Model {
    head: ModelHead,
    versions: BTreeMap<u64, ModelVersion>,
}

/// A version number that was given out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reserved {
    pub(crate) version: u64,
    /// The newest version at this moment.
    pub(crate) parent: Option<u64>,
}

impl Registry {
    /// Where the manifest of a version goes.
    pub(crate) fn manifest_path(version: &ModelVersion) -> String {
        format!("models/{}/{}/manifest.json", version.name, version.version)
    }

    /// Puts a head back after a restart.
    pub(crate) fn restore_head(&mut self, head: ModelHead) {
        self.models.insert(head.name.clone(), Model { head, versions: BTreeMap::new() });
    }

    /// Puts a version back after a restart. Returns whether its model is there.
    pub(crate) fn restore_version(&mut self, version: ModelVersion) -> bool {
        let Some(model) = self.models.get_mut(&version.name) else { return false };
        model.versions.insert(version.version, version);
        true
    }

    /// Gives out the next version of a model, which is created if absent.
    /// The record must be durable before the number is used.
    pub(crate) fn reserve(&mut self, name: &str) -> (Reserved, Record) {
        let model = self.models.entry(name.to_owned()).or_insert_with(|| Model {
            head: ModelHead {
                name: name.to_owned(),
                next_version: 1,
                aliases: BTreeMap::new(),
                alias_history: Vec::new(),
            },
            versions: BTreeMap::new(),
        });
        let parent = model.versions.keys().next_back().copied();
        let reserved = Reserved { version: model.head.next_version, parent };
        model.head.next_version += 1;
        (reserved, Record::Model(model.head.clone()))
    }

    pub(crate) fn contains(&self, name: &str, version: u64) -> bool {
        self.models.get(name).is_some_and(|model| model.versions.contains_key(&version))
    }

    /// Registers a version whose number was reserved and whose manifest is
    /// durable. Returns what must be stored.
    pub(crate) fn register(&mut self, version: &ModelVersion) -> Option<Record> {
        let model = self.models.get_mut(&version.name)?;
        debug_assert!(version.version < model.head.next_version, "invariant 5: the number was reserved");
        let known = model.versions.insert(version.version, version.clone());
        debug_assert!(known.is_none(), "invariant 5: versions never change");
        Some(Record::ModelVersion(Box::new(version.clone())))
    }

    /// Lets an alias name a version that its job has just made. Returns what
    /// must be stored; nothing if it named it already.
    pub(crate) fn point(&mut self, version: &ModelVersion, alias: &str, at: Timestamp) -> Option<Record> {
        let head = &mut self.models.get_mut(&version.name)?.head;
        let changed = head.point(alias, version.version, version.job.to_string(), at);
        changed.then(|| Record::Model(head.clone()))
    }

    /// Lets an alias name a version. Returns what must be stored; nothing if it named it already.
    pub(crate) fn set_alias(
        &mut self,
        name: &str,
        alias: &str,
        version: u64,
        by: String,
        at: Timestamp,
    ) -> Result<Option<Record>, Rejected> {
        let unknown = || Rejected::UnknownModel(name.to_owned());
        let model = self.models.get_mut(name).ok_or_else(unknown)?;
        if !model.versions.contains_key(&version) {
            return Err(Rejected::UnknownVersion { model: name.to_owned(), version });
        }
        if !is_alias(alias) {
            return Err(Rejected::WrongAlias(alias.to_owned()));
        }
        let changed = model.head.point(alias, version, by, at);
        Ok(changed.then(|| Record::Model(model.head.clone())))
    }

    /// What `named`, an alias or a number, means of the model `name` now.
    pub(crate) fn incumbent(&self, name: &str, named: &str) -> Incumbent {
        let Some(model) = self.models.get(name).filter(|model| !model.versions.is_empty()) else {
            return Incumbent::NoneYet;
        };
        let number = named.parse().ok().or_else(|| model.head.aliases.get(named).copied());
        match number.and_then(|number| model.versions.get(&number)) {
            Some(found) => Incumbent::Version {
                version: found.version,
                dataset: found.dataset.version.clone(),
                artifact: Box::new(found.artifact.clone()),
            },
            None => {
                let numbers = model.versions.keys().rev().take(KNOWN_MAX).map(u64::to_string);
                let aliases = model.head.aliases.keys().take(KNOWN_MAX).cloned();
                Incumbent::Unknown { known: numbers.chain(aliases).collect::<Vec<_>>().join(", ") }
            }
        }
    }

    /// A model that has a version.
    pub(crate) fn view(&self, name: &str) -> Option<ModelView> {
        self.models.get(name).and_then(Model::view)
    }

    /// All models that have a version, by name.
    pub(crate) fn views(&self) -> Vec<ModelView> {
        self.models.values().filter_map(Model::view).collect()
    }

    /// Every version and the number that its model gives out next.
    pub(crate) fn versions(&self) -> impl Iterator<Item = (&ModelVersion, u64)> {
        self.models
            .values()
            .flat_map(|model| model.versions.values().map(|version| (version, model.head.next_version)))
    }

    /// Every model and the number that it gives out next.
    pub(crate) fn next_versions(&self) -> impl Iterator<Item = (&str, u64)> {
        self.heads().map(|(head, _)| (head.name.as_str(), head.next_version))
    }

    /// Aliases that name no version: none, if invariant 5 holds.
    pub(crate) fn dangling_aliases(&self) -> impl Iterator<Item = (&str, &str)> {
        self.heads().flat_map(|(head, versions)| {
            let dangling = head.aliases.iter().filter(|(_, version)| !versions.contains_key(version));
            dangling.map(|(alias, _)| (head.name.as_str(), alias.as_str()))
        })
    }

    /// The most changes of aliases that one model keeps.
    pub(crate) fn alias_changes(&self) -> usize {
        self.heads().map(|(head, _)| head.alias_history.len()).max().unwrap_or(0)
    }

    fn heads(&self) -> impl Iterator<Item = (&ModelHead, &BTreeMap<u64, ModelVersion>)> {
        self.models.values().map(|model| (&model.head, &model.versions))
    }
}

impl Model {
    fn view(&self) -> Option<ModelView> {
        (!self.versions.is_empty()).then(|| ModelView {
            name: self.head.name.clone(),
            versions: self.versions.values().cloned().collect(),
            aliases: self.head.aliases.clone(),
            alias_history: self.head.alias_history.clone(),
        })
    }
}

impl ModelHead {
    /// Returns whether the alias named something else before.
    fn point(&mut self, alias: &str, to: u64, by: String, at: Timestamp) -> bool {
        let from = self.aliases.insert(alias.to_owned(), to);
        if from == Some(to) {
            return false;
        }
        self.alias_history.push(AliasChange { alias: alias.to_owned(), from, to, at, by });
        let excess = self.alias_history.len().saturating_sub(ALIAS_CHANGES_MAX);
        self.alias_history.drain(..excess);
        true
    }
}
