//! Rules of `[data] clean` and `expect`. Whether columns are there and SQL can be
//! read is found when the data is.

use super::Rules;
use crate::spec::{
    CleanStep, DataSpec, Expectation, ImputeStep, ImputeWith, NearDuplicatesStep, OutlierRule, OutliersStep,
    Then, VoteStep, WeakLabelStep,
};

/// The most steps, and the most expectations.
const ITEMS_MAX: usize = 1_000;

/// The most words in a run.
const WORDS_MAX: u64 = 20;

/// The most annotators, and the most rules, of a step.
const VOTERS_MAX: usize = 200;

pub(super) fn check(data: &DataSpec, rules: &mut Rules) {
    for (setting, items) in [("data.clean", data.clean.len()), ("data.expect", data.expect.len())] {
        rules.require(items <= ITEMS_MAX, [setting], || {
            format!("`{setting}` must have at most {ITEMS_MAX} items, got {items}")
        });
    }
    for (number, step) in data.clean.iter().enumerate() {
        clean(&format!("data.clean[{number}].{}", step.name()), step, rules);
    }
    for (number, expectation) in data.expect.iter().enumerate() {
        expect(&format!("data.expect[{number}].{}", expectation.name()), expectation, rules);
    }
}

fn clean(at: &str, step: &CleanStep, rules: &mut Rules) {
    let mut some = |key: &str, empty: bool| {
        rules.require(!empty, [at], || format!("`{at}{key}` must not be empty"));
    };
    match step {
        CleanStep::Trim(_) | CleanStep::DropDuplicates(_) => {}
        CleanStep::SetMissing(step) => some(".values", step.values.is_empty()),
        CleanStep::Cast(step) => some(".columns", step.columns.is_empty()),
        CleanStep::Rename(names) | CleanStep::Derive(names) => {
            some("", names.is_empty() || names.iter().any(|(name, text)| name.is_empty() || text.is_empty()));
        }
        CleanStep::DropColumns(columns) => some("", columns.is_empty()),
        CleanStep::Filter(sql) => some("", sql.trim().is_empty()),
        CleanStep::DropNearDuplicates(step) => near_duplicates(at, step, rules),
        CleanStep::Impute(step) => impute(at, step, rules),
        CleanStep::Outliers(step) => outliers(at, step, rules),
        CleanStep::FoldRare(step) => {
            some(".columns", step.columns.is_empty());
            rules.number(&format!("{at}.below"), step.below, step.below > 0.0 && step.below < 1.0, SHARE);
        }
        CleanStep::Vote(step) => {
            some(".into", step.into.is_empty());
            some(".columns", step.columns.as_ref().is_some_and(Vec::is_empty));
            vote(at, step, rules);
        }
        CleanStep::WeakLabel(step) => {
            some(".into", step.into.is_empty());
            some(".rules", step.rules.is_empty());
            weak_label(at, step, rules);
        }
    }
}

const SHARE: &str = "above 0 and below 1";

fn near_duplicates(at: &str, step: &NearDuplicatesStep, rules: &mut Rules) {
    let similarity = step.similarity;
    rules.number(
        &format!("{at}.similarity"),
        similarity,
        similarity > 0.0 && similarity <= 1.0,
        "above 0 and at most 1",
    );
    rules.whole(&format!("{at}.words"), step.words, 1..=WORDS_MAX);
}

fn impute(at: &str, step: &ImputeStep, rules: &mut Rules) {
    rules.require(!step.columns.is_empty(), [at], || format!("`{at}.columns` must not be empty"));
    let is_constant = step.with == ImputeWith::Constant;
    rules.require(is_constant == step.value.is_some(), [at], || {
        format!("`{at}.value` must be given for `with = \"constant\"`, and for nothing else")
    });
}

fn outliers(at: &str, step: &OutliersStep, rules: &mut Rules) {
    rules.require(!step.columns.is_empty(), [at], || format!("`{at}.columns` must not be empty"));
    let limit = step.limit.unwrap_or(step.by.default_limit());
    let (holds, expected) = match step.by {
        OutlierRule::ZScore | OutlierRule::Iqr => (limit > 0.0, "above 0"),
        OutlierRule::Quantile => (limit > 0.0 && limit < 0.5, "above 0 and below 0.5"),
    };
    rules.number(&format!("{at}.limit"), limit, holds, expected);
}

fn vote(at: &str, step: &VoteStep, rules: &mut Rules) {
    let columns = step.columns.as_deref().unwrap_or_default();
    rules.require(columns.len() <= VOTERS_MAX, [at], || {
        format!("`{at}.columns` must be at most {VOTERS_MAX}, got {}", columns.len())
    });
    rules.require(!columns.contains(&step.into), [at], || {
        format!("`{at}.into` must not be one of `columns`: the label is a column of its own")
    });
    for (name, weight) in &step.weights {
        weigh(&format!("{at}.weights.{name}"), *weight, rules);
    }
}

fn weak_label(at: &str, step: &WeakLabelStep, rules: &mut Rules) {
    rules.require(step.rules.len() <= VOTERS_MAX, [at], || {
        format!("`{at}.rules` must be at most {VOTERS_MAX}, got {}", step.rules.len())
    });
    for (number, rule) in step.rules.iter().enumerate() {
        weigh(&format!("{at}.rules[{number}].weight"), rule.weight, rules);
        let empty = rule.label.trim().is_empty() || rule.when.trim().is_empty();
        rules.require(!empty, [at], || {
            format!("`{at}.rules[{number}]` must have a condition `when` and a `label`")
        });
    }
}

fn weigh(setting: &str, weight: f64, rules: &mut Rules) {
    rules.number(setting, weight, (0.0..=1e6).contains(&weight), "from 0 to 1000000");
}

fn expect(at: &str, expectation: &Expectation, rules: &mut Rules) {
    if let Some(mostly) = expectation.mostly() {
        let holds = mostly > 0.0 && mostly <= 1.0;
        rules.number(&format!("{at}.mostly"), mostly, holds, "above 0 and at most 1");
    }
    let about_rows = expectation.mostly().is_some();
    rules.require(about_rows || expectation.then() != Then::Quarantine, [at], || {
        format!("`{at}.then` must be `fail` or `warn`: it is about no single row that could be put aside")
    });
    let bounds = match expectation {
        Expectation::BeBetween(of) | Expectation::ValueLengthsToBeBetween(of) => Some((of.min, of.max)),
        Expectation::ColumnMeanToBeBetween(of)
        | Expectation::ColumnMinToBeBetween(of)
        | Expectation::ColumnMaxToBeBetween(of)
        | Expectation::ColumnStdevToBeBetween(of) => Some((of.min, of.max)),
        Expectation::TableRowCountToBeBetween(of) | Expectation::TableColumnCountToBeBetween(of) => {
            Some((of.min.map(|least| least as f64), of.max.map(|greatest| greatest as f64)))
        }
        Expectation::NotBeNull(_)
        | Expectation::BeNull(_)
        | Expectation::BeUnique(_)
        | Expectation::BeInSet(_)
        | Expectation::NotBeInSet(_)
        | Expectation::BeOfType(_)
        | Expectation::MatchRegex(_)
        | Expectation::NotMatchRegex(_)
        | Expectation::SatisfySql(_)
        | Expectation::ColumnToExist(_) => None,
    };
    let Some((min, max)) = bounds else { return };
    rules.require(min.is_some() || max.is_some(), [at], || format!("`{at}` must have `min`, `max` or both"));
    let ordered = min.zip(max).is_none_or(|(min, max)| min <= max);
    rules.require(ordered, [at], || format!("`{at}.min` must not be above `max`"));
}
