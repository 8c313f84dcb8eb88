//! Rules of `[data]`.

use std::path::Path;

use super::{Rules, Sections};
use crate::spec::{DataSpec, Objective, SourceSpec, SplitSpec, suggest::listed};

/// The longest context of a text sample, in bytes.
const CONTEXT_MAX: u64 = 65_536;

/// The most channels, and the most pixels on a side, of an image.
const IMAGE_SIDE_MAX: u64 = 4_096;

/// The most numbers in one image.
const IMAGE_VALUES_MAX: usize = 1 << 24;

pub(super) fn check(sections: &Sections<'_>, rules: &mut Rules) {
    let Some(data) = sections.data else { return };
    source(data, rules);
    split(&data.split, rules);
    let target = match data.source() {
        Some(SourceSpec::Text(_)) => Some("a text has no classes"),
        Some(SourceSpec::Csv(csv)) => regression(csv.objective),
        Some(SourceSpec::Parquet(parquet)) => regression(parquet.objective),
        None => None,
    };
    if let Some(reason) = target.filter(|_| data.split.stratify) {
        rules.require(false, ["data.split.stratify", "data"], || {
            format!("`data.split.stratify` needs a target of classes, but {reason}")
        });
    }
    used_splits(sections, data, rules);
}

fn regression(objective: Option<Objective>) -> Option<&'static str> {
    (objective == Some(Objective::Regression)).then_some("the objective is regression")
}

fn source(data: &DataSpec, rules: &mut Rules) {
    let given = [
        data.csv.as_ref().map(|_| "[data.csv]"),
        data.parquet.as_ref().map(|_| "[data.parquet]"),
        data.text.as_ref().map(|_| "[data.text]"),
    ];
    let given: Vec<&str> = given.into_iter().flatten().collect();
    rules.require(!given.is_empty(), ["data"], || {
        "`data` names no source: expected one of `[data.csv]`, `[data.parquet]` or `[data.text]`".to_owned()
    });
    rules.require(given.len() < 2, ["data"], || {
        format!("`data` must name one source, got {}: keep one", listed(given.iter().copied(), "and"))
    });
    if let Some(csv) = &data.csv {
        path("data.csv.path", &csv.path, rules);
        let columns = Columns {
            target: &csv.target,
            features: csv.features.as_deref(),
            ignore: &csv.ignore,
            categorical: &csv.categorical,
        };
        columns.check("data.csv", rules);
        let delimiter = csv.delimiter;
        let holds = delimiter == '\t' || (delimiter.is_ascii() && !delimiter.is_ascii_control());
        let holds = holds && !delimiter.is_ascii_alphanumeric() && !matches!(delimiter, '"' | '.' | '-');
        rules.require(holds, ["data.csv.delimiter"], || {
            format!(
                "`data.csv.delimiter` must be a tab or an ASCII sign that no cell begins with, got {delimiter:?}"
            )
        });
    }
    if let Some(parquet) = &data.parquet {
        path("data.parquet.path", &parquet.path, rules);
        let columns = Columns {
            target: &parquet.target,
            features: parquet.features.as_deref(),
            ignore: &parquet.ignore,
            categorical: &parquet.categorical,
        };
        columns.check("data.parquet", rules);
        if let Some(shape) = parquet.shape {
            image(shape, rules);
        }
    }
    if let Some(text) = &data.text {
        path("data.text.path", &text.path, rules);
        rules.whole("data.text.context", text.context, 1..=CONTEXT_MAX);
    }
}

fn path(setting: &str, path: &Path, rules: &mut Rules) {
    rules.require(!path.as_os_str().is_empty(), [setting], || {
        format!("`{setting}` must name a file, got an empty text")
    });
}

