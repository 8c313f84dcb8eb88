//! What the model is, what it is for, how it was made and how to use it. Owns no state.

use super::{
    NEEDED,
    markdown::{Document, code, text},
};
use crate::{
    Report,
    digits::{Shown, count},
};

pub(super) fn model(card: &mut Document, report: &Report) {
    let (identity, about) = (&report.identity, &report.identity.about);
    card.heading(2, "Model Details");
    card.heading(3, "Model Description");
    card.paragraph(about.description.as_deref().unwrap_or(NEEDED));
    let mut lines = vec![
        format!("**Developed by:** {}", about.authors.as_deref().map_or_else(|| NEEDED.to_owned(), text)),
        format!("**Model type:** {}", code(&identity.architecture)),
    ];
    if !about.languages.is_empty() {
        lines.push(format!("**Language(s) (NLP):** {}", text(&about.languages.join(", "))));
    }
    lines.push(format!("**License:** {}", about.license.as_deref().map_or_else(|| NEEDED.to_owned(), text)));
    lines.extend(identity.version.map(|version| format!("**Version:** {version}")));
    lines.extend(identity.parent.map(|parent| format!("**Version before:** {parent}")));
    lines.extend(identity.parameters.map(|parameters| format!("**Parameters:** {}", count(parameters))));
    lines.extend(identity.state_hash.as_deref().map(|hash| format!("**State hash:** {}", code(hash))));
    card.list(&lines);
}

pub(super) fn uses(card: &mut Document, report: &Report) {
    let about = &report.identity.about;
    card.heading(2, "Uses");
    card.heading(3, "Direct Use");
    card.paragraph(about.uses.as_deref().unwrap_or(NEEDED));
    card.heading(3, "Out-of-Scope Use");
    card.paragraph(about.out_of_scope.as_deref().unwrap_or(NEEDED));
}

pub(super) fn getting_started(card: &mut Document, report: &Report) {
    let identity = &report.identity;
    card.heading(2, "How to Get Started with the Model");
    match identity.version {
        Some(version) => {
            card.paragraph("With Phalanx, on a file of the same columns:");
            card.block("sh", &format!("phalanx predict {}@{version} FILE", identity.model));
        }
        None => card.paragraph("This version was not registered; its weights are safetensors."),
    }
}

pub(super) fn training(card: &mut Document, report: &Report) {
    card.heading(2, "Training Details");
    card.heading(3, "Training Data");
    training_data(card, report);
    card.heading(3, "Training Procedure");
    if let Some(funnel) = report.dataset.as_ref().and_then(|data| data.funnel.as_ref()) {
        card.heading(4, "Preprocessing");
        let rows: Vec<Vec<String>> = funnel
            .steps
            .iter()
            .map(|step| {
                vec![code(&step.step), count(step.rows_before), count(step.rows_after), count(step.cells)]
            })
            .collect();
        card.table(&["Step", "Rows before", "Rows after", "Cells changed"], &rows);
    }
    card.heading(4, "Training Hyperparameters");
    match &report.identity.job_file {
        Some(file) => card.block("toml", file),
        None => card.paragraph(NEEDED),
    }
    let Some(training) = &report.training else { return };
    card.heading(4, "Speeds, Sizes, Times");
    let mut lines = vec![format!(
        "{} of {} steps, {} samples",
        count(training.steps),
        count(training.steps_planned),
        count(training.samples)
    )];
    lines.extend(training.seconds.map(|seconds| Shown::Seconds.text(seconds)));
    let weights = report.identity.artifact.as_ref().map(|artifact| artifact.weights.bytes);
    lines.extend(weights.map(|bytes| format!("Weights: {}", Shown::Bytes.text(bytes as f64))));
    card.list(&lines);
}

fn training_data(card: &mut Document, report: &Report) {
    let Some(data) = &report.dataset else { return card.paragraph(NEEDED) };
    card.paragraph(&format!("{}, dataset version {}.", text(&data.name), code(&data.version)));
    let sources: Vec<Vec<String>> = data
        .sources
        .iter()
        .map(|source| vec![code(&source.path), Shown::Bytes.text(source.bytes as f64), code(&source.blake3)])
        .collect();
    card.table(&["Source", "Size", "BLAKE3"], &sources);
    let splits: Vec<Vec<String>> =
        data.splits.iter().map(|split| vec![text(&split.split), count(split.rows)]).collect();
    card.table(&["Split", "Rows"], &splits);
}

pub(super) fn technical(card: &mut Document, report: &Report) {
    let Some(environment) = &report.environment else { return };
    card.heading(2, "Environmental Impact");
    let seconds = report.training.as_ref().and_then(|training| training.seconds);
    card.list(&[
        format!("**Hardware Type:** {}", text(&environment.machine)),
        format!(
            "**Hours used:** {}",
            seconds.map_or_else(|| NEEDED.to_owned(), |time| Shown::Number.text(time / 3600.0))
        ),
    ]);
    card.heading(2, "Technical Specifications");
    card.heading(3, "Model Architecture and Objective");
    card.paragraph(&code(&report.identity.architecture));
    card.heading(3, "Compute Infrastructure");
    card.heading(4, "Hardware");
    let workers = environment.workers.map(|workers| format!("Workers: {workers}"));
    let devices = (!environment.devices.is_empty())
        .then(|| format!("Devices: {}", text(&environment.devices.join(", "))));
    let mut hardware = vec![text(&environment.machine)];
    hardware.extend(workers.into_iter().chain(devices));
    card.list(&hardware);
    card.heading(4, "Software");
    let versions: Vec<String> = environment
        .versions
        .iter()
        .map(|(name, version)| format!("{} {}", text(name), text(version)))
        .collect();
    card.list(&versions);
}

pub(super) fn people(card: &mut Document, report: &Report) {
    let about = &report.identity.about;
    if let Some(authors) = &about.authors {
        card.heading(2, "Model Card Authors");
        card.paragraph(&text(authors));
    }
    card.heading(2, "Model Card Contact");
    card.paragraph(&about.contact.as_deref().map_or_else(|| NEEDED.to_owned(), text));
}
