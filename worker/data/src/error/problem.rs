//! What may be wrong with a line, a column or a cell: the end of a message whose
//! beginning says where.

/// What is wrong with a line as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineProblem {
    /// Too few or too many cells.
    #[error(
        "expected {expected} cells, as in the header line, found {actual}{}",
        absent.as_ref().map(|name| format!("; there is none for column `{name}`")).unwrap_or_default(),
    )]
    Ragged {
        /// Cells in the header line.
        expected: usize,
        /// Cells here.
        actual: usize,
        /// The first column that has no cell here, if there are too few.
        absent: Option<String>,
    },
    /// Other bytes than text.
    #[error("expected UTF-8, found other bytes in column {column}; save the file as UTF-8")]
    NotUtf8 {
        /// The number of the cell, from 1; in a file without cells, of the byte.
        column: usize,
    },
    /// Longer than can be meant.
    #[error("expected at most {max} bytes in a row; is a quote left open?")]
    TooLong {
        /// The most allowed.
        max: usize,
    },
    /// No JSON object.
    #[error("expected a JSON object, found something else in column {column}: {reason}")]
    NotJson {
        /// Where in the line, from 1.
        column: usize,
        /// What the parser said.
        reason: String,
    },
}

/// What is wrong with a column as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ColumnProblem {
    /// Another column has the same name.
    #[error("there are two columns of this name; rename one")]
    Duplicate,
    /// A name that is used here for something else.
    #[error("rename it: a column of this name is kept by Phalanx itself")]
    Reserved,
    /// The target is among the features.
    #[error("it is the target and cannot be a feature too; take it out of `features` or `ignore`")]
    TargetAsFeature,
    /// Every cell is missing.
    #[error("every cell is missing; name the column in `ignore`")]
    NoValues,
    /// More categories than one-hot encoding is good for.
    #[error(
        "there are more than {max} different texts; encode it another way \
         (`encode.columns = {{ {column:?} = \"{encoding}\" }}`), or name it in `ignore`"
    )]
    TooManyCategories {
        /// The column, once more.
        column: String,
        /// The most allowed.
        max: usize,
        /// An encoding that takes more.
        encoding: &'static str,
    },
    /// A category has no place in the order that the job file gives.
    #[error(
        "`encode.order` does not name `{category}`, which the training split has; add it there, or mend the rows"
    )]
    NotInOrder {
        /// The category.
        category: String,
    },
    /// More classes than can be meant.
    #[error(
        "there are more than {max} different values to predict; if they are numbers, \
         set `objective = \"regression\"`"
    )]
    TooManyClasses {
        /// The most allowed.
        max: usize,
    },
    /// Integers may be classes or numbers.
    #[error(
        "the target holds integers, which may be classes or numbers; set `objective` \
         to \"classification\" or \"regression\""
    )]
    ObjectiveNeeded,
    /// Nothing to tell apart.
    #[error("expected at least two classes to predict, found only `{class}`")]
    OneClass {
        /// The class.
        class: String,
    },
    /// A type that is no number, text or list.
    #[error("expected numbers, text, or lists of numbers, found {found}; name the column in `ignore`")]
    Type {
        /// The column's type.
        found: String,
    },
    /// An image cannot be put beside other columns.
    #[error(
        "a column of lists or bytes must be the only feature; name it in `features`, \
         or the others in `ignore`"
    )]
    ListAmongOthers,
    /// A list cannot be predicted.
    #[error("expected numbers or text to predict, found {found}")]
    TargetType {
        /// The column's type.
        found: String,
    },
    /// The column was another one when the model was trained.
    #[error("expected {expected}, as when the model was trained, found {found}")]
    Unfit {
        /// What the model needs.
        expected: &'static str,
        /// The column's type.
        found: String,
    },
    /// A column of lists is encoded as something else than numbers.
    #[error("{found} are encoded as numbers are; `encode.columns` names another encoding")]
    NotOfNumbers {
        /// The column's type.
        found: String,
    },
    /// A column of dates is encoded as numbers.
    #[error("{found} are no numbers; encode them as `date`, or as categories, in `encode.columns`")]
    NotNumbers {
        /// The column's type.
        found: String,
    },
    /// More groups than can be kept apart.
    #[error("there are more than {max} groups in it; divide by `hash` of this column instead")]
    TooManyGroups {
        /// The most allowed.
        max: usize,
    },
    /// A shape for a column that is no image.
    #[error("expected lists or bytes for an image of shape {shape:?}, found {found}")]
    NotAnImage {
        /// The shape in the job file.
        shape: [usize; 3],
        /// The column's type.
        found: String,
    },
}

/// What is wrong with one cell.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CellProblem {
    /// Text among numbers.
    #[error(
        "expected a number, as in most cells of the column, found `{found}`; if the column holds codes, \
         name it in `categorical`; if this text means that there is no value, add it to `missing`"
    )]
    MixedTypes {
        /// The cell.
        found: String,
    },
    /// Text where a fitted column has numbers.
    #[error("expected a finite number, found `{found}`")]
    NotANumber {
        /// The cell.
        found: String,
    },
    /// A cell that a step cannot cast.
    #[error("expected {to}, found `{found}`; `failing` says what else may become of it")]
    NotCast {
        /// The type.
        to: String,
        /// The cell.
        found: String,
    },
    /// Text where a column has dates.
    #[error(
        "expected a date or a time, as in `2024-01-31` or `2024-01-31 12:00`, or seconds since 1970, found `{found}`"
    )]
    NotADate {
        /// The cell.
        found: String,
    },
    /// A row that nothing tells the split of.
    #[error("expected a value to divide rows by, found none; remove the row")]
    SplitMissing,
    /// A cell that should name a split.
    #[error("expected `train`, `validation` or `test`, found `{found}`")]
    NotASplit {
        /// The cell.
        found: String,
    },
    /// A target that is no number.
    #[error(
        "expected a finite number to predict, found `{found}`; remove the row, or set \
         `objective = \"classification\"` if the target is a class"
    )]
    TargetNotANumber {
        /// The cell.
        found: String,
    },
    /// No target.
    #[error(
        "expected a value to predict, found none (an empty cell, NaN, or one of `missing`); remove the row"
    )]
    TargetMissing,
    /// A list of the wrong length.
    #[error("expected {expected} values, {origin}, found {actual}")]
    ListLength {
        /// Values expected.
        expected: usize,
        /// Where that comes from.
        origin: String,
        /// Values found.
        actual: usize,
    },
    /// A list, or one of its values, is null.
    #[error("expected a list of numbers, found a missing value; remove the row")]
    ListMissing,
    /// A pixel that is no byte.
    #[error("expected pixels of 0 to 255, found {found}")]
    PixelRange {
        /// The pixel.
        found: String,
    },
}
