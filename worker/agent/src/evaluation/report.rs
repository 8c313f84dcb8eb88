//! What a report says beside figures: which model it is, what it was made of, how it was trained,
//! where, and how to do it again.

use std::path::Path;

use jiff::Timestamp;
use phalanx_data::{
    ColumnSummary, ColumnValues, DatasetManifest, FeatureKind, Outcome, Schema, SourceRecord, Split,
    StepReport, TargetKind,
};
use phalanx_protocol::{
    rpc::VERSION,
    spec::{JobSpec, Precision, Then},
    view::ModelVersion,
};
use phalanx_report::{
    Column, Command, Dataset, Environment, Expectation, Funnel, Identity, Report, Reproduction, Source,
    SplitRows, Step, StepValue, Task, Training,
};

use phalanx_train::Predictor;

use super::Evaluation;

impl Evaluation {
    /// A report without figures, of this moment.
    pub(super) fn about(&self) -> Report {
        let spec = &self.assignment.spec;
        let mut report = Report::new(self.identity());
        report.training = Some(self.training());
        report.dataset = Some(dataset(self.dataset.manifest(), spec));
        report.environment = Some(Environment {
            machine: self.machine.clone(),
            devices: vec![self.device.clone()],
            versions: [("phalanx".to_owned(), VERSION.to_owned())].into(),
            features: Vec::new(),
            workers: Some(self.assignment.world_size()),
            lanes: Some(spec.train.lanes),
            seed: Some(spec.train.seed),
            precision: Some(match spec.train.precision {
                Precision::F32 => "f32".to_owned(),
                Precision::Bf16 => "bf16".to_owned(),
            }),
        });
        report.reproduction = Some(reproduction(spec, &self.outcome.state_hash));
        report
    }

    fn identity(&self) -> Identity {
        let spec = &self.assignment.spec;
        let register = spec.register.as_ref();
        Identity {
            model: register.map_or(&spec.name, |register| &register.model).clone(),
            version: None,
            parent: None,
            alias: register.and_then(|register| register.alias.clone()),
            task: task(self.dataset.schema()),
            target: spec.data.target().map(str::to_owned),
            architecture: spec.model.kind().to_owned(),
            parameters: self.outcome.model.as_ref().map(|model| model.parameters),
            job: self.assignment.job.clone(),
            job_file: spec.to_toml(),
            job_hash: Some(spec.hash()),
            state_hash: Some(self.outcome.state_hash.clone()),
            artifact: None,
            created_at: Timestamp::now(),
            about: phalanx_report::About::default(),
        }
    }

    fn training(&self) -> Training {
        let (outcome, train) = (&self.outcome, &self.assignment.spec.train);
        let values = |curve: &phalanx_train::Curve| {
            curve.points.iter().map(|(step, value)| StepValue { step: *step, value: *value }).collect()
        };
        let curves = &outcome.training;
        Training {
            steps: outcome.step,
            steps_planned: curves.steps_planned,
            epochs: (curves.steps_per_epoch > 0).then(|| outcome.step as f64 / curves.steps_per_epoch as f64),
            samples: outcome.cursor,
            batch_size: train.batch_size,
            kept_step: outcome.step,
            stopped_early: outcome.stopped_early.clone(),
            started_at: None,
            finished_at: None,
            seconds: None,
            loss: values(&curves.loss),
            validation: curves.validation.iter().map(|(name, curve)| (name.clone(), values(curve))).collect(),
        }
    }
}

/// A report of how a registered version does on a file, without figures.
pub fn about_file(version: &ModelVersion, predictor: &Predictor, file: &Path) -> Report {
    let spec = &version.spec;
    let mut report = Report::new(Identity {
        model: version.name.clone(),
        version: Some(version.version),
        parent: version.parent,
        alias: None,
        task: task(predictor.schema()),
        target: spec.data.target().map(str::to_owned),
        architecture: spec.model.kind().to_owned(),
        parameters: None,
        job: version.job.clone(),
        job_file: spec.to_toml(),
        job_hash: Some(spec.hash()),
        state_hash: Some(version.state_hash.clone()),
        artifact: Some(version.artifact.clone()),
        created_at: Timestamp::now(),
        about: phalanx_report::About::default(),
    });
    report.dataset = Some(Dataset {
        name: file.display().to_string(),
        code_version: VERSION.to_owned(),
        ..Dataset::default()
    });
    report
}

