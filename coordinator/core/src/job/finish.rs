//! How a job finishes: its last checkpoint, gates, then the registry. The model's
//! manifest is durable before the version is recorded, and the version before
//! the job is done (invariant 6).
//!
//! A gate may compare with another version by its alias. Where that names another one than it did when
//! the generation was formed, the next generation measures again, with nothing left to train: a job
//! never passes by having been compared with a version that was replaced meanwhile.

use std::collections::BTreeMap;

use phalanx_protocol::{
    id::Rank,
    message::{Finished, Incumbent, Metrics},
    spec::{Bound, Gate, RegisterSpec},
    view::{ModelVersion, ModelVersionRef},
};

use super::{Job, Phase, bounded};
use crate::{
    Effect, WriteFailed,
    context::Context,
    record::OutcomeRecord,
    registry::{Registry, Reserved},
};

/// The most characters that are kept of the text that a model generated.
const SAMPLE_CHARS_MAX: usize = 100_000;

impl Job {
    /// Training and evaluation are over, and the model is durable. Other ranks' parts of the last
    /// checkpoint, and its manifest, may not be.
    pub(super) fn finished(&mut self, cx: &mut Context<'_>, rank: Rank, mut finished: Finished) {
        self.formed_by_now(cx);
        if !rank.is_leader() || !self.has_begun() || self.record.finished.is_some() {
            return;
        }
        // A record holds finite numbers.
        for (name, value) in finished.metrics.extract_if(.., |_, value| !value.is_finite()) {
            finished.undefined.insert(name, format!("{value} was measured"));
        }
        finished.sample = finished.sample.map(|text| text.chars().take(SAMPLE_CHARS_MAX).collect());
        self.record.finished = Some(Box::new(finished));
        self.store(cx);
        self.finish_if_saved(cx);
    }

    /// Goes on with what came out of it, unless the checkpoint of the last step is in the making.
    pub(super) fn finish_if_saved(&mut self, cx: &mut Context<'_>) {
        let is_making = |step| self.phase.saves().is_some_and(|saves| saves.is_making(step));
        if let Some(finished) = self.record.finished.take_if(|finished| !is_making(finished.step)) {
            self.finish(cx, *finished);
        }
    }

    fn finish(&mut self, cx: &mut Context<'_>, finished: Finished) {
        let Finished {
            step,
            cursor,
            stopped_early,
            metrics,
            undefined,
            moot,
            compared,
            confusion,
            state_hash,
            artifact,
            sample,
        } = finished;
        let goes_on = matches!(self.phase, Phase::Training { .. } | Phase::Evaluating { .. });
        if let Some(moved) = self.moved_meanwhile(cx.registry, &compared).filter(|_| goes_on) {
            self.say(cx, moved);
            let leader = self.phase.gang().and_then(|gang| gang.members.first().copied());
            return self.regroup(cx, leader);
        }
        let early = stopped_early.map_or(String::new(), |why| format!(", early: {}", bounded(why)));
        self.say(cx, format!("finished after {step} steps{early}"));
        let gates = gate_results(&self.record.spec.evaluate.gates, &metrics, &undefined, &moot);
        let progress = &mut self.record.progress;
        (progress.step, progress.cursor) = (step, cursor);
        progress.farthest_step = progress.farthest_step.max(step);
        self.record.outcome =
            Some(OutcomeRecord { metrics, confusion, state_hash, artifact, sample, model: None });
        for gate in &gates {
            self.say(cx, gate.text.clone());
        }
        if gates.iter().any(|gate| !gate.holds) {
            let all: Vec<_> = gates.into_iter().map(|gate| gate.text).collect();
            return self.fail(cx, format!("the model is not registered: {}", all.join("; ")));
        }
        match self.record.spec.register.clone() {
            Some(register) => self.register(cx, &register),
            None => {
                self.say(cx, "done");
                self.end_generation(cx, Phase::Done);
            }
        }
    }

    /// What the names mean now that gates give to other versions.
    pub(super) fn incumbents(&self, registry: &Registry) -> BTreeMap<String, Incumbent> {
        let Some(register) = &self.record.spec.register else { return BTreeMap::new() };
        let named = self.record.spec.evaluate.gates.iter().filter_map(|gate| match &gate.bound {
            Bound::Version { version, .. } => Some(version),
            Bound::Number(_) => None,
        });
        named.map(|named| (named.clone(), registry.incumbent(&register.model, named))).collect()
    }

    /// Which name means another version than the one that was compared with.
    fn moved_meanwhile(
        &self,
        registry: &Registry,
        compared: &BTreeMap<String, Option<u64>>,
    ) -> Option<String> {
        let (named, now) = self
            .incumbents(registry)
            .into_iter()
            .map(|(named, now)| (named, now.version()))
            .find(|(named, now)| compared.get(named) != Some(now))?;
        let version = now.map_or("no version".to_owned(), |version| format!("version {version}"));
        Some(format!("`@{named}` means {version} by now: the test split is measured again"))
    }

