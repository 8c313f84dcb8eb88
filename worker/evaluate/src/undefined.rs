//! Why a metric has no value on some rows. Owns no state.

/// What a metric comes to: a number, or the reason why there is none.
pub type Value = Result<f64, Undefined>;

/// Why a metric has no value, where scikit-learn warns and gives NaN, or refuses.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Undefined {
    /// Nothing was measured yet.
    #[error("there is no row")]
    NoRows,
    /// All rows have the weight 0.
    #[error("every row has the weight 0")]
    NoWeight,
    /// Too few rows.
    #[error("it needs at least two rows")]
    OneRow,
    /// Too few rows beside the number of features.
    #[error("it needs more than {needed} rows, found {actual}")]
    FewRows {
        /// It needs more than these.
        needed: u64,
        /// Rows that there are.
        actual: u64,
    },
    /// Too few classes.
    #[error("it needs at least two classes")]
    OneClass,
    /// More than two classes.
    #[error("it needs two classes, found {actual}")]
    NotBinary {
        /// Classes that there are.
        actual: usize,
    },
    /// No row is positive.
    #[error("no row is positive")]
    NoPositive,
    /// All rows are positive.
    #[error("every row is positive")]
    NoNegative,
    /// No row has the class (or the label).
    #[error("no row is of class `{class}`")]
    Absent {
        /// The class.
        class: String,
    },
    /// All rows have the class (or the label).
    #[error("every row is of class `{class}`")]
    Everywhere {
        /// The class.
        class: String,
    },
    /// All values are the same.
    #[error("the {what} do not vary")]
    Constant {
        /// Which values.
        what: &'static str,
    },
    /// A value is outside of where the metric is defined.
    #[error("it needs {what}, found {actual}")]
    OutsideDomain {
        /// What it needs.
        what: &'static str,
        /// A value that is outside.
        actual: f64,
    },
    /// A parameter, or a bound that it stands for, cannot be met.
    #[error("{0}")]
    Unreachable(String),
    /// The denominator is 0.
    #[error("it divides by {what}, of which there is none")]
    NoDenominator {
        /// What there is none of.
        what: &'static str,
    },
    /// The metric has no form with weights.
    #[error("it is not defined for rows with weights")]
    Weighted,
    /// The value overflows.
    #[error("its value is too large for a 64-bit float")]
    TooLarge,
}

impl Undefined {
    /// The same, where being positive means to be of `class`.
    pub(crate) fn of_class(self, class: &str) -> Self {
        let class = class.to_owned();
        match self {
            Self::NoPositive => Self::Absent { class },
            Self::NoNegative => Self::Everywhere { class },
            other => other,
        }
    }
}

/// `value`, if it is finite.
pub(crate) fn finite(value: f64) -> Value {
    if value.is_finite() { Ok(value) } else { Err(Undefined::TooLarge) }
}