fn image(shape: [usize; 3], rules: &mut Rules) {
    let sides = shape.iter().all(|&side| (1..=IMAGE_SIDE_MAX).contains(&(side as u64)));
    let values = shape.iter().try_fold(1_usize, |all, &side| all.checked_mul(side));
    let holds = sides && values.is_some_and(|values| values <= IMAGE_VALUES_MAX);
    rules.require(holds, ["data.parquet.shape"], || {
        format!(
            "`data.parquet.shape` must be [channels, height, width], each from 1 to {IMAGE_SIDE_MAX} and at most \
             {IMAGE_VALUES_MAX} values in all, got {shape:?}"
        )
    });
}

/// The columns that a table names.
struct Columns<'a> {
    target: &'a str,
    features: Option<&'a [String]>,
    ignore: &'a [String],
    categorical: &'a [String],
}

impl Columns<'_> {
    fn check(&self, section: &str, rules: &mut Rules) {
        let [target, features, ignore, categorical] =
            ["target", "features", "ignore", "categorical"].map(|key| format!("{section}.{key}"));
        rules.require(!self.target.is_empty(), [&target], || {
            format!("`{target}` must name the column to predict, got an empty text")
        });
        if let Some(columns) = self.features {
            rules.require(!columns.is_empty(), [&features], || {
                format!(
                    "`{features}` must name a column, got none: leave it out to train on all but the target"
                )
            });
            rules.require(!columns.iter().any(|column| column == self.target), [&features, &target], || {
                format!("`{features}` must not hold the target \"{}\"", self.target)
            });
            self.ignored_features(columns, &features, &ignore, rules);
            let strange = self.categorical.iter().find(|column| !columns.contains(column));
            if let Some(column) = strange.filter(|column| *column != self.target) {
                rules.require(false, [&categorical, &features], || {
                    format!("`{categorical}` names the column \"{column}\", which is not among `{features}`")
                });
            }
        }
        rules.require(!self.ignore.iter().any(|column| column == self.target), [&ignore, &target], || {
            format!("`{ignore}` must not hold the target \"{}\"", self.target)
        });
        if let Some(column) = self.categorical.iter().find(|column| self.ignore.contains(column)) {
            rules.require(false, [&categorical, &ignore], || {
                format!("the column \"{column}\" is both in `{categorical}` and in `{ignore}`: keep one")
            });
        }
    }

    fn ignored_features(&self, columns: &[String], features: &str, ignore: &str, rules: &mut Rules) {
        if let Some(column) = columns.iter().find(|column| self.ignore.contains(column)) {
            rules.require(false, [ignore, features], || {
                format!("the column \"{column}\" is both in `{features}` and in `{ignore}`: keep one")
            });
        }
    }
}

fn split(split: &SplitSpec, rules: &mut Rules) {
    let SplitSpec { train, validation, test, .. } = *split;
    rules.number("data.split.train", train, train > 0.0 && train <= 1.0, "above 0 and at most 1");
    rules.share_below_one("data.split.validation", validation);
    rules.share_below_one("data.split.test", test);
    let sum = train + validation + test;
    let each = [train, validation, test].iter().all(|share| (0.0..=1.0).contains(share));
    rules.require(!each || (sum - 1.0).abs() <= 1e-9, ["data.split"], || {
        format!("the shares of `data.split` must add up to 1: {train} + {validation} + {test} = {sum}")
    });
}

/// Splits that another section measures on must not be empty.
fn used_splits(sections: &Sections<'_>, data: &DataSpec, rules: &mut Rules) {
    let stops_early = sections.train.is_some_and(|train| train.early_stop.is_some());
    rules.require(
        !stops_early || data.split.validation != 0.0,
        ["data.split.validation", "train.early_stop"],
        || "`data.split.validation` must be above 0, since `train.early_stop` watches that split".to_owned(),
    );
    let Some(evaluate) = sections.evaluate.filter(|_| data.split.test == 0.0) else { return };
    let asked = if !evaluate.gates.is_empty() {
        "evaluate.gates"
    } else if evaluate.metrics.as_ref().is_some_and(|metrics| !metrics.is_empty()) {
        "evaluate.metrics"
    } else {
        return;
    };
    rules.require(false, ["data.split.test", asked], || {
        format!("`data.split.test` must be above 0, since `{asked}` is measured on that split")
    });
}
