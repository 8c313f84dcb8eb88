//! Columns of lists and of bytes in Parquet files: images and vectors. Every
//! list of a column has one length, and no value in it is missing.

use arrow::{
    array::{Array, ArrayRef, AsArray as _, OffsetSizeTrait, UInt8Array},
    buffer::OffsetBuffer,
    compute::{CastOptions, cast, cast_with_options},
    datatypes::{DataType, Float64Type, UInt8Type},
    error::ArrowError,
};

use super::is_finite;
use crate::error::CellProblem;

/// What lists are expected to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ListForm {
    /// Read as bytes, or as floats.
    pub(crate) bytes: bool,
    /// Channels, height and width of an image; `None` for a vector.
    pub(crate) shape: Option<[usize; 3]>,
    /// Values in a list, if that is known already; with a shape it is.
    pub(crate) width: Option<usize>,
}

/// The lists of one column of a chunk.
#[derive(Debug)]
pub(crate) struct Lists {
    /// Values in each.
    pub(crate) width: usize,
    /// All values, row after row.
    pub(crate) values: ListValues,
}

/// Values, row after row.
#[derive(Debug)]
pub(crate) enum ListValues {
    /// Integers of 0 to 255.
    Bytes(Vec<u8>),
    /// Finite numbers.
    Floats(Vec<f64>),
}

impl ListValues {
    /// All values as numbers.
    pub(crate) fn floats(&self) -> Box<dyn Iterator<Item = f64> + '_> {
        match self {
            Self::Bytes(bytes) => Box::new(bytes.iter().map(|byte| f64::from(*byte))),
            Self::Floats(floats) => Box::new(floats.iter().copied()),
        }
    }
}

/// Why a column is no column of such lists.
pub(crate) enum ListError {
    /// A row is wrong (from 0, within the column).
    Row(usize, CellProblem),
    /// The reader cannot convert it.
    Arrow(ArrowError),
}

impl From<ArrowError> for ListError {
    fn from(error: ArrowError) -> Self {
        Self::Arrow(error)
    }
}

/// Whether `data_type` is one of lists or bytes, and if so, whether of integers.
pub(crate) fn integers_in_lists(data_type: &DataType) -> Option<bool> {
    match data_type {
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            Some(true)
        }
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            item.data_type().is_numeric().then(|| item.data_type().is_integer())
        }
        _ => None,
    }
}

/// The values in each list, where the type tells.
pub(crate) fn fixed_width(data_type: &DataType) -> Option<usize> {
    match data_type {
        DataType::FixedSizeBinary(width) | DataType::FixedSizeList(_, width) => usize::try_from(*width).ok(),
        _ => None,
    }
}

/// Reads the lists of a whole column.
pub(crate) fn read(column: &ArrayRef, form: ListForm) -> Result<Lists, ListError> {
    if let Some(row) = first_null(column) {
        return Err(ListError::Row(row, CellProblem::ListMissing));
    }
    let (values, width) = flattened(column, form)?;
    if let Some(index) = first_null(&values) {
        return Err(ListError::Row(index / width.max(1), CellProblem::ListMissing));
    }
    let values = if form.bytes { bytes(&values, width)? } else { floats(&values, width)? };
    Ok(Lists { width, values })
}

/// The first place without a value.
fn first_null(array: &ArrayRef) -> Option<usize> {
    (0..array.len()).find(|index| array.null_count() > 0 && array.is_null(*index))
}

/// All values of a column, and how many are in each list.
fn flattened(column: &ArrayRef, form: ListForm) -> Result<(ArrayRef, usize), ListError> {
    match column.data_type() {
        DataType::FixedSizeList(_, width) => {
            let width = check_width(0, usize::try_from(*width).unwrap_or(0), form)?;
            Ok((column.as_fixed_size_list().values().clone(), width))
        }
        DataType::List(_) => {
            let lists = column.as_list::<i32>();
            sliced(lists.offsets(), lists.values(), form)
        }
        DataType::LargeList(_) => {
            let lists = column.as_list::<i64>();
            sliced(lists.offsets(), lists.values(), form)
        }
        // Bytes of every kind: with 64-bit offsets they are all one.
        _ => {
            let column = cast(column, &DataType::LargeBinary)?;
            let lists = column.as_binary::<i64>();
            let values: ArrayRef = std::sync::Arc::new(UInt8Array::new(lists.values().clone().into(), None));
            sliced(lists.offsets(), &values, form)
        }
    }
}

fn sliced<O: OffsetSizeTrait>(
    offsets: &OffsetBuffer<O>,
    values: &ArrayRef,
    form: ListForm,
) -> Result<(ArrayRef, usize), ListError> {
    let mut form = form;
    for (row, length) in offsets.lengths().enumerate() {
        form.width = Some(check_width(row, length, form)?);
    }
    let (first, last) = (offsets[0].as_usize(), offsets[offsets.len() - 1].as_usize());
    Ok((values.slice(first, last - first), form.width.unwrap_or(0)))
}

fn check_width(row: usize, actual: usize, form: ListForm) -> Result<usize, ListError> {
    let expected = form.width.unwrap_or(actual.max(1));
    if actual == expected {
        return Ok(expected);
    }
    let origin = match (form.shape, form.width) {
        (Some(shape), _) => format!("for an image of shape {shape:?}"),
        (None, Some(_)) => "as in the rows before".to_owned(),
        (None, None) => "at the least".to_owned(),
    };
    Err(ListError::Row(row, CellProblem::ListLength { expected, origin, actual }))
}

fn bytes(values: &ArrayRef, width: usize) -> Result<ListValues, ListError> {
    let checked = CastOptions { safe: false, ..CastOptions::default() };
    match cast_with_options(values, &DataType::UInt8, &checked) {
        Ok(pixels) => Ok(ListValues::Bytes(pixels.as_primitive::<UInt8Type>().values().to_vec())),
        Err(error) => {
            let numbers = cast(values, &DataType::Float64)?;
            let numbers = numbers.as_primitive::<Float64Type>().values();
            let Some(index) = numbers.iter().position(|number| !(0.0..=255.0).contains(number)) else {
                return Err(error.into());
            };
            let found = numbers[index].to_string();
            Err(ListError::Row(index / width.max(1), CellProblem::PixelRange { found }))
        }
    }
}

fn floats(values: &ArrayRef, width: usize) -> Result<ListValues, ListError> {
    let numbers = cast(values, &DataType::Float64)?;
    let numbers = numbers.as_primitive::<Float64Type>().values();
    match numbers.iter().position(|number| !is_finite(*number)) {
        None => Ok(ListValues::Floats(numbers.to_vec())),
        Some(index) => {
            let found = numbers[index].to_string();
            Err(ListError::Row(index / width.max(1), CellProblem::NotANumber { found }))
        }
    }
}