/// What kind of task a data set sets.
fn task(schema: &Schema) -> Task {
    match (&schema.features, &schema.target) {
        (_, TargetKind::NextByte | TargetKind::NextToken { .. }) => Task::TextGeneration,
        (FeatureKind::Dense { .. }, TargetKind::Classes(_)) => Task::TabularClassification,
        (FeatureKind::Dense { .. }, TargetKind::Number { .. }) => Task::TabularRegression,
        (FeatureKind::Image { .. }, TargetKind::Classes(_)) => Task::ImageClassification,
        (FeatureKind::Image { .. }, TargetKind::Number { .. })
        | (FeatureKind::Bytes { .. } | FeatureKind::Tokens { .. }, _) => Task::Other,
    }
}

/// A dataset version and where it came from.
fn dataset(manifest: &DatasetManifest, spec: &JobSpec) -> Dataset {
    let lineage = &manifest.lineage;
    let rows =
        |split: Split| SplitRows { split: split.as_str().to_owned(), rows: manifest.split(split).rows };
    let column = |column: &ColumnSummary| {
        let is_sensitive = spec.evaluate.sensitive.contains(&column.name);
        let role = match Some(column.name.as_str()) == spec.data.target() {
            true => "target",
            false if is_sensitive => "sensitive",
            false => "feature",
        };
        let (kind, encoding) = match &column.values {
            ColumnValues::Numbers { .. } => ("number", None),
            ColumnValues::Categories(values) => ("category", Some(format!("{} values", values.len()))),
            ColumnValues::Texts => ("text", None),
        };
        Column {
            name: column.name.clone(),
            role: role.to_owned(),
            kind: kind.to_owned(),
            missing: column.missing,
            encoding,
        }
    };
    let source = |source: &SourceRecord| Source {
        path: source.path.display().to_string(),
        bytes: source.bytes,
        blake3: source.blake3.clone(),
        rows: None,
    };
    let mut sources: Vec<Source> = lineage.sources.iter().map(source).collect();
    if let [only] = sources.as_mut_slice() {
        only.rows = Some(lineage.source_rows);
    }
    Dataset {
        version: manifest.version.clone(),
        name: spec.name.clone(),
        sources,
        splits: Split::ALL.into_iter().map(rows).collect(),
        split_by: Some(spec.data.split.in_words()),
        funnel: lineage.funnel.as_ref().map(funnel),
        expectations: lineage.outcomes.iter().map(expectation).collect(),
        columns: manifest.columns.iter().map(column).collect(),
        recipe: None,
        code_version: lineage.code_version.clone(),
    }
}

fn funnel(funnel: &phalanx_data::Funnel) -> Funnel {
    let step = |step: &StepReport| Step {
        step: step.step.clone(),
        about: None,
        rows_before: step.rows_before,
        rows_after: step.rows_after,
        cells: step.cells,
    };
    Funnel {
        rows_read: funnel.rows_read,
        rows_malformed: funnel.rows_malformed,
        steps: funnel.steps.iter().map(step).collect(),
        rows_unexpected: funnel.rows_unexpected,
        rows_clean: funnel.rows_clean,
    }
}

fn expectation(outcome: &Outcome) -> Expectation {
    let expected = &outcome.expectation;
    Expectation {
        expectation: match expected.column() {
            Some(column) => format!("{} ({column})", expected.name()),
            None => expected.name().to_owned(),
        },
        then: match expected.then() {
            Then::Fail => "fail",
            Then::Quarantine => "quarantine",
            Then::Warn => "warn",
        }
        .to_owned(),
        met: outcome.met,
        checked: outcome.checked,
        unexpected: outcome.unexpected,
        observed: outcome.observed,
    }
}

fn reproduction(spec: &JobSpec, state_hash: &str) -> Reproduction {
    let command = |about: &str, command: String| Command { about: about.to_owned(), command };
    Reproduction {
        commands: vec![
            command("Writes the job file above to a file.", format!("$EDITOR {}.toml", spec.name)),
            command("Trains the model on this machine.", format!("phalanx run {}.toml", spec.name)),
        ],
        expected_state_hash: Some(state_hash.to_owned()),
        notes: vec![
            "The same bits come out on any number of workers, of the same kind of machine and with the same data."
                .to_owned(),
        ],
    }
}
