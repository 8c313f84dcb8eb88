//! A dataset version as the page that browsers show: what its manifest says, in the page's own words.

use phalanx_data::{
    ColumnProfile, ColumnSummary, ColumnValues, DatasetManifest, LabelReport, Outcome, ProfileValues, Split,
};
use phalanx_protocol::spec::Then;
use phalanx_report::{
    Column, Dataset, DatasetPage, Expectation, Funnel, Histogram, Profile, ProfileOf, Source, SplitRows, Step,
};

/// The page of a dataset version.
pub(crate) fn dataset_page(manifest: &DatasetManifest) -> DatasetPage {
    DatasetPage {
        dataset: dataset(manifest),
        leakage: manifest.leakage.iter().map(|finding| finding.message.clone()).collect(),
        profiles: manifest.profile.iter().map(profile).collect(),
    }
}

fn dataset(manifest: &DatasetManifest) -> Dataset {
    let lineage = &manifest.lineage;
    let rows =
        |split: Split| SplitRows { split: split.as_str().to_owned(), rows: manifest.split(split).rows };
    let sources = lineage.sources.iter().map(|source| Source {
        path: source.path.display().to_string(),
        bytes: source.bytes,
        blake3: source.blake3.clone(),
        rows: None,
    });
    let mut sources: Vec<Source> = sources.collect();
    if let [only] = sources.as_mut_slice() {
        only.rows = Some(lineage.source_rows);
    }
    let first = lineage.sources.first().and_then(|source| source.path.file_stem());
    Dataset {
        version: manifest.version.clone(),
        name: first.map_or_else(|| "a data set".to_owned(), |name| name.display().to_string()),
        sources,
        splits: Split::ALL.into_iter().map(rows).collect(),
        split_by: Some(lineage.recipe.split.in_words()),
        funnel: lineage.funnel.as_ref().map(funnel),
        expectations: lineage.outcomes.iter().map(expectation).collect(),
        columns: manifest.columns.iter().map(|of| column(of, lineage.recipe.target())).collect(),
        recipe: None,
        code_version: lineage.code_version.clone(),
    }
}

fn column(of: &ColumnSummary, target: Option<&str>) -> Column {
    let kind = match &of.values {
        ColumnValues::Numbers { .. } => "number",
        ColumnValues::Categories(_) => "category",
        ColumnValues::Texts => "text",
    };
    let role = if Some(of.name.as_str()) == target { "target" } else { "feature" };
    Column {
        name: of.name.clone(),
        role: role.to_owned(),
        kind: kind.to_owned(),
        missing: of.missing,
        encoding: None,
    }
}

fn funnel(of: &phalanx_data::Funnel) -> Funnel {
    let steps = of.steps.iter().map(|step| {
        let learnt = step.learnt.iter().map(|(column, value)| format!("`{column}`: {value}"));
        let learnt: Vec<String> = learnt.chain(step.labels.iter().map(LabelReport::sentence)).collect();
        Step {
            step: step.step.clone(),
            about: (!learnt.is_empty()).then(|| learnt.join(", ")),
            rows_before: step.rows_before,
            rows_after: step.rows_after,
            cells: step.cells,
        }
    });
    Funnel {
        rows_read: of.rows_read,
        rows_malformed: of.rows_malformed,
        steps: steps.collect(),
        rows_unexpected: of.rows_unexpected,
        rows_clean: of.rows_clean,
    }
}

fn expectation(of: &Outcome) -> Expectation {
    let expected = &of.expectation;
    let then = match expected.then() {
        Then::Fail => "fail",
        Then::Quarantine => "quarantine",
        Then::Warn => "warn",
    };
    Expectation {
        expectation: match expected.column() {
            Some(column) => format!("{} ({column})", expected.name()),
            None => expected.name().to_owned(),
        },
        then: then.to_owned(),
        met: of.met,
        checked: of.checked,
        unexpected: of.unexpected,
        observed: of.observed,
    }
}

fn profile(of: &ColumnProfile) -> Profile {
    let values = match &of.values {
        ProfileValues::Numbers { mean, deviation, percentiles, histogram } => {
            let (from, to) = (percentiles.first(), percentiles.last());
            let (from, to) = (from.copied().unwrap_or_default(), to.copied().unwrap_or_default());
            let width = (to - from) / histogram.len().max(1) as f64;
            ProfileOf::Numbers {
                mean: *mean,
                deviation: *deviation,
                percentiles: percentiles.clone(),
                histogram: Histogram {
                    from,
                    // All in one bar, where they are all equal.
                    width: if width > 0.0 { width } else { 1.0 },
                    counts: histogram.clone(),
                    below: 0,
                    above: 0,
                },
            }
        }
        ProfileValues::Texts { top, other } => ProfileOf::Texts { top: top.clone(), other: *other },
        ProfileValues::Other => ProfileOf::Other,
    };
    Profile {
        name: of.name.clone(),
        data_type: of.data_type.to_lowercase(),
        rows: of.rows,
        missing: of.missing,
        distinct: of.distinct,
        values,
    }
}
