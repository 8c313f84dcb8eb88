//! `[data.split]`: how rows are divided into training, validation and test splits, and what is done about rows, groups
//! and times that are in more than one of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How rows are divided. A text is divided into contiguous stretches, its end being the test split.
///
/// Columns that decide the division (`group`, `time`, `key` and `column`) are features only where `features`,
/// `categorical` or `encode.columns` names them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SplitSpec {
    /// What decides where a row goes.
    pub by: SplitBy,
    /// Fraction of rows to train on. The three add up to 1; they say nothing where `column` or dates decide.
    pub train: f64,
    /// Fraction of rows for validation while training.
    pub validation: f64,
    /// Fraction of rows for the final evaluation.
    pub test: f64,
    /// Seed of the division.
    pub seed: u64,
    /// Bins of equally many rows into which `stratified` puts a target of numbers: 2 to 1,000.
    pub bins: u32,
    /// A column of which no value may be in two splits: a customer, a patient, a device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// A column of times: ISO 8601, or numbers. Training must lie before validation and validation before the test.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// The column that `hash` hashes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The column whose cells `column` takes for the splits' names: `train`, `validation` (or `val`, `valid`, `dev`),
    /// `test`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// For `time`: the first time of the validation split, in the place of fractions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_from: Option<String>,
    /// For `time`: the first time of the test split, in the place of fractions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_from: Option<String>,
    /// The test split is one of so many folds, in the place of the fraction `test`. The folds of one seed are apart
    /// from each other and hold all rows together; `phalanx cross-validate` trains a job for each. Divided by `time`, what
    /// is before the fold is trained on and what is after it left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fold: Option<FoldSpec>,
    /// The share of the training split's rows that is trained on; the others are left out. A smaller share holds no row
    /// that a greater one does not. `phalanx learning-curve` trains jobs with several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train_share: Option<f64>,
    /// What to do about leakage: a group in two splits, a broken order of times, or rows of the validation and test
    /// splits that equal (features and target) one of another split. By default it is refused; up to ten equal rows,
    /// or one in a hundred, are told: in tables of few values they need not be the same thing seen twice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leakage: Option<Leakage>,
}

/// What decides where a row goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SplitBy {
    /// Chance.
    #[default]
    Random,
    /// Chance, within each class of the target, or within each of `bins` ranges of a target of numbers.
    Stratified,
    /// Chance, for all rows of a group together. Fractions are met as far as whole groups allow.
    Group,
    /// The order in time: the oldest rows are trained on. Rows of one time stay together.
    Time,
    /// A hash of `key`: a row stays where it is when others are added or removed.
    Hash,
    /// The cell of `column`.
    Column,
}

/// A fold of a cross-validation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FoldSpec {
    /// Which fold is the test split, from 1.
    pub number: u32,
    /// How many folds there are: 2 to 100.
    pub of: u32,
}

/// What to do about leakage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Leakage {
    /// The job fails and names rows.
    Refuse,
    /// It is told with the data set.
    Warn,
    /// It is not looked for.
    Allow,
}

impl Default for SplitSpec {
    fn default() -> Self {
        Self {
            by: SplitBy::default(),
            train: 0.8,
            validation: 0.1,
            test: 0.1,
            seed: 0,
            bins: 10,
            group: None,
            time: None,
            key: None,
            column: None,
            validation_from: None,
            test_from: None,
            fold: None,
            train_share: None,
            leakage: None,
        }
    }
}

impl SplitSpec {
    /// Whether the fractions say nothing about the splits' sizes.
    pub fn sizes_are_given(&self) -> bool {
        self.by == SplitBy::Column || self.validation_from.is_some() || self.test_from.is_some()
    }

    /// The fractions of the training, the validation and the test split of the rows that are used. They add up to 1; a
    /// fold takes its part from the other two in proportion.
    pub fn fractions(&self) -> [f64; 3] {
        let Some(fold) = self.fold else { return [self.train, self.validation, self.test] };
        let test = match self.by {
            // Of so many stretches and those before them.
            SplitBy::Time => 1.0 / f64::from(fold.number.saturating_add(1)),
            SplitBy::Random | SplitBy::Stratified | SplitBy::Group | SplitBy::Hash | SplitBy::Column => {
                1.0 / f64::from(fold.of)
            }
        };
        let rest = (1.0 - test) / (self.train + self.validation);
        [self.train * rest, self.validation * rest, test]
    }

    /// How rows are divided, in words.
    pub fn in_words(&self) -> String {
        let by = match self.by {
            SplitBy::Random => "at random",
            SplitBy::Stratified => "stratified by the target",
            SplitBy::Group => "by group",
            SplitBy::Time => "by time",
            SplitBy::Hash => "by a hash of the key",
            SplitBy::Column => "by a column",
        };
        let columns: Vec<String> = self.columns().map(|(_, column)| format!("`{column}`")).collect();
        let columns = if columns.is_empty() { String::new() } else { format!(" ({})", columns.join(", ")) };
        format!("{by}{columns}, seed {}", self.seed)
    }

    /// The columns that decide the division or are checked against it, each with its setting.
    pub fn columns(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let columns =
            [("group", &self.group), ("time", &self.time), ("key", &self.key), ("column", &self.column)];
        columns.into_iter().filter_map(|(setting, column)| Some((setting, column.as_deref()?)))
    }
}

/// The time that a cell means, in seconds since 1970: a number as it is, a date or a date and time in ISO 8601 (a space
/// may stand for the `T`), in UTC where no offset is written.
pub fn parse_time(cell: &str) -> Option<f64> {
    if let Ok(number) = cell.parse::<f64>() {
        return number.is_finite().then_some(number);
    }
    let time = cell.parse::<jiff::Timestamp>().ok().or_else(|| {
        let civil: jiff::civil::DateTime = cell.parse().ok()?;
        Some(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    })?;
    Some(time.as_second() as f64 + f64::from(time.subsec_nanosecond()) / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fold_takes_its_part_from_training_and_validation() {
        let split = SplitSpec::default();
        assert_eq!(split.fractions(), [0.8, 0.1, 0.1]);
        let split = SplitSpec { train: 0.6, validation: 0.2, test: 0.2, ..split };
        let split = SplitSpec { fold: Some(FoldSpec { number: 2, of: 5 }), ..split };
        let [train, validation, test] = split.fractions();
        assert!((train - 0.6).abs() < 1e-12 && (validation - 0.2).abs() < 1e-12, "{train} {validation}");
        assert_eq!(test, 0.2);
        let in_time = SplitSpec { by: SplitBy::Time, fold: Some(FoldSpec { number: 3, of: 5 }), ..split };
        let [train, validation, test] = in_time.fractions();
        assert!(
            (train - 0.5625).abs() < 1e-12 && (validation - 0.1875).abs() < 1e-12,
            "{train} {validation}"
        );
        assert_eq!(test, 0.25);
    }

    #[test]
    fn times_are_read_in_every_common_form() {
        let check = |cell, expected| assert_eq!(parse_time(cell), expected, "{cell}");
        check("1970-01-02", Some(86_400.0));
        check("1970-01-01 00:00:01", Some(1.0));
        check("1970-01-01T00:00:01.5Z", Some(1.5));
        check("1970-01-01 02:00:00+02:00", Some(0.0));
        check("1700000000", Some(1.7e9));
        check("-1.5", Some(-1.5));
        check("inf", None);
        check("yesterday", None);
        check("1970-13-01", None);
    }
}
