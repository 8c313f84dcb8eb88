//! What a report says beside figures: which model it is, what it was made of, how it was trained,
//! where, and how to do it again.

use std::path::Path;

use jiff::Timestamp;
use phalanx_data::{ColumnValues, DatasetManifest, FeatureKind, Schema, Split, TargetKind};
use phalanx_protocol::{
    rpc::VERSION,
    spec::{DataSpec, JobSpec, Precision, SourceSpec},
    view::ModelVersion,
};
use phalanx_report::{
    Column, Command, Dataset, Environment, Identity, Report, Reproduction, Source, SplitRows, StepValue, Task,
    Training,
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
            target: target(&spec.data).map(str::to_owned),
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
        target: target(&spec.data).map(str::to_owned),
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

/// The column that a job predicts; none of a text.
pub(super) fn target(data: &DataSpec) -> Option<&str> {
    match data.source()? {
        SourceSpec::Csv(csv) => Some(&csv.target),
        SourceSpec::Parquet(parquet) => Some(&parquet.target),
        SourceSpec::Text(_) => None,
    }
}

/// What kind of task a data set sets.
fn task(schema: &Schema) -> Task {
    match (&schema.features, &schema.target) {
        (FeatureKind::Dense { .. }, TargetKind::Classes(_)) => Task::TabularClassification,
        (FeatureKind::Dense { .. }, TargetKind::Number { .. }) => Task::TabularRegression,
        (FeatureKind::Image { .. }, TargetKind::Classes(_)) => Task::ImageClassification,
        (_, TargetKind::NextByte) => Task::TextGeneration,
        (FeatureKind::Image { .. } | FeatureKind::Bytes { .. }, TargetKind::Number { .. })
        | (FeatureKind::Bytes { .. }, TargetKind::Classes(_)) => Task::Other,
    }
}

/// A dataset version and where it came from.
fn dataset(manifest: &DatasetManifest, spec: &JobSpec) -> Dataset {
    let lineage = &manifest.lineage;
    let rows = |split: Split| SplitRows { split: split.as_str().to_owned(), rows: manifest.split(split).rows };
    let predicted = target(&spec.data);
    let column = |column: &phalanx_data::ColumnSummary| {
        let is_sensitive = spec.evaluate.sensitive.contains(&column.name);
        let role = match Some(column.name.as_str()) == predicted {
            true => "target",
            false if is_sensitive => "sensitive",
            false => "feature",
        };
        let (kind, encoding) = match &column.values {
            ColumnValues::Numbers { .. } => ("number", None),
            ColumnValues::Categories(values) => ("category", Some(format!("{} values", values.len()))),
        };
        Column {
            name: column.name.clone(),
            role: role.to_owned(),
            kind: kind.to_owned(),
            missing: column.missing,
            encoding,
        }
    };
    Dataset {
        version: manifest.version.clone(),
        name: spec.name.clone(),
        sources: vec![Source {
            path: lineage.source.display().to_string(),
            bytes: lineage.source_bytes,
            blake3: lineage.source_blake3.clone(),
            rows: Some(lineage.source_rows),
        }],
        splits: Split::ALL.into_iter().map(rows).collect(),
        columns: manifest.columns.iter().map(column).collect(),
        code_version: lineage.code_version.clone(),
        ..Dataset::default()
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
