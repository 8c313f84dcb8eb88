//! Where the model was made, and how to make it again. Owns no state.

use maud::{Markup, html};

use super::{
    figure::{count, figure},
    parts::{Section, code, facts, prose},
};
use crate::{Environment, Identity, Report, Reproduction, digits::Shown, pointer::Pointer};

pub(super) fn environment(environment: &Environment) -> Section {
    let at = Pointer::root().field("environment");
    let mut rows = vec![("Machine", html! { (environment.machine) })];
    let list = |list: &[String]| html! { (list.join(", ")) };
    if !environment.devices.is_empty() {
        rows.push(("Computed on", list(&environment.devices)));
    }
    for (name, value) in &environment.versions {
        rows.push((name.as_str(), html! { (value) }));
    }
    if !environment.features.is_empty() {
        rows.push(("Features", list(&environment.features)));
    }
    let numbers = [("Workers", "workers", environment.workers), ("Lanes", "lanes", environment.lanes)];
    for (title, name, value) in numbers {
        rows.extend(value.map(|value| (title, count(&at.field(name), value.into()))));
    }
    rows.extend(environment.seed.map(|seed| ("Seed", seed_of(seed, &at.field("seed")))));
    rows.extend(environment.precision.iter().map(|precision| ("Precision", html! { (precision) })));
    let body = html! {
        (facts(rows))
        p.note { "The number of workers does not change the weights; seed and lanes do." }
    };
    Section { id: "environment", title: "Environment", body }
}

/// A seed is a name and no quantity: all its digits, without commas.
fn seed_of(seed: u64, at: &Pointer) -> Markup {
    html! { data value=(seed) data-at=(at) { (seed) } }
}

pub(super) fn reproduction(report: &Report) -> Option<Section> {
    let Identity { job_file, .. } = &report.identity;
    if report.reproduction.is_none() && job_file.is_none() {
        return None;
    }
    let body = html! {
        @if let Some(reproduction) = &report.reproduction { (commands(reproduction)) }
        (hashes(&report.identity))
        @if let Some(file) = job_file { details { summary { "The job file" } pre { code { (file) } } } }
    };
    Some(Section { id: "reproduce", title: "How to make it again", body })
}

fn commands(reproduction: &Reproduction) -> Markup {
    html! {
        ol.commands {
            @for command in &reproduction.commands {
                li { (command.about) pre { code { (command.command) } } }
            }
        }
        @if let Some(hash) = &reproduction.expected_state_hash {
            p { "The state hash that must come out: " (code(hash)) }
        }
        @for note in &reproduction.notes { p.note { (prose(note)) } }
    }
}

fn hashes(identity: &Identity) -> Markup {
    let mut rows = Vec::new();
    rows.extend(identity.job_hash.as_deref().map(|hash| ("Hash of the job", code(hash))));
    rows.extend(identity.state_hash.as_deref().map(|hash| ("Hash of the final state", code(hash))));
    if let Some(artifact) = &identity.artifact {
        let at = Pointer::root().fields("identity/artifact/weights/bytes");
        rows.push((
            "Weights",
            html! {
                (code(&artifact.weights.path)) ", " (figure(&at, artifact.weights.bytes as f64, Shown::Bytes))
            },
        ));
        rows.push(("Hash of the weights", code(&artifact.weights.blake3)));
    }
    html! { @if !rows.is_empty() { (facts(rows)) } }
}
