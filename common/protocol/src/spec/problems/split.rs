//! Rules of `[data.split]`.

use super::{Rules, Sections};
use crate::spec::{DataSpec, Leakage, SourceSpec, SplitBy, SplitSpec, parse_time};

/// The most bins of a target of numbers.
const BINS_MAX: u64 = 1_000;
/// The most folds of a cross-validation: each is a job.
const FOLDS_MAX: u64 = 100;

pub(super) fn check(sections: &Sections<'_>, data: &DataSpec, rules: &mut Rules) {
    let split = &data.split;
    fractions(split, rules);
    rules.whole("data.split.bins", split.bins, 2..=BINS_MAX);
    columns(split, rules);
    dates(split, rules);
    fold(split, rules);
    if let Some(share) = split.train_share {
        rules.number("data.split.train_share", share, share > 0.0 && share <= 1.0, "above 0 and at most 1");
    }
    for (setting, column) in split.columns() {
        rules.require(Some(column) != data.target.as_deref(), ["data.split", "data.target"], || {
            format!("`data.split.{setting}` must not be the target \"{column}\"")
        });
    }
    if matches!(data.source(), Some(SourceSpec::Text(_))) {
        let is_whole = split.fold.is_none() && split.train_share.is_none();
        let holds = split.by == SplitBy::Random && split.columns().next().is_none() && is_whole;
        rules.require(holds, ["data.split", "data.split.by", "data"], || {
            "`data.split` of a text can say fractions only: a text has no classes, columns and folds, and is cut into \
             three stretches"
                .to_owned()
        });
    }
    if !split.sizes_are_given() {
        used_splits(sections, data, rules);
    }
}

fn fractions(split: &SplitSpec, rules: &mut Rules) {
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

/// Each way to divide has the column that it needs, and no column is named for nothing.
fn columns(split: &SplitSpec, rules: &mut Rules) {
    let by = |word: &str| format!("`data.split.by = \"{word}\"`");
    let needed = [
        ("group", SplitBy::Group, split.group.is_some()),
        ("time", SplitBy::Time, split.time.is_some()),
        ("key", SplitBy::Hash, split.key.is_some()),
        ("column", SplitBy::Column, split.column.is_some()),
    ];
    for (setting, kind, is_given) in needed {
        let word = if kind == SplitBy::Hash { "hash" } else { setting };
        rules.require(split.by != kind || is_given, ["data.split.by", "data.split"], || {
            format!("{} needs `data.split.{setting}`, the column to divide by", by(word))
        });
        // A group and a time are checked however rows are divided.
        let is_used = split.by == kind || matches!(kind, SplitBy::Group | SplitBy::Time);
        rules.require(!is_given || is_used, ["data.split", "data.split.by"], || {
            format!("`data.split.{setting}` is read with {} only: set it, or take the column out", by(word))
        });
    }
    let checked = split.leakage != Some(Leakage::Allow);
    for (setting, kind, is_given) in &needed[..2] {
        rules.require(
            !is_given || split.by == *kind || checked,
            ["data.split", "data.split.by", "data.split.leakage"],
            || {
                format!(
                    "`data.split.{setting}` says nothing: rows are not divided by it, and `leakage = \"allow\"` \
                     checks nothing"
                )
            },
        );
    }
}

fn dates(split: &SplitSpec, rules: &mut Rules) {
    let mut times = Vec::new();
    let dates = [("validation_from", &split.validation_from), ("test_from", &split.test_from)];
    for (setting, date) in dates {
        let Some(date) = date else { continue };
        let path = format!("data.split.{setting}");
        rules.require(split.by == SplitBy::Time, [&path, "data.split.by"], || {
            format!("`{path}` is read with `data.split.by = \"time\"` only")
        });
        let time = parse_time(date);
        rules.require(time.is_some(), [&path], || {
            format!("`{path}` must be a time such as \"2024-01-31\" or \"2024-01-31 12:00\", got \"{date}\"")
        });
        times.extend(time);
    }
    if let [validation, test] = times[..] {
        rules.require(validation < test, ["data.split.test_from", "data.split.validation_from"], || {
            "`data.split.test_from` must be later than `data.split.validation_from`".to_owned()
        });
    }
}

/// Folds need rows that may be divided anew, which given dates and splits are not.
fn fold(split: &SplitSpec, rules: &mut Rules) {
    let Some(fold) = split.fold else { return };
    rules.whole("data.split.fold.of", fold.of, 2..=FOLDS_MAX);
    rules.require(
        (1..=fold.of).contains(&fold.number),
        ["data.split.fold.number", "data.split.fold.of"],
        || {
            format!(
                "`data.split.fold.number` must be 1 to {}, how many folds there are, got {}",
                fold.of, fold.number
            )
        },
    );
    let is_divided = match split.by {
        SplitBy::Random | SplitBy::Stratified | SplitBy::Group | SplitBy::Hash => true,
        SplitBy::Time => !split.sizes_are_given(),
        SplitBy::Column => false,
    };
    rules.require(is_divided, ["data.split.fold", "data.split.by"], || {
        "`data.split.fold` needs rows that may be divided anew: set `data.split.by` to \"random\", \"stratified\", \
         \"group\", \"hash\" or, without dates, \"time\", or take the fold out"
            .to_owned()
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
    let Some(evaluate) = sections.evaluate.filter(|_| data.split.fractions()[2] == 0.0) else { return };
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