    /// Reserves a version, and writes its manifest.
    fn register(&mut self, cx: &mut Context<'_>, register: &RegisterSpec) {
        let outcome = self.record.outcome.clone().expect("invariant: a job that registers has an outcome");
        let dataset =
            self.record.dataset.clone().expect("invariant: a generation trains on a known data set");
        let (Reserved { version, parent }, record) = cx.registry.reserve(&register.model);
        cx.persist(record);
        let version = Box::new(ModelVersion {
            name: register.model.clone(),
            version,
            job: self.record.id.clone(),
            spec: (*self.record.spec).clone(),
            metrics: outcome.metrics,
            confusion: outcome.confusion,
            dataset,
            parent,
            state_hash: outcome.state_hash,
            artifact: outcome.artifact,
            created_at: cx.now.wall,
        });
        self.end_generation(cx, Phase::Registering { version: version.clone() });
        self.request_model_manifest(cx, version);
    }

    /// Goes into [`Phase::Registering`] again.
    pub(super) fn write_model_manifest(&mut self, cx: &mut Context<'_>, version: Box<ModelVersion>) {
        self.enter(cx, Phase::Registering { version: version.clone() });
        self.request_model_manifest(cx, version);
    }

    fn request_model_manifest(&self, cx: &mut Context<'_>, version: Box<ModelVersion>) {
        let path = Registry::manifest_path(&version);
        cx.turn.effects.push(Effect::WriteModelManifest { job: self.record.id.clone(), version, path });
    }

    /// The model's manifest is durable, or could not be written.
    pub(crate) fn model_manifest_written(
        &mut self,
        cx: &mut Context<'_>,
        written: &ModelVersionRef,
        result: Result<(), WriteFailed>,
    ) {
        let Phase::Registering { version } = &self.phase else { return };
        if version.version != written.version || version.name != written.name {
            return;
        }
        let version = version.clone();
        match result {
            Ok(()) => {
                if let Some(record) = cx.registry.register(&version) {
                    cx.persist(record);
                }
                self.go_on_registering(cx);
            }
            Err(failed) => {
                let reason = bounded(format!("the model could not be registered: {failed}"));
                self.say(cx, format!("paused: {reason}"));
                self.enter(cx, Phase::Paused { reason, unregistered: Some(version) });
            }
        }
    }

    /// The version is in the registry.
    fn registered(&mut self, cx: &mut Context<'_>, version: &ModelVersion) {
        let model = ModelVersionRef { name: version.name.clone(), version: version.version };
        let alias = self.record.spec.register.as_ref().and_then(|register| register.alias.as_deref());
        let alias = alias.map_or(String::new(), |alias| format!(", alias `{alias}`"));
        self.say(cx, format!("registered as model {} version {}{alias}", model.name, model.version));
        if let Some(outcome) = &mut self.record.outcome {
            outcome.model = Some(model);
        }
        self.enter(cx, Phase::Done);
    }

    /// Goes on registering after a restart: the version may be in the registry
    /// already, but its alias not yet.
    pub(crate) fn go_on_registering(&mut self, cx: &mut Context<'_>) {
        let Phase::Registering { version } = &self.phase else { return };
        let version = version.clone();
        if !cx.registry.contains(&version.name, version.version) {
            return self.request_model_manifest(cx, version);
        }
        if let Some(alias) = self.record.spec.register.as_ref().and_then(|register| register.alias.as_deref())
        {
            let record = cx.registry.point(&version, alias, cx.now.wall);
            if let Some(record) = record {
                cx.persist(record);
            }
        }
        self.registered(cx, &version);
    }
}

/// A gate and whether it holds, in words.
struct GateResult {
    holds: bool,
    text: String,
}

/// Decides gates by the figures of the test split. Where there is nothing to compare with, as of a model's
/// first version, a gate holds.
fn gate_results(
    gates: &[Gate],
    metrics: &Metrics,
    undefined: &BTreeMap<String, String>,
    moot: &BTreeMap<String, String>,
) -> Vec<GateResult> {
    let result = |gate: &Gate| {
        let measured = gate.measured();
        match metrics.get(&measured) {
            Some(value) if gate.holds(*value) => {
                GateResult { holds: true, text: format!("gate `{gate}` holds: {measured} is {value}") }
            }
            Some(value) => {
                GateResult { holds: false, text: format!("gate `{gate}` failed: {measured} is {value}") }
            }
            None if moot.contains_key(&measured) => {
                GateResult { holds: true, text: bounded(format!("gate `{gate}` holds: {}", moot[&measured])) }
            }
            None => {
                let why = undefined.get(&measured).cloned().unwrap_or_else(|| listed(metrics));
                let text = format!("gate `{gate}` failed: the test split has no {measured}: {why}");
                GateResult { holds: false, text: bounded(text) }
            }
        }
    };
    gates.iter().map(result).collect()
}

/// The names of `metrics`, without those of single classes.
fn listed(metrics: &Metrics) -> String {
    let names: Vec<_> = metrics.keys().map(String::as_str).filter(|name| !name.ends_with(']')).collect();
    if names.is_empty() { "it has none".to_owned() } else { format!("it has {}", names.join(", ")) }
}
